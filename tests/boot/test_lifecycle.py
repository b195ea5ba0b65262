# SPDX-License-Identifier: GPL-2.0
"""A guest in the background, and all that is done with it by its name."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boot.harness import Built, free_port
from tests.conftest import TOP
from tests.processes import eventually, eventually_of
from ukl.host.store import Store
from ukl.vm import registry

SECONDS = 180.0


@dataclass(frozen=True)
class Cli:
    """The command line, with the cache in which the kernel is built already."""

    environment: dict[str, str]

    def start(self, *argv: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "ukl", *argv],
            env=self.environment,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *argv: str, given: bytes | None = None) -> tuple[int, str, str]:
        stdin = None if given is None else subprocess.PIPE
        with self.start(*argv, stdin=stdin) as process:
            try:
                out, err = process.communicate(given, timeout=SECONDS)
            except BaseException:
                process.kill()
                raise
        assert b"Traceback" not in err, err.decode()
        return process.returncode, out.decode(), err.decode()


@dataclass(frozen=True)
class Guest:
    """A detached echo server."""

    cli: Cli
    name: str
    port: int

    def sh(self, text: str, given: bytes | None = None) -> tuple[int, str, str]:
        return self.cli("exec", self.name, "--", "sh", "-c", text, given=given)

    @property
    def place(self) -> Path:
        return Path(self.cli.environment["UKL_CACHE_DIR"], "guests", self.name)

    def inspect(self) -> dict[str, object]:
        # As `ukl inspect` does, which one test asks: a process of Python less.
        guests = registry.Registry(self.place.parent)
        return registry.shown(guests.get(self.name))

    def until(self, text: str) -> None:
        """Wait until a command in the guest succeeds."""
        assert eventually(lambda: self.sh(text)[0] == 0, SECONDS), text


@pytest.fixture(scope="module")
def cli(shared_store: Store, echo: Built) -> Cli:
    assert echo.image.marker is not None
    return Cli(
        {
            **os.environ,
            "PYTHONPATH": str(TOP / "src"),
            "UKL_CACHE_DIR": str(shared_store.root),
            "TERM": "vt100",
        }
    )


@contextlib.contextmanager
def detached(cli: Cli, name: str, *more: str) -> Iterator[Guest]:
    guest = Guest(cli, name, free_port())
    argv = ("run", "-d", "tcp-echo", "--name", name, "-p", f"{guest.port}:5555")
    code, out, err = cli(*argv, *more)
    try:
        assert (code, out) == (0, f"{name}\n"), err
        yield guest
    finally:
        if guest.place.exists():
            cli("rm", "--force", name)


@pytest.fixture(scope="module")
def guest(cli: Cli) -> Iterator[Guest]:
    with detached(cli, f"life-{os.getpid()}") as started:
        yield started


def echoed(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"hello\n")
        return connection.recv(100)


def test_it_serves_and_is_listed(guest: Guest) -> None:
    assert echoed(guest.port) == b"hello\n"
    [listed] = [
        each for each in json.loads(guest.cli("ps", "--json")[1]) if each["name"] == guest.name
    ]
    assert listed["state"] == "running"
    assert listed["application"] == "tcp-echo"
    assert [listed] == json.loads(guest.cli("inspect", guest.name)[1])
    assert listed["ports"] == [f"127.0.0.1:{guest.port}->5555"]
    assert "listening" in guest.cli("logs", guest.name)[1]


def test_its_name_is_taken(guest: Guest) -> None:
    code, _, err = guest.cli("run", "-d", "tcp-echo", "--name", guest.name)
    assert code == 4
    assert f"ukl stop {guest.name}" in err
    assert echoed(guest.port) == b"hello\n"


def test_exec_passes_streams_and_status_on(guest: Guest) -> None:
    done = guest.sh("cat; echo out; echo err >&2; exit 7", given=b"in\n")
    assert done == (7, "in\nout\n", "err\n")
    assert guest.sh("kill -TERM $$")[0] == 128 + signal.SIGTERM
    assert guest.sh("cat /proc/1/comm; id -u")[1] == "init\n0\n"


def test_exec_of_what_is_not_there(guest: Guest) -> None:
    code, _, err = guest.cli("exec", guest.name, "--", "no-such-program")
    assert code == 127
    assert "no-such-program" in err
    assert guest.cli("exec", guest.name, "--", "/etc/passwd")[0] == 126


def test_exec_sets_variables_and_directory(guest: Guest) -> None:
    argv = ("exec", guest.name, "-e", "A=b c", "-w", "/tmp", "--", "sh", "-c", 'echo "$A"; pwd')
    assert guest.cli(*argv)[1] == "b c\n/tmp\n"


def test_several_at_a_time_and_a_reader_that_does_not_read(guest: Guest) -> None:
    with (
        guest.cli.start(
            "exec", guest.name, "--", "cat", "/dev/zero"
        ) as stuck,  # nobody reads its pipe
        guest.cli.start("exec", guest.name, "--", "cat", stdin=subprocess.PIPE) as patient,
    ):
        assert stuck.stdout is not None
        assert stuck.stdout.read(1) == b"\0"
        assert guest.sh("echo between")[1] == "between\n"
        out, _ = patient.communicate(b"late\n", timeout=SECONDS)
        assert out == b"late\n"
        stuck.kill()
    guest.until("! pidof cat >/dev/null")


def test_bulk_data_both_ways(guest: Guest) -> None:
    data = os.urandom(3 << 20)
    with guest.cli.start("exec", guest.name, "--", "cat", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate(data, timeout=SECONDS)
    assert out == data


def test_ctrl_c_reaches_the_program(guest: Guest) -> None:
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    with guest.cli.start("exec", guest.name, "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"caught\n"
        assert process.wait(SECONDS) == 3


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Read a terminal until it has shown `wanted`."""
    seen = b""
    end = time.monotonic() + SECONDS
    while wanted not in seen:
        left = end - time.monotonic()
        assert left > 0, seen
        if select.select([descriptor], [], [], left)[0]:
            try:
                seen += os.read(descriptor, 4096)
            except OSError:
                raise AssertionError(seen) from None
    return seen


