# SPDX-License-Identifier: GPL-2.0
"""Services of one file: in order, ready when they say so, by name, again and together."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.harness import PROGRAMS, Lab, free_port
from tests.boot.test_lifecycle import SECONDS, Cli, cli
from tests.conftest import TOP
from tests.processes import eventually
from ukl.recipe import debian

__all__ = ["cli"]  # the fixture

CRASH = PROGRAMS / "crash.c"


def redis(port: int, *words: str) -> str:
    """Return the first line that a Redis answers to an inline command, and what follows."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(4096).decode()


@pytest.fixture
def project(tmp_path: Path, cli: Cli) -> Iterator[Path]:
    path = tmp_path / "compose.toml"
    yield path
    cli("compose", "-f", str(path), "down")


def test_redis_and_its_replica(cli: Cli, lab: Lab, project: Path) -> None:
    try:
        lab.example("redis")
    except debian.Unavailable as error:
        pytest.skip(str(error))
    ports = [free_port(), free_port()]
    text = (TOP / "examples" / "redis-replica" / "compose.toml").read_text()
    text = text.replace('"6379:', f'"{ports[0]}:').replace('"6380:', f'"{ports[1]}:')
    project.write_text(f'name = "pair-{os.getpid()}"\n{text}')
    compose = ("compose", "-f", str(project))
    code, out, err = cli(*compose, "up", "-d", "--wait")
    assert code == 0, err
    names = out.split()
    assert [name.rpartition("-")[2] for name in names] == ["primary", "replica"]
    said = [line.split()[0] for line in err.splitlines() if ": ready" in line or "started" in line]
    assert said.index("primary:") < said.index("replica:")
    assert redis(ports[0], "SET", "word", "value") == "+OK\r\n"
    assert eventually(lambda: redis(ports[1], "GET", "word") == "$5\r\nvalue\r\n")
    records = json.loads(cli(*compose, "ps", "--json")[1])
    assert [record["service"] for record in records] == ["primary", "replica"]
    assert cli(*compose, "up", "-d")[2].count("runs already") == 2
    assert re.search(r"(?m)^primary \| .*Ready to accept", cli(*compose, "logs")[1])
    assert cli(*compose, "down")[1].split() == names[::-1]
    assert json.loads(cli(*compose, "ps", "--json")[1]) == []


def test_one_after_the_other_and_the_status_of_the_last(cli: Cli, project: Path) -> None:
    project.write_text(f"""
name = "jobs-{os.getpid()}"

[services.check]
target = "{CRASH}"
args = ["abort"]
depends_on = {{ job = "completed" }}

[services.job]
target = "{CRASH}"
args = ["nothing"]
""")
    code, out, err = cli("compose", "-f", str(project), "up", "--exit-code-from", "check")
    assert code == 128 + 6, err
    assert [line.split("|")[1].strip() for line in out.splitlines()] == [
        "crashing by nothing",
        "crashing by abort",
    ]
    assert json.loads(cli("compose", "-f", str(project), "ps", "--json")[1]) == []


def test_what_never_is_ready(cli: Cli, project: Path) -> None:
    project.write_text(f"""
name = "late-{os.getpid()}"

[services.web]
target = "hello"
depends_on = ["db"]

[services.db]
target = "tcp-echo"
ports = []
ready = {{ ports = [1234], timeout = 4 }}
""")
    code, _, err = cli("compose", "-f", str(project), "up", "-d")
    assert code == 124
    assert "no program in it listens on 1234/tcp" in err
    [record] = json.loads(cli("compose", "-f", str(project), "ps", "--json")[1])
    assert (record["service"], record["state"]) == ("db", "running")


def test_started_again(cli: Cli) -> None:
    name = f"again-{os.getpid()}"
    argv = ("run", "-d", "--name", name, "--restart", "on-failure", "--no-dump")
    code, _, err = cli(*argv, str(CRASH), "--", "abort")
    assert code == 0, err
    try:
        assert eventually(lambda: json.loads(cli("inspect", name)[1])[0]["restarts"] >= 2, SECONDS)
        assert cli("stop", name)[0] == 0
        [record] = json.loads(cli("inspect", name)[1])
        assert record["state"] in {"ended", "lost"}
        assert cli("logs", name)[1].count("crashing by abort") >= 2
    finally:
        cli("rm", "--force", name)
