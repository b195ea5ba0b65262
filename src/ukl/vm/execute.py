# SPDX-License-Identifier: GPL-2.0
"""Executes a program in a running guest: the client of `ukl exec`.

Input is sent only as fast as the program takes it, and output granted only as fast as it is
written here, so neither side ever buffers more than a window of the other's bytes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ukl.base.errors import ExitCode, UklError, VmLost
from ukl.guest import rundesc
from ukl.guest.rundesc import GuestRun
from ukl.vm import agent, control, outcome, terminal
from ukl.vm.agent import Decoder, Frame, Type
from ukl.vm.registry import Registry
from ukl.vm.relay import HELLO_TIMEOUT

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""Exit codes of a program that could not be started, as in a shell."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class NotStarted(UklError):
    """The guest could not execute the program."""

    def __init__(self, program: str, number: int) -> None:
        missing = number == errno.ENOENT
        super().__init__(
            f"the guest cannot execute {program}: {os.strerror(number)}",
            remedy="the guest has busybox (--userspace with the profile tiny), the application "
            "(/ukl/NAME, /user/NAME) and the manifest's [run] files; ukl cp copies others"
            if missing
            else None,
        )
        self.exit_code = NOT_FOUND if missing else NOT_EXECUTABLE


@dataclass(frozen=True, slots=True)
class Streams:
    """Descriptors of the client; `input` None is empty input."""

    input: int | None = None
    output: int = 1
    errors: int = 2


@dataclass(slots=True)
class _State:
    """The state of one execution."""

    input: int | None
    window: int = agent.WINDOW
    signals: list[int] = field(default_factory=list)
    interrupts: int = 0
    status: int | None = None


def execute(connection: socket.socket, run: GuestRun, streams: Streams) -> int:
    """Run the companion of `run` over a keeper's connection, and return its exit code.

    Closes the connection. With a terminal (`run.console.interactive`) all keys go to the
    guest, and Ctrl-] leaves; otherwise signals are passed on, and a second Ctrl-C leaves.
    Raises NotStarted if the guest could not execute the program, VmLost if the guest ended
    before it.
    """
    state = _State(streams.input)
    with connection, contextlib.ExitStack() as stack:
        wake = stack.enter_context(_signals(state, interactive=run.console.interactive))
        if run.console.interactive and streams.input is not None:
            stack.enter_context(terminal.raw(streams.input))
        _send(connection, agent.exec_frame(0, run))
        _send(connection, agent.number(Type.GRANT, 0, agent.GRANT))
        if state.input is None:
            _send(connection, Frame(Type.INPUT, 0))
        code = _pump(connection, run, streams, state, wake)
    return code


def _pump(
    connection: socket.socket, run: GuestRun, streams: Streams, state: _State, wake: int
) -> int:
    decoder = Decoder()
    while True:
        poll = select.poll()  # unlike epoll, it takes a regular file
        poll.register(connection, select.POLLIN)
        poll.register(wake, select.POLLIN)
        if state.input is not None and state.window > 0:
            poll.register(state.input, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wake in ready:
            os.read(wake, 4096)
            if not _pass_signals(connection, streams, state):
                return ExitCode.INTERRUPTED
        if connection.fileno() in ready:
            data = _receive(connection)
            if not data:
                raise VmLost(
                    "the guest or its agent ended before the program",
                    remedy="ukl logs shows the guest's output",
                )
            for frame in decoder.feed(data):
                _take(connection, frame, run, streams, state)
            if state.status is not None:
                return agent.exit_code(state.status)
        elif state.input in ready and not _send_input(connection, run, state):
            return ExitCode.INTERRUPTED


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:  # closed, with frames of ours unread
        return b""


def _send_input(connection: socket.socket, run: GuestRun, state: _State) -> bool:
    assert state.input is not None
    try:
        data = os.read(state.input, min(agent.CHUNK, state.window))
    except BlockingIOError:
        return True
    except OSError:  # the terminal is gone
        data = b""
    if run.console.interactive and terminal.QUIT in data:
        return False
    _send(connection, Frame(Type.INPUT, 0, data))
    state.window -= len(data)
    if not data:
        state.input = None
    return True


def _send(connection: socket.socket, frame: Frame) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # recv() sees it too
        connection.sendall(agent.encode(frame))


def _take(
    connection: socket.socket, frame: Frame, run: GuestRun, streams: Streams, state: _State
) -> None:
    match frame.type:
        case Type.OUTPUT | Type.ERRORS if frame.data:
            _write(streams.output if frame.type is Type.OUTPUT else streams.errors, frame.data)
            _send(connection, agent.number(Type.GRANT, 0, len(frame.data)))
        case Type.TAKEN:
            state.window += frame.number
        case Type.EXITED:
            state.status = frame.number
            if reason := outcome.kernel_reason(frame.data[4:].decode("ascii", "replace")):
                _write(streams.errors, f"{run.companion[0]}: {reason}\n".encode())
        case Type.FAILED:
            raise NotStarted(run.companion[0], frame.number)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def _pass_signals(connection: socket.socket, streams: Streams, state: _State) -> bool:
    """Send the received signals to the guest; return False after a second Ctrl-C."""
    while state.signals:
        number = state.signals.pop(0)
        if number == signal.SIGWINCH:
            rows, columns = terminal.size(streams.input if streams.input is not None else 0)
            size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little")
            _send(connection, Frame(Type.RESIZE, 0, size))
            continue
        state.interrupts += number == signal.SIGINT
        if state.interrupts > 1:
            return False
        _send(connection, Frame(Type.SIGNAL, 0, bytes([number])))
    return True


@contextlib.contextmanager
def _signals(state: _State, *, interactive: bool) -> Iterator[int]:
    """Queue signals in `state` instead of acting on them; yield a descriptor that wakes poll()."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def note(number: int, frame: object) -> None:
        state.signals.append(number)

    numbers = [*_FORWARDED, *([signal.SIGWINCH] if interactive else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        for number in numbers:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, note)
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


def in_guest(
    guests: Registry,
    name: str,
    command: tuple[str, ...],
    *,
    streams: Streams,
    env: Mapping[str, str] | None = None,
    tty: bool = False,
    directory: str = "/",
) -> int:
    """Execute a command in the guest `name` and return its exit code.

    Its environment is the application's, and `env`. Raises what `execute` raises, and
    UklError if the guest does not run.
    """
    record = guests.get(name)
    rows, columns = terminal.size(streams.input or 0) if tty else (0, 0)
    own = {"TERM": os.environ.get("TERM", "linux")} if tty else {}
    run = GuestRun(
        name="exec",
        start=False,
        companion=command,
        env={**rundesc.DEFAULT_ENV, **record.given.env, **own, **(env or {})},
        cwd=directory,
        console=rundesc.Console(interactive=tty, rows=rows, columns=columns),
    )
    agent.exec_frame(0, run)  # raises an error before anything has happened
    patience = HELLO_TIMEOUT + control.TIMEOUT
    connection = control.request(record, guests.place(name), patience, request="exec")
    return execute(connection, run, streams)


def standard_input() -> int | None:
    """Return the descriptor of standard input, None if this process must not read it."""
    try:
        readable = not os.isatty(0) or terminal.is_foreground(0)
    except OSError:  # closed
        return None
    return 0 if readable else None


def descriptor(stream: IO[bytes]) -> int:
    """Flush and rewind a file, and return its descriptor."""
    stream.flush()
    stream.seek(0)
    return stream.fileno()


def captured(guests: Registry, name: str, command: tuple[str, ...]) -> tuple[int, bytes]:
    """Execute a command without input in a guest; return its exit code and standard output.

    Raises what `in_guest` raises.
    """
    with tempfile.TemporaryFile() as output, Path(os.devnull).open("r+b") as nothing:
        code = in_guest(
            guests, name, command, streams=Streams(None, output.fileno(), nothing.fileno())
        )
        output.seek(0)
        return code, output.read()
