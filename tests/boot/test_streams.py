# SPDX-License-Identifier: GPL-2.0
"""The program's standard streams are what those of `ukl run` are: pipes, files, a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.harness import PROGRAMS, Lab
from tests.conftest import TOP
from ukl.base.model import Guest
from ukl.vm.launch import Options
from ukl.vm.streams import Streams

SECONDS = 180.0
MODES = pytest.mark.parametrize("mode", ["unikernel", "process"])


class Cli:
    """`ukl run` of the program `streams`."""

    def __init__(self, lab: Lab) -> None:
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(TOP / "src"),
            "UKL_CACHE_DIR": str(lab.store.root),
            "TERM": "vt100",
        }

    def argv(self, *words: str) -> list[str]:
        """Return the command: options of `ukl run`, then arguments of the program."""
        options = [word for word in words if word.startswith("-")]
        rest = [word for word in words if word not in options]
        return [sys.executable, "-m", "ukl", "run", *options, str(PROGRAMS / "streams"), *rest]

    def __call__(self, *words: str, given: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run it with pipes; return code, standard output and standard error."""
        done = subprocess.run(
            self.argv(*words),
            env=self.environment,
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def cli(lab: Lab) -> Cli:
    lab.program("streams")
    return Cli(lab)


# --- pipes and files -----------------------------------------------------------------


@MODES
def test_pipes_are_pipes(cli: Cli, mode: str) -> None:
    code, out, err = cli(f"--mode={mode}", "kinds")
    assert (code, out) == (0, b"pipe pipe pipe\n"), err
    assert b"errors\n" in err


@MODES
def test_every_byte_arrives_and_the_end(cli: Cli, mode: str) -> None:
    data = bytes(range(256)) * 20 + os.urandom(3_000_000) + b"x" * 5000 + b"\x04"
    code, out, err = cli(f"--mode={mode}", "cat", given=data)
    assert code == 0, err
    assert out == data


def test_no_input_is_an_end_of_input(cli: Cli) -> None:
    assert cli("cat")[:2] == (0, b"")


def test_a_file_and_no_input(cli: Cli, tmp_path: Path) -> None:
    file, out = tmp_path / "in", tmp_path / "out"
    file.write_bytes(os.urandom(200_000))
    for source, expected in ((file, file.read_bytes()), (Path(os.devnull), b"")):
        with source.open("rb") as reading, out.open("wb") as writing:
            done = subprocess.run(
                cli.argv("cat"),
                env=cli.environment,
                stdin=reading,
                stdout=writing,
                timeout=SECONDS,
                check=False,
            )
        assert done.returncode == 0
        assert out.read_bytes() == expected


def test_a_reader_that_goes_is_a_broken_pipe(cli: Cli) -> None:
    with subprocess.Popen(
        cli.argv("yes"),
        env=cli.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert b"Broken pipe\n" in process.stderr.read()
        assert process.wait(SECONDS) == 5


def test_who_goes_on_to_write_does_not_keep_the_guest(cli: Cli) -> None:
    code, out, err = cli("leave")
    assert code == 6, err
    assert (b"left\n" * len(out)).startswith(out)


def test_a_terminal_where_there_is_none(cli: Cli) -> None:
    code, out, err = cli("-t", "kinds")
    assert (code, out) == (0, b"terminal terminal terminal\r\nerrors\r\n"), err
    assert cli("-t", "cat", given=b"typed\n")[1] == b"typed\r\n" * 2
    with Path(os.devnull).open() as nothing:
        done = subprocess.run(
            cli.argv("-t", "cat"), env=cli.environment, stdin=nothing, timeout=SECONDS, check=False
        )
    assert done.returncode == 0


@pytest.mark.parametrize(("kinds", "name"), [("npp", "pipe"), ("ttt", "terminal")])
def test_another_user_opens_its_own_output(
    lab: Lab, kinds: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "vt100")
    out, errors = bytearray(), bytearray()
    options = Options(Guest(uid=1000, gid=100), streams=Streams(kinds, out.extend, errors.extend))
    ran = lab.run(lab.program("streams"), "kinds", options=options)
    assert ran.result.status == 0, out
    assert out.split()[1] == name.encode()
    assert ran.output == b""  # the console
    assert ran.result.console.read_bytes() in {bytes(out + errors), bytes(errors + out)}


# --- terminals -----------------------------------------------------------------------


class Terminal:
    """A terminal, and `ukl run` in its foreground."""

    def __init__(self, cli: Cli, *words: str, rows: int, columns: int) -> None:
        self.pid, self.leader = pty.fork()
        if self.pid == 0:
            time.sleep(0.1)  # until it has its size
            os.execve(sys.executable, cli.argv(*words), cli.environment)
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.leader)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.leader, data)

    def says(self, pattern: bytes) -> None:
        """Wait for a pattern in what came since the last one."""
        end = time.monotonic() + SECONDS
        while (match := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < end, self.seen
            if select.select([self.leader], [], [], 0.2)[0]:
                self.seen += os.read(self.leader, 4096)
        self.seen = self.seen[match.end() :]

    def ends(self) -> int:
        """Wait for the end; the terminal must be as it was."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        assert termios.tcgetattr(self.leader) == self.before
        return code

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.leader)


@pytest.fixture
def terminal(cli: Cli) -> Iterator[Terminal]:
    made = Terminal(cli, "keys", rows=50, columns=132)
    yield made
    made.close()


def test_a_terminal_is_a_terminal(cli: Cli) -> None:
    made = Terminal(cli, "kinds", rows=24, columns=80)
    made.says(rb"terminal terminal terminal\r\nerrors\r\n")
    assert made.ends() == 0
    made.close()


def test_keys_and_size(terminal: Terminal) -> None:
    terminal.says(rb"size 50 132\r\n")
    terminal.resize(30, 100)
    terminal.says(rb"size 30 100\r\n")
    terminal.type(b"\x01\x04\x0d\x11\x1b[A\x7f\xc3\xa4")
    for key in (b"01", b"04", b"0a", b"1b", b"5b", b"41", b"7f", b"c3", b"a4"):
        terminal.says(key + rb"\r\n")
    terminal.type(b"q")
    assert terminal.ends() == 7


def test_an_interrupt_is_a_signal_to_the_program(terminal: Terminal) -> None:
    terminal.says(rb"size 50 132\r\n")
    terminal.type(b"\x03")
    terminal.says(rb"killed by SIGINT")
    assert terminal.ends() == 130


@pytest.mark.parametrize("when", ["booting", "running"])
def test_keys_that_end_the_guest(cli: Cli, when: str) -> None:
    made = Terminal(cli, "keys", rows=50, columns=132)
    try:
        if when == "running":
            made.says(rb"size 50 132\r\n")
            made.type(b"\x1d")
        else:
            made.says(rb"initrd streams[^\n]*\n")
            made.type(b"\x03")
        assert made.ends() == 130
    finally:
        made.close()


def test_a_redirected_stream_is_none_of_the_terminal(cli: Cli, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    # Not in the foreground of that terminal, it must not read it.
    for place, expected in ((1, b"other pipe terminal\n"), (0, b"pipe terminal terminal\r\n")):
        file = tmp_path / "file"
        file.write_bytes(b"")
        with file.open("r+b") as other:
            streams = [follower, follower, follower]
            streams[place] = other.fileno()
            done = subprocess.run(
                cli.argv("kinds"),
                env=cli.environment,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                timeout=SECONDS,
                check=False,
                start_new_session=True,
            )
        assert done.returncode == 0
        shown = b""
        while select.select([leader], [], [], 0.2)[0]:
            shown += os.read(leader, 4096)
        assert expected in (file.read_bytes() if place == 1 else shown)
    os.close(leader)
    os.close(follower)
