# SPDX-License-Identifier: GPL-2.0
"""Children: how they are started, and how they end at the latest when we do.

Every child gets an argument list (never a shell), a clean environment, its own
process group, and dies with us: the group is ended on a timeout, an exception or
Ctrl-C; the direct child carries PR_SET_PDEATHSIG; and what it started itself is
killed by a warden process, which notices our end, however it came, by the end of
its pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from ukl.base.errors import TimeoutExpired, UklError
from ukl.host.programs import Arg, clean_environment, find

Stream: TypeAlias = int | IO[bytes] | None

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

GRACE = 2.0
"""Seconds a process group has between SIGTERM and SIGKILL."""

_PR_SET_PDEATHSIG = 1


def brief(argv: Sequence[str], limit: int = 160) -> str:
    """Return the command as one would type it, cut in the middle of long lists."""
    text = shlex.join(argv)
    return text if len(text) <= limit else text[: limit - 2].rstrip() + " …"


def log_head(words: Sequence[str], cwd: Path | None) -> str:
    """Return the line of a log above what a command printed."""
    return f"$ {shlex.join(words)}" + (f"  # in {cwd}\n" if cwd else "\n")


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


# --- the children themselves ------------------------------------------------


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
            raise TimeoutExpired(f"`{brief(self.argv)}` did not end within {timeout:g} s")
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
) -> Process:
    """Start a long-running child (QEMU) and return at once.

    Streams that are not given go to `log` (appended) if there is one; without a
    log, stdin is empty and output is ours. `env` is added to the clean environment.
    The child is killed when the *thread* that started it ends: start it from one
    that lives as long as it.
    """
    words = tuple(os.fspath(word) for word in argv)
    with contextlib.ExitStack() as stack:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context(log.open("ab", buffering=0))
            out.write(log_head(words, cwd).encode())
            stdout = out if stdout is None else stdout
            stderr = out if stderr is None else stderr
        return _start(
            words,
            clean_environment(env),
            group=True,
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
        )


def in_foreground(
    argv: Sequence[Arg], *, env: Mapping[str, str] | None = None, stdout: Stream = None
) -> int:
    """Run what talks to the person at the terminal (sudo), to its end; return its status.

    It stays in our process group and has our streams: Ctrl-C reaches it directly.
    """
    words = tuple(os.fspath(word) for word in argv)
    with _start(words, clean_environment(env), group=False, stdout=stdout) as process:
        return process.wait()


def _start(
    words: tuple[str, ...], environment: Mapping[str, str], *, group: bool, **options: Any
) -> Process:
    """Start a child with `options` of Popen; `group` gives it a process group of its own."""
    program = find(words[0], environment)
    process: Process | None = None
    before = _die_with(os.getpid(), _warden.pipe() if group else None)
    try:
        with _signals_held():
            popen = _Child(
                words,
                executable=program,
                env=environment,
                process_group=0 if group else None,
                preexec_fn=before,
                **options,
            )
            process = Process(popen, words, group=group)
    except OSError as error:
        raise UklError(
            f"cannot start `{brief(words)}`: {error.strerror}", where=error.filename or program
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
