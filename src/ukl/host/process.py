# SPDX-License-Identifier: GPL-2.0
"""Child processes, which never outlive this process.

Every child gets an argument list (never a shell), a clean environment and its own process
group. The group is ended on a timeout, an exception or Ctrl-C. If this process dies in any
other way, the direct child is killed by PR_SET_PDEATHSIG, and its descendants by a warden
process, which notices the death by end of file on its pipe.
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
"""Seconds between SIGTERM and SIGKILL for a process group."""

_PR_SET_PDEATHSIG = 1


def brief(argv: Sequence[str], limit: int = 160) -> str:
    """Return the command as typed in a shell, cut after `limit` characters."""
    text = shlex.join(argv)
    return text if len(text) <= limit else text[: limit - 2].rstrip() + " …"


def log_head(words: Sequence[str], cwd: Path | None) -> str:
    """Return the line in a log above a command's output."""
    return f"$ {shlex.join(words)}" + (f"  # in {cwd}\n" if cwd else "\n")


# --- children die with this process ----------------------------------------

# Reads "+PGID" and "-PGID" lines; at end of file the parent has died: kills what is left.
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
    """The process that kills the children's groups when this process has died."""

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
        """Return the pipe to the warden; start one if needed."""
        with self._lock:
            if self._pipe is not None and self._owner != os.getpid():
                os.close(self._pipe)  # this is a fork: that warden is the parent's
                self._pipe = None
            if self._pipe is None:
                self._pipe = self._start()
                self._owner = os.getpid()
            return self._pipe

    def release(self, pgid: int) -> None:
        """Tell the warden that a group has ended."""
        pipe = self.pipe()
        try:
            os.write(pipe, f"-{pgid}\n".encode())
        except BrokenPipeError:  # the warden was killed; PR_SET_PDEATHSIG still works
            with self._lock:
                if self._pipe == pipe:
                    # Not closed: a child being started may still write to this descriptor.
                    self._pipe = None


_warden = _Warden()
_libc = ctypes.CDLL(None, use_errno=True)
_PIDFD_GETFD = 438
"""Its number on all architectures; glibc 2.35 and older have no function for it."""


def _die_with(parent: int, warden: int | None) -> Callable[[], None]:
    """Return the child's preexec function: the child is killed when `parent`'s thread ends.

    The child itself registers its group with the `warden`: after exec it may have children of
    its own, while `parent` may be dead already.
    """

    def prepare() -> None:
        if warden is not None:
            # If the warden was killed, no process reads the pipe.
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            with contextlib.suppress(BrokenPipeError):
                os.write(warden, b"+%d\n" % os.getpid())
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before prctl took effect
            os._exit(127)

    return prepare


class _Child(subprocess.Popen[bytes]):
    """A child whose group the warden forgets if exec fails."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except OSError:
            if (pid := getattr(self, "pid", None)) is not None:
                _warden.release(pid)
            raise


# --- the children themselves ------------------------------------------------


class Process:
    """A running child. Leaving its block as a context manager ends the child.

    So does the deletion of the object: keep it as long as the child must run.
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
        """Duplicate one of the child's descriptors into this process; OSError if refused."""
        local: int = _libc.syscall(
            _PIDFD_GETFD, self._pidfd, ctypes.c_long(descriptor), ctypes.c_ulong(0)
        )
        if local < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return local

    def _ended(self, timeout: float | None) -> bool:
        if self._popen.returncode is not None:
            return True
        return bool(select.select([self._pidfd], [], [], timeout)[0])

    def _reap(self) -> int:
        """Return the status of the ended child; kill what is left of its group.

        The group is killed first: until the child is reaped, its id cannot be reused.
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
        """Return the status if the child has ended (negative: a signal), else None."""
        return self._reap() if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the status; raises TimeoutExpired after `timeout` seconds."""
        if not self._ended(timeout):
            raise TimeoutExpired(f"`{brief(self.argv)}` did not end within {timeout:g} s")
        return self._reap()

    def terminate(self) -> None:
        """Ask the whole group to end (SIGTERM)."""
        if self.poll() is None:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole group (SIGKILL)."""
        if self.poll() is None:
            self._signal(signal.SIGKILL)

    def end(self, grace: float = GRACE) -> int:
        """End the group: SIGTERM, after `grace` seconds SIGKILL; return the status."""
        try:
            self.terminate()
            if not self._ended(grace):
                self._signal(signal.SIGKILL)
        except BaseException:  # a second Ctrl-C: kill at once
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

    Output streams that are None are appended to `log`, or inherited without one; stdin
    that is None is empty. `env` is added to the clean environment. The child is killed when
    the *thread* that started it ends, which must therefore live as long as the child.
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
    """Run a command that uses the terminal (sudo) to its end; return its status.

    It shares this process's group and streams: Ctrl-C reaches it directly.
    """
    words = tuple(os.fspath(word) for word in argv)
    with _start(words, clean_environment(env), group=False, stdout=stdout) as process:
        return process.wait()


def _start(
    words: tuple[str, ...], environment: Mapping[str, str], *, group: bool, **options: Any
) -> Process:
    """Start a child with `options` of Popen; `group` gives it a new process group."""
    program = find(words[0], environment)
    process: Process | None = None
    prepare = _die_with(os.getpid(), _warden.pipe() if group else None)
    try:
        with _signals_deferred():
            popen = _Child(
                words,
                executable=program,
                env=environment,
                process_group=0 if group else None,
                preexec_fn=prepare,
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
def _signals_deferred() -> Iterator[None]:
    """Defer Ctrl-C and termination for the block, so that a started child is not lost.

    Only the handlers in Python are deferred: a blocked signal would stay blocked in the child.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, object]] = []
    deferred = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in deferred}
    handled = [number for number, handler in before.items() if callable(handler)]
    for number in handled:
        signal.signal(number, lambda got, frame: caught.append((got, frame)))
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
        if caught:
            signal.raise_signal(caught[0][0])
