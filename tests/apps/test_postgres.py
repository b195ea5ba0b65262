# SPDX-License-Identifier: GPL-2.0
"""PostgreSQL keeps what it has committed, and sends it on; test_suites.py has its own suites."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Booted, Built, Lab, mode_of
from ukl.base.model import Disk, Guest, Outcome, Volume
from ukl.vm.launch import Options

PORT = 5432
TIMEOUT = 900.0
"""Seconds of a guest; one with an empty /data makes a database first."""

READY = "database system is ready to accept connections"
COMMITS = (1, 50, 200)
"""Transactions that each guest is given time for, at least, before its power is gone."""

ROWS = 100_000
"""More than are written until then."""

MAPS = "SELECT pg_read_file('/proc/self/maps') LIKE '%[ukl]%'"
MAKE = """
CREATE TABLE word(id int PRIMARY KEY, data text);
CREATE TABLE copy(id int PRIMARY KEY, data text);
CREATE PROCEDURE store(number int) LANGUAGE plpgsql AS $$
DECLARE random text := repeat(md5(number::text), 10);
BEGIN
  INSERT INTO word VALUES (number, random);
  INSERT INTO copy SELECT * FROM word WHERE id = number;
END $$;
"""
CHECK = """
SELECT count(*), max(id), (SELECT count(*) FROM copy),
  (SELECT count(*) FROM word JOIN copy USING (id, data)) FROM word
"""


class Client:
    """psql of the recipe's own build, on this machine."""

    def __init__(self, built: Built, port: int, database: str = "postgres") -> None:
        assert built.spec.program is not None
        self._words = (
            str(built.spec.program.parents[1] / "bin/psql/psql"),
            "-XAtqv",
            "ON_ERROR_STOP=1",
            f"host=127.0.0.1 port={port} user=postgres dbname={database}",
        )

    async def do(self, script: str) -> str:
        """Return what a script prints; it must succeed."""
        async with self.running() as process:
            output, _ = await process.communicate(script.encode())
        assert process.returncode == 0, output.decode()
        return output.decode().strip()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Give a psql that reads its standard input, for the block."""
        process = await asyncio.create_subprocess_exec(
            *self._words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture(params=["disk", "volume"])
def postgres(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Built:
    """Return PostgreSQL with its data on a disk, or on a volume."""
    built = lab.example("postgres")
    (tmp_path / "data").mkdir()
    spec = replace(built.spec, disks=(Disk(tmp_path / "disk.img", "/data"),))
    if request.param == "volume":
        spec = replace(built.spec, volumes=(Volume(tmp_path / "data", "/data"),))
    return replace(built, spec=spec)


@asynccontextmanager
async def served(
    lab: Lab, built: Built, *args: str, user: bool
) -> AsyncIterator[tuple[Booted, Client]]:
    """Boot it and wait until it takes connections."""
    options = Options(Guest(mode=mode_of(user), timeout=TIMEOUT))
    async with lab.boot(built, *args, guest_port=PORT, options=options) as guest:
        await guest.says(READY, TIMEOUT)
        yield guest, Client(built, guest.port)


async def write(client: Client, first: int, last: int, guest: Booted) -> int:
    """Commit one transaction after another, and kill QEMU after `last`; return what was told."""
    told = 0
    async with client.running() as psql:
        assert psql.stdin is not None
        assert psql.stdout is not None
        calls = (f"CALL store({number});\n\\echo {number}\n" for number in range(first, ROWS))
        psql.stdin.write("".join(calls).encode())
        async for line in psql.stdout:
            if not line.strip().isdigit():
                break
            told = int(line)
            if told == last:
                os.kill(guest.session.pid, signal.SIGKILL)
    assert (await guest.end()).result.outcome is Outcome.LOST
    assert told >= last
    return told


@pytest.mark.timeout(7200)
def test_power_cuts(lab: Lab, postgres: Built, user: bool) -> None:
    async def whole() -> None:
        async with served(lab, postgres, user=user) as (guest, client):
            assert await client.do(MAPS) == ("f" if user else "t")
            await client.do(MAKE)
            assert (await guest.stop()).result.outcome is Outcome.STOPPED
            assert b"database system is shut down" in bytes(guest.output)
        there = 0
        for more in COMMITS:
            async with served(lab, postgres, user=user) as (guest, client):
                told = await write(client, there + 1, there + more, guest)
            async with served(lab, postgres, user=user) as (guest, client):
                assert b"automatic recovery in progress" in bytes(guest.output)
                there, *others = map(int, (await client.do(CHECK)).split("|"))
                assert others == [there] * 3
                assert there >= told
                await guest.stop()

    asyncio.run(whole())


SENT = "CREATE TABLE sent(id int PRIMARY KEY, data text);"
SENDER = """
CREATE PUBLICATION here FOR TABLE sent;
SELECT FROM pg_create_logical_replication_slot('there', 'pgoutput');
CREATE DATABASE other;
"""
RECEIVER = """
CREATE SUBSCRIPTION there CONNECTION 'host=127.0.0.1 user=postgres dbname=postgres'
  PUBLICATION here WITH (create_slot = false);
"""
WRITTEN = "INSERT INTO sent SELECT id, repeat(md5(id::text), 20) FROM generate_series(1, 2000) id;"
SUM = "SELECT count(*), md5(string_agg(data, '' ORDER BY id)) FROM sent"


@pytest.mark.timeout(1800)
def test_logical_replication(lab: Lab, tmp_path: Path, user: bool) -> None:
    """Its receiver is libpq in a backend, which has functions of the same names as the server."""
    built = lab.example("postgres")
    built = replace(built, spec=replace(built.spec, disks=(Disk(tmp_path / "d.img", "/data"),)))

    async def whole() -> None:
        args = ("-c", "wal_level=logical")
        async with served(lab, built, *args, user=user) as (guest, sender):
            await sender.do(SENT + SENDER)
            receiver = Client(built, guest.port, "other")
            await receiver.do(SENT + RECEIVER)
            await sender.do(WRITTEN)
            wanted = await sender.do(SUM)
            for _ in range(120):
                if (there := await receiver.do(SUM)) == wanted:
                    break
                await asyncio.sleep(0.5)
            assert there == wanted
            await guest.stop()

    asyncio.run(whole())
