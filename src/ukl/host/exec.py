# SPDX-License-Identifier: GPL-2.0
"""The one door to other processes.

Every child gets an argument list (never a shell), a clean environment, its own
process group, and dies with us: the group is ended on a timeout, an exception or
Ctrl-C; the direct child carries PR_SET_PDEATHSIG; and what it started itself is
killed by a warden process, which notices our end, however it came, by the end of
its pipe.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import os
import select
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias

from ukl.base.errors import MissingError, TimeoutExpired, UklError
from ukl.host.requirements import PACKAGE_OF, install_command

Arg: TypeAlias = str | os.PathLike[str]
Stream: TypeAlias = int | IO[bytes] | None

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

GRACE = 2.0
"""Seconds a process group has between SIGTERM and SIGKILL."""

DRAIN = 1.0
"""Seconds that output is still read after the child ended but its pipe is held open."""

TAIL_LINES = 15

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: what it printed (stdout and stderr merged unless asked otherwise)."""

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
            else f"ended with status {returncode}"
        )
        text = f"`{_brief(self.argv)}` {how}"
        super().__init__(text + (f":\n{self.tail}" if self.tail else ""), log=log, remedy=remedy)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _brief(argv: Sequence[str], limit: int = 160) -> str:
    """Return the command as one would type it, cut in the middle of long lists."""
    text = shlex.join(argv)
    return text if len(text) <= limit else text[: limit - 2].rstrip() + " …"


# --- children die with us --------------------------------------------------

# Reads "+PGID" and "-PGID" lines; when the pipe ends, we ended: kills what is left.
# (dash understands `kill -9 -PGID`, but not `kill -KILL -- -PGID`.)
_WARDEN = r"""
trap '' INT TERM HUP QUIT
groups=' '
while read -r line; do
    pgid=${line#?}
    case $line in
    +*) groups="$groups$pgid " ;;
    -*) case $groups in *" $pgid "*) groups="${groups%%" $pgid "*} ${groups#*" $pgid "}" ;; esac ;;
    esac
done
for pgid in $groups; do kill -9 "-$pgid" 2>/dev/null; done
exit 0
"""


class _Warden:
    """The process that kills our children's groups when we are no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: int | None = None
        self._owner = 0

    def _start(self) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            subprocess.Popen(
                ["/bin/sh", "-c", _WARDEN],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                start_new_session=True,
            ).returncode = 0  # never waited for: it outlives us on purpose
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        return writer

    def pipe(self) -> int:
        """Return the descriptor that takes the lines; starts the warden if there is none."""
        with self._lock:
            if self._pipe is not None and self._owner != os.getpid():
                os.close(self._pipe)  # we are a fork: that warden is our parent's
                self._pipe = None
            if self._pipe is None:
                self._pipe = self._start()
                self._owner = os.getpid()
            return self._pipe

    def release(self, pgid: int) -> None:
        """Have it forget a group, which has ended."""
        pipe = self.pipe()
        try:
            os.write(pipe, f"-{pgid}\n".encode())
        except BrokenPipeError:  # somebody killed the warden; PDEATHSIG still holds
            with self._lock:
                if self._pipe == pipe:
                    # Left open: a child on its way may still write to this number.
                    self._pipe = None


_warden = _Warden()
_libc = ctypes.CDLL(None, use_errno=True)
_PIDFD_GETFD = 438
"""Its number on every architecture; glibc 2.35 and older have no function for it."""


def _die_with(parent: int, warden: int | None) -> Callable[[], None]:
    """Return what runs in the child before exec: it is killed when `parent`'s thread ends.

    The child tells the `warden` of its group itself: from its first instruction on there may be
    others in it, and by then `parent` can be gone.
    """

    def prepare() -> None:
        if warden is not None:
            # Without one (somebody killed it) there is nobody at the pipe's end.
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            with contextlib.suppress(BrokenPipeError):
                os.write(warden, b"+%d\n" % os.getpid())
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before prctl took effect
            os._exit(127)

    return prepare


class _Child(subprocess.Popen[bytes]):
    """A child whose warden forgets it when there was nothing to execute."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except OSError:
            if (pid := getattr(self, "pid", None)) is not None:
                _warden.release(pid)
            raise


