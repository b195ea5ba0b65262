# SPDX-License-Identifier: GPL-2.0
"""Redis keeps what it was given, on volumes and disks, and gives it to a replica."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Booted, Built, Lab, mode_of
from tests.resp import Client
from ukl.base.model import Disk, Guest, Outcome, Volume
from ukl.vm.launch import Options

PORT = 6379
HOST = "10.0.2.2"
"""This machine, as a guest with QEMU's user network sees it."""

BASE = ("--protected-mode", "no", "--dir", "/data")
KEYS = 2000


@pytest.fixture(scope="module")
def redis(lab: Lab) -> Built:
    return lab.example("redis")


@pytest.fixture(params=["volume", "disk"])
def kept(request: pytest.FixtureRequest, redis: Built, tmp_path: Path) -> Built:
    """Return Redis with its /data on a volume, or on a disk."""
    (tmp_path / "data").mkdir()
    if request.param == "volume":
        spec = replace(redis.spec, volumes=(Volume(tmp_path / "data", "/data"),))
    else:
        spec = replace(redis.spec, disks=(Disk(tmp_path / "disk.img", "/data", 256 << 20),))
    return replace(redis, spec=spec)


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.1)


async def started(guest: Booted) -> Client:
    await guest.says("Ready to accept connections")
    return await Client.connect(guest.port)


async def fill(client: Client) -> None:
    for number in range(KEYS):
        assert await client.do("SET", f"key{number}", f"value{number}") == b"OK"
    await client.do("RPUSH", "list", *map(str, range(200)))
    await client.do("EVAL", "for i=1,100 do redis.call('ZADD', KEYS[1], i, i) end", "1", "sorted")


async def full(client: Client) -> None:
    assert await client.do("DBSIZE") == KEYS + 2
    for number in range(0, KEYS, 97):
        assert await client.do("GET", f"key{number}") == f"value{number}".encode()
    assert await client.do("LLEN", "list") == 200
    assert await client.do("EVAL", "return redis.call('ZSCORE', KEYS[1], 77)", "1", "sorted") == (
        b"77"
    )


def test_snapshot(lab: Lab, kept: Built, user: bool) -> None:
    """A snapshot by a forked child, then a kill of QEMU; and one on the way out."""
    args = (*BASE, "--save", "3600 1")
    options = Options(Guest(mode=mode_of(user)))

    async def talk() -> None:
        async with lab.boot(kept, *args, guest_port=PORT, options=options) as guest:
            client = await started(guest)
            await fill(client)
            assert b"started" in bytes(await client.do("BGSAVE") or b"")

            async def saved() -> bool:
                info = await client.info("persistence")
                return (info["rdb_bgsave_in_progress"], info["rdb_last_bgsave_status"]) == (
                    "0",
                    "ok",
                )

            await until(saved)
            os.kill(guest.session.pid, signal.SIGKILL)
            assert (await guest.end()).result.outcome is Outcome.LOST
        async with lab.boot(kept, *args, guest_port=PORT, options=options) as guest:
            client = await started(guest)
            await full(client)
            await client.do("SET", "late", "one")
            # Ctrl-C: SIGTERM makes it save.
            assert (await guest.stop()).result.outcome is Outcome.STOPPED
        async with lab.boot(kept, *args, guest_port=PORT, options=options) as guest:
            client = await started(guest)
            assert await client.do("GET", "late") == b"one"

    asyncio.run(talk())


def test_append_only_file(lab: Lab, kept: Built, user: bool) -> None:
    """What was acknowledged under `appendfsync always` survives a kill of QEMU."""
    args = (*BASE, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
    options = Options(Guest(mode=mode_of(user)))

    async def talk() -> None:
        async with lab.boot(kept, *args, guest_port=PORT, options=options) as guest:
            client = await started(guest)
            await fill(client)
            await client.do("BGREWRITEAOF")

            async def rewritten() -> bool:
                info = await client.info("persistence")
                return info["aof_rewrite_in_progress"] == "0" and info["aof_rewrites"] != "0"

            await until(rewritten)
            for number in range(100):
                await client.do("SET", f"key{number}", f"value{number}")
            await client.do("SET", "last", "word")
            os.kill(guest.session.pid, signal.SIGKILL)
            await guest.end()
        async with lab.boot(kept, *args, guest_port=PORT, options=options) as guest:
            client = await started(guest)
            assert await client.do("GETDEL", "last") == b"word"
            await full(client)

    asyncio.run(talk())


def test_replication(lab: Lab, redis: Built, user: bool) -> None:
    """A replica in a second guest gets what was there, and what comes; then it takes over."""
    args = (*BASE, "--save", "", "--repl-diskless-sync-delay", "0")
    options = Options(Guest(mode=mode_of(user)))

    async def talk() -> None:
        async with (
            lab.boot(redis, *args, guest_port=PORT, options=options) as one,
            lab.boot(redis, *args, guest_port=PORT, options=options) as two,
        ):
            master, replica = await started(one), await started(two)
            await fill(master)
            assert await replica.do("REPLICAOF", HOST, str(one.port)) == b"OK"

            async def linked() -> bool:
                return (await replica.info("replication"))["master_link_status"] == "up"

            await until(linked)
            await full(replica)
            await master.do("SET", "late", "one")
            assert await master.do("WAIT", "1", "20000") == 1
            assert await replica.do("GET", "late") == b"one"
            await replica.do("REPLICAOF", "NO", "ONE")
            assert await replica.do("SET", "late", "two") == b"OK"
            assert await master.do("GET", "late") == b"one"

    asyncio.run(talk())