def test_a_command_that_takes_all_memory(guest: Guest) -> None:
    code, _, err = guest.sh("exec head -c 2000000000 /dev/zero | exec tail")
    assert code == 137
    assert "out of memory: the kernel killed process" in err


def test_a_shell_with_a_terminal(guest: Guest) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "ukl", "shell", guest.name],
            guest.cli.environment,
        )
    try:
        read_until(terminal, b"# ")
        os.write(terminal, b"stty rows 33 cols 77; stty size; tty; echo $TERM\n")
        seen = read_until(terminal, b"vt100\r\n")
        assert b"33 77\r\n" in seen
        assert b"/dev/pts/" in seen
        os.write(terminal, b"sleep 600\n")
        guest.until("pidof sleep >/dev/null")
        os.write(terminal, b"\x03")  # the terminal of the guest makes SIGINT of it
        read_until(terminal, b"# ")
        os.write(terminal, b"exit 9\n")
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 9
    finally:
        os.close(terminal)


def test_a_program_that_is_process_1_gets_no_signal(cli: Cli) -> None:
    name = f"first-{os.getpid()}"
    code, out, err = cli("run", "-d", "--name", name, "--init", "app", "tcp-echo")
    assert (code, out) == (0, f"{name}\n"), err
    code, out, err = cli("stop", name)
    assert (code, out) == (0, f"{name}\n")
    assert "gets no SIGTERM" in err
    assert cli("stop", name) == (0, f"{name}\n", "")
    cli("rm", name)


def test_an_agent_that_dies_is_replaced(guest: Guest) -> None:
    find = (
        "for p in /proc/[0-9]*; do read n < $p/comm; [ $n = ukl-agent ] && echo ${p#/proc/}; done"
    )
    first = guest.sh(f"{find}; true")[1]
    code, _, err = guest.sh(f"kill -9 $({find}); sleep 600")
    assert code == 125
    assert "ended before the program" in err
    second = guest.sh(f"{find}; true")[1]
    assert second.strip().isdigit()
    assert second != first


def test_files_are_copied_both_ways(guest: Guest, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "script").write_text("#!/bin/sh\necho ran\n")
    (tree / "sub" / "script").chmod(0o755)
    (tree / "link").symlink_to("sub/script")
    (tree / "data").write_bytes(os.urandom(100_000))
    assert guest.cli("cp", str(tree), f"{guest.name}:/tmp") == (0, "", "")
    assert guest.sh("/tmp/tree/link; stat -c %u /tmp/tree/data")[1] == "ran\n0\n"
    assert guest.cli("cp", f"{guest.name}:/tmp/tree", str(tmp_path / "back")) == (0, "", "")
    back = tmp_path / "back"
    assert (back / "data").read_bytes() == (tree / "data").read_bytes()
    assert os.access(back / "link", os.X_OK)
    assert (back / "link").is_symlink()
    code, _, err = guest.cli("cp", f"{guest.name}:/nothing", str(tmp_path))
    assert code == 1
    assert "nothing" in err
    assert not list(tmp_path.glob(".*"))


