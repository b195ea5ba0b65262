# SPDX-License-Identifier: GPL-2.0
"""What a guest does: its calls, its threads, its time; asked while it serves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.boot.test_lifecycle import SECONDS, Cli, Guest, cli, detached

__all__ = ["cli"]  # the fixture


@pytest.fixture(scope="module")
def busy(cli: Cli) -> Iterator[Guest]:
    """Give an echo server that somebody talks to all the time."""
    with detached(cli, f"busy-{os.getpid()}") as guest:
        ended = threading.Event()

        def talk() -> None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", guest.port), SECONDS) as connection,
            ):
                while not ended.is_set():
                    connection.sendall(b"x" * 1000)
                    left = 1000
                    while left:
                        left -= len(connection.recv(left))

        talking = threading.Thread(target=talk)
        talking.start()
        yield guest
        ended.set()
        talking.join(SECONDS)


def test_calls(busy: Guest) -> None:
    if shutil.which("strace") is None:
        pytest.skip("optional: no strace on this machine")
    code, _, err = busy.cli("trace", busy.name, "-t", "4", "-e", "recvfrom")
    assert code == 0, err
    assert re.search(r'recvfrom\(\d+, "x+"\.*, \d+, 0, NULL, NULL\) += \d+', err), err
    code, _, err = busy.cli("trace", busy.name, "-t", "4", "-c")
    assert code == 0, err
    assert re.search(r"^ *\d+\.\d+ .* sendto$", err, re.MULTILINE), err
    # It has been let go.
    assert busy.sh(f"grep TracerPid /proc/{busy.inspect()['pid']}/status")[1].split()[1] == "0"


def test_threads(busy: Guest) -> None:
    code, out, err = busy.cli("top", busy.name)
    assert code == 0, err
    [row] = [line.split() for line in out.splitlines() if "tcp-echo" in line]
    assert row[0] == str(busy.inspect()["pid"])


def test_time(busy: Guest, tmp_path: Path) -> None:
    stacks, picture = tmp_path / "stacks", tmp_path / "picture.svg"
    code, _, err = busy.cli("perf", "record", busy.name, "-t", "6", "-o", str(stacks))
    assert code == 0, err
    # One stack, from the application's first function into the kernel.
    entry = r"ukl_(fast_\d+|syscall_fast)_\[k\]"
    whole = rf"^tcp-echo;ukl_app_start;.*;main;.*(send|recv).*;{entry};.*tcp_\w+_\[k\]"
    assert re.search(whole, stacks.read_text(), re.MULTILINE), stacks.read_text()
    assert busy.cli("perf", "flamegraph", str(stacks), "-o", str(picture))[0] == 0
    assert "main:" in "".join(ElementTree.parse(picture).getroot().itertext())
    argv = ("perf", "top", busy.name, "-t", "3", "-n", "1000", "--json")
    functions = {each["function"] for each in json.loads(busy.cli(*argv)[1])["functions"]}
    assert "main" in functions
    assert any(re.fullmatch(r"tcp_\w+_\[k\]", name) for name in functions), functions
