# SPDX-License-Identifier: GPL-2.0
"""Copies of a guest, started from its snapshot: what they share, and what has to differ."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.boot.harness import free_port
from tests.boot.test_lifecycle import Cli, Guest, cli, detached
from tests.conftest import TOP
from tests.processes import eventually
from ukl.vm import snapshot as files

__all__ = ["cli"]  # the fixture

PROGRAM = TOP / "tests/boot/programs/copied/copied.c"
SECONDS = 60.0


@dataclass(frozen=True)
class Original:
    """A guest, a connection to it from before its snapshot, and the snapshot."""

    guest: Guest
    connection: socket.socket
    before: Mapping[str, str]
    file: Path


def report(connection: socket.socket) -> dict[str, str]:
    """Ask the program what it knows."""
    connection.sendall(b"?\n")
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1000)
    return dict(each.split("=") for each in line.decode().split())


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    connection.settimeout(SECONDS)
    return connection


def asked(port: int) -> dict[str, str]:
    with connect(port) as connection:
        return report(connection)


@pytest.fixture(scope="module")
def original(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Original]:
    place = tmp_path_factory.mktemp("snapshots")
    name, port = f"original-{os.getpid()}", free_port()
    argv = ["--name", name, "-p", f"{port}:5555", "--network", name, "--cpus", "2"]
    disk = f"{place}/disk:/data"
    code, out, err = cli("run", "-d", *argv, "--disk", disk, str(PROGRAM))
    assert (code, out) == (0, f"{name}\n"), err
    guest = Guest(cli, name, port)
    try:
        assert guest.sh("echo original >/data/file")[0] == 0
        with connect(port) as connection:
            before = report(connection)
            file = place / "snapshot"
            assert cli("snapshot", name, "-o", str(file))[:2] == (0, f"{file}\n")
            yield Original(guest, connection, before, file)
    finally:
        cli("rm", "--force", name)


@contextlib.contextmanager
def copied(original: Original, count: int = 1) -> Iterator[list[Guest]]:
    """Start copies, of which each forwards the next port."""
    cli, port = original.guest.cli, 10000 + free_port() % 20000
    argv = ("run", "--from", str(original.file), "-p", f"{port}:5555", "-n", str(count))
    code, out, err = cli(*argv)
    assert code == 0, err
    guests = [Guest(cli, name, port + number) for number, name in enumerate(out.split())]
    try:
        assert len(guests) == count
        yield guests
    finally:
        for each in guests:
            cli("rm", "--force", each.name)


def left(place: Path) -> set[str]:
    return {each.name for each in place.iterdir()}


@pytest.fixture(scope="module")
def pair(original: Original) -> Iterator[list[Guest]]:
    with copied(original, 2) as guests:
        yield guests


def test_copies_have_the_data_and_not_the_same_random_numbers(
    original: Original, pair: list[Guest]
) -> None:
    first, second = (asked(each.port) for each in pair)
    assert first["sum"] == second["sum"] == original.before["sum"]
    # The first ones that the program drew in each copy, before anything else happened there.
    assert first["first"] != second["first"]
    assert len({first["random"], second["random"], original.before["random"]}) == 3
    assert [first["name"], second["name"]] == [each.name for each in pair]
    # uuid, and two lines of /dev/urandom
    command = "cat /proc/sys/kernel/random/uuid; head -c 32 /dev/urandom | od -An -tx1"
    lines = [each.sh(command)[1].splitlines() for each in (*pair, original.guest)]
    assert len({line for each in lines for line in each}) == 9


def test_copies_have_addresses_of_their_own(original: Original, pair: list[Guest]) -> None:
    found = set()
    for each in pair:
        address = str(each.inspect()["address"])
        shown = each.sh("ip addr show eth1; hostname; cat /sys/class/net/eth1/address")[1]
        assert f"inet {address} " in shown
        assert each.name in shown
        found.add((address, shown.split()[-1]))
    assert len({one for each in found for one in each}) == 4
    assert str(original.guest.inspect()["address"]) not in {one for each in found for one in each}
    # Under these the others reach them.
    names = [each.name for each in pair]
    pings = " && ".join(f"ping -c 1 -W 9 {name}" for name in names)
    assert original.guest.sh(pings)[0] == 0


def test_copies_have_disks_of_their_own(original: Original, pair: list[Guest]) -> None:
    first, second = pair
    assert first.sh("cat /data/file && echo mine >/data/file && sync")[:2] == (0, "original\n")
    assert second.sh("cat /data/file")[1] == "original\n"
    assert original.guest.sh("cat /data/file")[1] == "original\n"


def test_a_copy_is_told_and_knows_the_time(original: Original) -> None:
    with copied(original) as [guest]:
        now = time.time()
        found = asked(guest.port)
        assert (found["told"], found["resets"]) == ("1", "1")
        assert int(now) - 1 <= int(found["time"]) < now + SECONDS


def test_the_original_goes_on(original: Original) -> None:
    found = report(original.connection)
    assert (found["told"], found["resets"]) == ("0", "0")
    assert found["random"] != original.before["random"]
    assert original.guest.sh("true")[0] == 0


def test_the_file_may_go_while_copies_run(original: Original, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    os.link(original.file, kept)
    with copied(original) as [guest]:
        original.file.unlink()
        try:
            assert asked(guest.port)["sum"] == original.before["sum"]
            assert guest.sh("cat /data/file")[1] == "original\n"
        finally:
            os.link(kept, original.file)


def changed(original: Original, file: Path, **values: str) -> None:
    """Write the end of a snapshot as if it had been taken elsewhere; the rest is empty."""
    descriptor, found = files.opened(original.file)
    os.close(descriptor)
    other = replace(found, host=replace(found.host, **values))  # type: ignore[arg-type]
    with file.open("wb") as stream:
        stream.truncate(max(each.size + (each.offset or 0) for each in found.machine.disks))
        stream.seek(0, os.SEEK_END)
        stream.write(files.encode(other))


@pytest.mark.parametrize(
    ("what", "value", "words"), [("qemu", "6.0.0", "QEMU"), ("cpu", "Abacus", "processor")]
)
def test_one_of_another_machine_is_refused(
    original: Original, tmp_path: Path, what: str, value: str, words: str
) -> None:
    file = tmp_path / "other"
    changed(original, file, **{what: value})
    cli, name = original.guest.cli, f"refused-{os.getpid()}"
    argv = ("--name", name, "-d", "-p", f"{free_port()}:5555")
    code, _, err = cli("run", "--from", str(file), *argv)
    cli("rm", "--force", name)
    assert code == 4, err
    assert f"taken with another {words}: {value}" in err


def test_another_image_and_files_that_are_none_are_refused(
    original: Original, tmp_path: Path
) -> None:
    cli = original.guest.cli
    code, _, err = cli("run", "--from", str(original.file), "hello")
    assert code == 2
    assert "a copy is what its original was" in err
    half = tmp_path / "half"
    with half.open("wb") as stream:
        stream.truncate(1 << 20)
    code, _, err = cli("run", "--from", str(half))
    assert code == 4
    assert "not a complete one" in err


def test_a_port_in_use_is_refused(original: Original) -> None:
    code, _, err = original.guest.cli("run", "--from", str(original.file), "-d")
    assert code != 0
    assert f"port {original.guest.port}" in err


def begins(guest: Guest, place: Path) -> bool:
    """Wait until the guest's keeper writes a snapshot into a directory."""
    keeper = guest.inspect()["keeper"]["pid"]  # type: ignore[index]

    def is_writing() -> bool:
        for each in Path(f"/proc/{keeper}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(each.readlink()).startswith(f"{place}/"):
                    return True
        return False

    return eventually(is_writing, SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_one_leaves_nothing(
    original: Original, tmp_path: Path, number: signal.Signals
) -> None:
    guest = original.guest
    process = guest.cli.start("snapshot", guest.name, "-o", str(tmp_path / "file"))
    assert begins(guest, tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=SECONDS)
    assert b"Traceback" not in said
    assert process.returncode != 0
    assert left(tmp_path) == set()
    # The guest goes on, and can have another one.
    assert asked(guest.port)["sum"] == original.before["sum"]
    code, _, err = guest.cli("snapshot", guest.name, "-o", str(tmp_path / "file"))
    assert code == 0, err
    assert left(tmp_path) == {"file"}


def test_a_keeper_that_is_killed_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    with detached(cli, f"killed-{os.getpid()}") as guest:
        process = cli.start("snapshot", guest.name, "-o", str(tmp_path / "file"))
        assert begins(guest, tmp_path)
        os.kill(guest.inspect()["keeper"]["pid"], signal.SIGKILL)  # type: ignore[index]
        process.communicate(timeout=SECONDS)
        assert process.returncode != 0
        assert left(tmp_path) == set()


def test_a_normal_process_and_an_ended_guest(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with detached(cli, f"process-{os.getpid()}", "--mode", "process") as guest:
        assert cli("snapshot", guest.name, "-o", str(file))[0] == 0
        assert cli("stop", guest.name)[0] == 0
        code, _, err = cli("snapshot", guest.name, "-o", str(tmp_path / "none"))
        assert code == 1
        assert "has ended" in err
    # Its port is free again, and is that of the copy.
    code, out, err = cli("run", "--from", str(file), "-d")
    try:
        assert code == 0, err
        with connect(guest.port) as connection:
            connection.sendall(b"hello\n")
            assert connection.recv(100) == b"hello\n"
    finally:
        cli("rm", "--force", out.strip())