def test_gdb_sees_kernel_and_application(guest: Guest) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("optional: no gdb on this machine")
    commands = ("break tcp_sendmsg", "continue", "bt", "detach")
    argv = [word for command in commands for word in ("-ex", command)]
    with guest.cli.start("gdb", guest.name, "--", "-batch", "-nx", *argv) as process:
        try:
            assert process.stdout is not None
            head = iter(process.stdout.readline, b"")
            assert any(b"Breakpoint 1 at" in line for line in head)
            with socket.create_connection(("127.0.0.1", guest.port), timeout=SECONDS) as connection:
                connection.sendall(b"hello\n")
                out, err = process.communicate(timeout=SECONDS)
                assert connection.recv(100) == b"hello\n"  # it goes on without gdb
        finally:
            process.kill()
    trace = [line for line in out.decode().splitlines() if line.startswith("#")]
    where = [next((n for n, line in enumerate(trace) if word in line), -1) for word in
             ("tcp_sendmsg", "ukl_fast_call", "serve (", "main (")]  # fmt: skip
    assert where[0] == 0, (out, err)
    assert where == sorted(where), trace
    assert "tcp-echo.c:" in trace[where[3]]


def test_stop_ends_it_well_and_rm_forgets_it(guest: Guest) -> None:
    with guest.cli.start("logs", "-f", guest.name) as following:
        assert guest.cli("stop", guest.name) == (0, f"{guest.name}\n", "")
        out, _ = following.communicate(timeout=SECONDS)
    assert b"listening" in out
    ended = guest.inspect()
    assert (ended["state"], ended["outcome"]) == ("ended", "stopped")
    assert guest.name in guest.cli("ps", "-a", "-q")[1].split()
    code, _, err = guest.sh("true")
    assert code == 1
    assert "has ended" in err
    assert guest.cli("rm", guest.name) == (0, f"{guest.name}\n", "")


def test_a_log_is_bounded_followed_and_still_tells_of_a_panic(cli: Cli) -> None:
    with detached(
        cli, f"chatty-{os.getpid()}", "--log-size", "64K", "--log-files", "3", "--no-dump"
    ) as guest:
        script = (
            "seq 100001 108000 | sed 's/$/ is the number of a line that is long/' >/dev/console"
        )
        with guest.cli.start("logs", "-f", guest.name) as following:
            try:
                code, _, err = guest.sh(script)
                assert code == 0, err
                whole = cli("logs", guest.name)[1]
                panic = ("exec", guest.name, "--", "sh", "-c", "echo c >/proc/sysrq-trigger")
                assert cli(*panic)[0] == 125
                out, _ = following.communicate(timeout=SECONDS)
            finally:
                following.kill()
        files = sorted(guest.place.glob("console.log*"))
        assert len(files) == 3
        assert all(0 < file.stat().st_size <= 64 << 10 for file in files)
        for said in (whole, out.decode()):
            numbers = [int(number) for number in re.findall(r"(\d{6}) is the number", said)]
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == 108000
        assert "100001 is" not in whole
        assert b"listening" in out  # said before the first of them
        ended = guest.inspect()
        assert (ended["state"], ended["outcome"]) == ("ended", "panicked")
        assert "sysrq triggered crash" in str(ended["detail"])
        assert "sysrq triggered crash" in cli("logs", "--tail", "60", guest.name)[1]


def test_one_in_the_foreground_is_known_and_goes_with_its_keeper(cli: Cli) -> None:
    guest = Guest(cli, f"front-{os.getpid()}", free_port())
    argv = ("run", "tcp-echo", "--name", guest.name, "-p", f"{guest.port}:5555")
    with cli.start(*argv) as keeper:
        try:
            eventually_of(
                keeper,
                lambda: guest.place.exists() and guest.inspect()["state"] == "running",
                SECONDS,
            )
            assert guest.name in cli("ps", "-q")[1].split()
            assert guest.sh("echo in")[:2] == (0, "in\n")
            known = guest.inspect()["qemu"]
            assert isinstance(known, dict)
            qemu = Path(f"/proc/{known['pid']}")
        finally:
            keeper.kill()
    try:
        assert eventually(lambda: not qemu.exists())
        assert guest.inspect()["state"] == "lost"
    finally:
        assert cli("rm", guest.name)[0] == 0
