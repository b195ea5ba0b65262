# SPDX-License-Identifier: GPL-2.0
"""Runs commands to their end; returns their output and status."""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

from ukl.base.errors import TimeoutExpired, UklError
from ukl.host.process import PIPE, STDOUT, Process, Stream, brief, log_head, spawn
from ukl.host.programs import Arg, find

DRAIN = 1.0
"""Seconds to read output after the child's end if another process holds its pipe open."""

TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended, and its output; stderr is part of stdout except for `run_apart`."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    seconds: float
    stderr: str = ""


class CommandFailed(UklError):
    """A command ended with a status other than 0, or by a signal (negative)."""

    def __init__(
        self,
        argv: Sequence[str],
        returncode: int,
        output: str,
        *,
        log: Path | None = None,
        remedy: str | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.returncode = returncode
        self.output = output
        self.tail = "\n".join(output.rstrip().splitlines()[-TAIL_LINES:])
        how = (
            f"was killed by {_signal_name(-returncode)}"
            if returncode < 0
            else f"exited with status {returncode}"
        )
        text = f"`{brief(self.argv)}` {how}"
        super().__init__(text + (f":\n{self.tail}" if self.tail else ""), log=log, remedy=remedy)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --- records ------------------------------------------------------------------


@dataclass(slots=True)
class Record:
    """The commands that ran while it was active, for a manifest."""

    commands: list[dict[str, object]] = field(default_factory=list)


_records = threading.local()


@contextlib.contextmanager
def recording() -> Iterator[Record]:
    """Record each command that this thread runs inside the block."""
    stack: list[Record] = getattr(_records, "stack", [])
    record = Record()
    _records.stack = [*stack, record]
    try:
        yield record
    finally:
        _records.stack = stack


def _note(argv: Sequence[str], cwd: Path | None, returncode: int | None, seconds: float) -> None:
    for record in getattr(_records, "stack", []):
        record.commands.append(
            {
                "argv": list(argv),
                "cwd": str(cwd) if cwd else None,
                "returncode": returncode,
                "seconds": round(seconds, 3),
            }
        )


def version(program: str) -> str:
    """Return the first line of `program --version`; runs each file once per process."""
    return _version(find(program))


@cache
def _version(path: str) -> str:
    return run([path, "--version"], timeout=20).stdout.partition("\n")[0].strip()


# --- commands ------------------------------------------------------------------


def run(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
    stdin: bytes | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run a command to its end and return its output.

    Output is captured, appended to `log`, and passed to `on_line` line by line.
    `env` is added to the clean environment; `timeout` is in seconds. Raises
    CommandFailed on a status other than 0 (unless `check` is False),
    TimeoutExpired, or MissingError if the program is not installed. Any
    exception kills the child and all processes that it started.
    """
    command = _Command(tuple(os.fspath(word) for word in argv), cwd, env, stdin, timeout)
    done = command.run(_Collector(log, on_line), STDOUT)
    return _checked(done, log) if check else done


def run_apart(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a command as `run` does, with standard output and standard error separate."""
    command = _Command(tuple(os.fspath(word) for word in argv), cwd, env, None, timeout)
    done = command.run(_Collector(None, None), PIPE)
    return _checked(done, None) if check else done


def _checked(done: Completed, log: Path | None) -> Completed:
    if done.returncode != 0:
        raise CommandFailed(done.argv, done.returncode, done.stdout + done.stderr, log=log)
    return done


@dataclass(frozen=True, slots=True)
class _Command:
    words: tuple[str, ...]
    cwd: Path | None
    env: Mapping[str, str] | None
    stdin: bytes | None
    timeout: float | None

    def run(self, collector: _Collector, stderr: int) -> Completed:
        begin = time.monotonic()
        end = None if self.timeout is None else begin + self.timeout
        status: int | None = None
        try:
            with contextlib.ExitStack() as stack:
                collector.open(stack, log_head(self.words, self.cwd))
                given: Stream = None
                if self.stdin is not None:
                    given = stack.enter_context(tempfile.TemporaryFile())
                    given.write(self.stdin)
                    given.seek(0)
                process = stack.enter_context(
                    spawn(
                        self.words,
                        cwd=self.cwd,
                        env=self.env,
                        stdin=given,
                        stdout=PIPE,
                        stderr=stderr,
                    )
                )
                if not _pump(process, collector, end):
                    process.end()
                    raise TimeoutExpired(
                        f"`{brief(self.words)}` did not end within {self.timeout:g} s",
                        log=collector.log,
                    )
                status = process.wait()
                collector.close(f"# status {status}, {time.monotonic() - begin:.2f} s\n")
        finally:
            seconds = time.monotonic() - begin
            _note(self.words, self.cwd, status, seconds)
        output, errors = collector.text("stdout"), collector.text("stderr")
        return Completed(self.words, status, output, seconds, errors)


class _Collector:
    """Collects the child's output, logs it, and splits it into lines."""

    def __init__(self, log: Path | None, on_line: Callable[[str], None] | None) -> None:
        self.log = log
        self._log: IO[bytes] | None = None
        self._on_line = on_line
        self._text: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._rest: dict[str, str] = {"stdout": "", "stderr": ""}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoder = {name: decoder("replace") for name in self._text}

    def open(self, stack: contextlib.ExitStack, head: str) -> None:
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self._log = stack.enter_context(self.log.open("ab", buffering=0))
            self._log.write(head.encode())

    def feed(self, name: str, data: bytes) -> None:
        """Take bytes of the stream `name`; empty at its end."""
        if self._log is not None and data:
            self._log.write(data)
        text = self._decoder[name].decode(data, final=not data)
        self._text[name].append(text)
        if self._on_line is None:
            return
        *lines, rest = (self._rest[name] + text).split("\n")
        self._rest[name] = rest
        if not data and rest:
            lines.append(rest)
            self._rest[name] = ""
        for line in lines:
            self._on_line(line.rstrip("\r"))

    def close(self, foot: str) -> None:
        for name in self._text:
            self.feed(name, b"")
        if self._log is not None:
            self._log.write(foot.encode())

    def text(self, name: str) -> str:
        return "".join(self._text[name])


def _pump(process: Process, collector: _Collector, deadline: float | None) -> bool:
    """Move output to the collector until the child ends; return False after the deadline."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(process.fileno(), selectors.EVENT_READ, None)
        open_streams = 0
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            if stream is not None:
                selector.register(stream.fileno(), selectors.EVENT_READ, name)
                open_streams += 1
        running = True
        limit = deadline
        while running or open_streams:
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                return not running  # the child has ended, but another process holds its pipe
            for key, _ in selector.select(left):
                if key.data is None:
                    running = False
                    selector.unregister(key.fd)
                    limit = time.monotonic() + DRAIN
                elif data := os.read(key.fd, 1 << 16):
                    collector.feed(key.data, data)
                else:
                    selector.unregister(key.fd)
                    open_streams -= 1
        return True