# --- environment, programs, records ---------------------------------------


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment children get: nothing of ours but PATH, HOME and TMPDIR."""
    env = {
        "PATH": os.environ.get("PATH") or "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": os.environ.get("HOME") or "/",
        "LANG": "C.UTF-8",
    }
    if "TMPDIR" in os.environ:
        env["TMPDIR"] = os.environ["TMPDIR"]
    env.update(extra or {})
    return env


def find(program: Arg, env: Mapping[str, str] | None = None) -> str:
    """Return the path of `program`; MissingError names the package that has it."""
    name = os.fspath(program)
    found = shutil.which(name, path=(env or clean_environment())["PATH"])
    if found is not None:
        return str(Path(found).absolute())  # cwd= must not move it
    package = PACKAGE_OF.get(Path(name).name)
    remedy = install_command(package) if package else f"install {name}, or put it into PATH"
    where = "PATH" if os.sep not in name else name
    raise MissingError(f"the program `{name}` is not on this machine", where=where, remedy=remedy)


@dataclass(slots=True)
class Record:
    """The commands that were started while it was active, for a manifest."""

    commands: list[dict[str, object]] = field(default_factory=list)


_records = threading.local()


@contextlib.contextmanager
def recording() -> Iterator[Record]:
    """Note each command of this thread that `run` finishes inside the block."""
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
    """Return the first line of `program --version`, asked once per process and file."""
    return _version(find(program))


@cache
def _version(path: str) -> str:
    return run([path, "--version"], timeout=20).stdout.partition("\n")[0].strip()


# --- long-running children -------------------------------------------------


class Process:
    """A running child; as a context manager it is ended when the block is left.

    Also when nobody refers to it any more: keep it as long as the child shall run.
    """

    def __init__(self, popen: subprocess.Popen[bytes], argv: tuple[str, ...], group: bool) -> None:
        self._popen = popen
        self._group = group
        self._pidfd = os.pidfd_open(popen.pid)
        self.argv = argv

    @property
    def pid(self) -> int:
        """The process id; also its group's id."""
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        """The child's standard input if it was made a PIPE."""
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """The child's standard output if it was made a PIPE."""
        return self._popen.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """The child's standard error if it was made a PIPE."""
        return self._popen.stderr

    def fileno(self) -> int:
        """A descriptor that becomes readable when the child ends (for selectors)."""
        return self._pidfd

    def duplicate(self, descriptor: int) -> int:
        """Return a descriptor of our own for one that the child has open; OSError if refused."""
        ours: int = _libc.syscall(
            _PIDFD_GETFD, self._pidfd, ctypes.c_long(descriptor), ctypes.c_ulong(0)
        )
        if ours < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return ours

    def _ended(self, timeout: float | None) -> bool:
        if self._popen.returncode is not None:
            return True
        return bool(select.select([self._pidfd], [], [], timeout)[0])

    def _reap(self) -> int:
        """Take the status of the ended child; what it left in its group is killed.

        The group is killed first: until the child is reaped, its id cannot have
        become that of a stranger.
        """
        if self._popen.returncode is None:
            self._signal(signal.SIGKILL)
            self._popen.wait()
            os.close(self._pidfd)
            if self._group:
                _warden.release(self.pid)
        return self._popen.returncode

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Return the status if the child has ended (negative: the signal), else None."""
        return self._reap() if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the status; TimeoutExpired after `timeout` seconds."""
        if not self._ended(timeout):
            raise TimeoutExpired(f"`{_brief(self.argv)}` did not end within {timeout:g} s")
        return self._reap()

    def terminate(self) -> None:
        """Ask the whole group to end (SIGTERM)."""
        if self.poll() is None:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group at once (SIGKILL)."""
        if self.poll() is None:
            self._signal(signal.SIGKILL)

    def end(self, grace: float = GRACE) -> int:
        """End the group: SIGTERM, after `grace` seconds SIGKILL; return the status."""
        try:
            self.terminate()
            if not self._ended(grace):
                self._signal(signal.SIGKILL)
        except BaseException:  # a second Ctrl-C: no more grace
            self.kill()
            raise
        return self.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __del__(self) -> None:
        if self._popen.returncode is None:
            self._signal(signal.SIGKILL)
            self._reap()


def spawn(
    argv: Sequence[Arg],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Sequence[int] = (),
    foreground: bool = False,
) -> Process:
    """Start a long-running child (QEMU) and return at once.

    Streams that are not given go to `log` (appended) if there is one; without a
    log, stdin is empty and output is ours. `env` is added to the clean environment.
    `foreground` leaves the child in our process group with our streams, for what
    talks to the person at the terminal (sudo); Ctrl-C then reaches it directly.
    The child is killed when the *thread* that started it ends: start it from one
    that lives as long as it.
    """
    environment = clean_environment(env)
    words = tuple(os.fspath(word) for word in argv)
    program = find(words[0], environment)
    with contextlib.ExitStack() as stack:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context(log.open("ab", buffering=0))
            out.write(_log_head(words, cwd).encode())
            stdout = out if stdout is None else stdout
            stderr = out if stderr is None else stderr
        if stdin is None and not foreground:
            stdin = subprocess.DEVNULL
        process: Process | None = None
        before = _die_with(os.getpid(), None if foreground else _warden.pipe())
        try:
            with _signals_held():
                popen = _Child(
                    words,
                    executable=program,
                    cwd=cwd,
                    env=environment,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=pass_fds,
                    process_group=None if foreground else 0,
                    preexec_fn=before,
                )
                process = Process(popen, words, group=not foreground)
        except OSError as error:
            raise UklError(
                f"cannot start `{_brief(words)}`: {error.strerror}", where=error.filename or program
            ) from error
        except BaseException:
            if process is not None:
                process.end()
            raise
        return process


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and termination so that no child is started and then forgotten.

    Only the Python-level handlers are deferred: a blocked signal would stay
    blocked in the child.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, object]] = []
    held = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in held}
    ours = [number for number, handler in before.items() if callable(handler)]
    for number in ours:
        signal.signal(number, lambda got, frame: caught.append((got, frame)))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        if caught:
            signal.raise_signal(caught[0][0])


# --- commands that end ----------------------------------------------------


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
    merge_stderr: bool = True,
) -> Completed:
    """Run a command to its end and return what it printed.

    Output is captured, appended to `log`, and given to `on_line` line by line.
    `env` is added to the clean environment; `timeout` is in seconds. Raises
    CommandFailed on a status other than 0 (unless `check` is False),
    TimeoutExpired, or MissingError when the program is not there. On any
    exception the child and everything it started are gone.
    """
    words = tuple(os.fspath(word) for word in argv)
    begin = time.monotonic()
    collector = _Collector(log, on_line)
    status: int | None = None
    try:
        with contextlib.ExitStack() as stack:
            collector.open(stack, _log_head(words, cwd))
            given: Stream = None
            if stdin is not None:
                given = stack.enter_context(tempfile.TemporaryFile())
                given.write(stdin)
                given.seek(0)
            process = stack.enter_context(
                spawn(
                    words,
                    cwd=cwd,
                    env=env,
                    stdin=given,
                    stdout=PIPE,
                    stderr=STDOUT if merge_stderr else PIPE,
                )
            )
            in_time = _pump(process, collector, None if timeout is None else begin + timeout)
            if not in_time:
                process.end()
                raise TimeoutExpired(f"`{_brief(words)}` did not end within {timeout:g} s", log=log)
            status = process.wait()
            collector.close(f"# status {status}, {time.monotonic() - begin:.2f} s\n")
    finally:
        seconds = time.monotonic() - begin
        _note(words, cwd, status, seconds)
    if status != 0 and check:
        raise CommandFailed(words, status, collector.everything(), log=log)
    return Completed(words, status, collector.text("stdout"), seconds, collector.text("stderr"))


def _log_head(words: Sequence[str], cwd: Path | None) -> str:
    return f"$ {shlex.join(words)}" + (f"  # in {cwd}\n" if cwd else "\n")


class _Collector:
    """Takes the child's output: keeps it, logs it, cuts it into lines."""

    def __init__(self, log: Path | None, on_line: Callable[[str], None] | None) -> None:
        self._log_path = log
        self._log: IO[bytes] | None = None
        self._on_line = on_line
        self._text: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._rest: dict[str, str] = {"stdout": "", "stderr": ""}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoder = {name: decoder("replace") for name in self._text}

    def open(self, stack: contextlib.ExitStack, head: str) -> None:
        if self._log_path is not None:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            self._log = stack.enter_context(self._log_path.open("ab", buffering=0))
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

    def everything(self) -> str:
        return self.text("stdout") + self.text("stderr")


def _pump(process: Process, collector: _Collector, deadline: float | None) -> bool:
    """Move output to the collector until the child ends; False when the deadline passed."""
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
                return not running  # ended, but something it left holds the pipe
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
