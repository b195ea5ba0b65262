# SPDX-License-Identifier: GPL-2.0
"""Turns every error into one paragraph on stderr and an exit code."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from ukl import __version__
from ukl.base.errors import ExitCode, UklError

_received: list[int] = []


def heed_termination() -> None:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt like Ctrl-C, so that no child is left."""

    def unwind(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, unwind)


def interrupted() -> int:
    """Report the interruption and return its exit code (130 after Ctrl-C)."""
    number = _received[-1] if _received else signal.SIGINT
    _print("ukl: interrupted" if number == signal.SIGINT else "ukl: terminated")
    return 128 + number


def report(error: BaseException, cache: Path | None, *, verbose: bool = False) -> int:
    """Print an error and return its exit code. A traceback is written below `cache`."""
    from ukl.host.store import NoSpace, is_no_space  # noqa: PLC0415 - rarely needed

    if isinstance(error, BrokenPipeError) and _has_no_reader(1, 2):
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError) and is_no_space(error):
        # The error of a copy has the source in `filename`; the full file system is the target's.
        full = error.filename2 or error.filename or cache or tempfile.gettempdir()
        error = NoSpace(Path(full))
    if isinstance(error, UklError):
        _print(paragraph(error))
        if verbose:
            traceback.print_exception(error)
        return int(error.code)
    log = _crash_log(error, cache)
    if isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
        remedy = "check the path, its owner and its permissions"
    else:
        text = f"internal error: {type(error).__name__}: {error}".splitlines()[0]
        remedy = "this is a bug in ukl; please report it with the log"
    _print(paragraph(UklError(text, remedy=remedy, log=log)))
    if verbose:
        traceback.print_exception(error)
    return ExitCode.FAILED


def _has_no_reader(*descriptors: int) -> bool:
    """Tell whether one of them is a pipe or socket whose reader is gone.

    An error does not say which descriptor it is about, and others break for other reasons.
    """
    poll = select.poll()
    for each in descriptors:
        poll.register(each, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def paragraph(error: UklError) -> str:
    """Return the text of an error: place, message, remedy, log file. Pure."""
    place = f"{error.where}: " if error.where else ""
    lines = [f"ukl: error: {place}{error.message}"]
    if error.remedy:
        lines.append(f"  remedy: {error.remedy}".replace("\n", "\n    "))
    if error.log is not None:
        lines.append(f"  log: {error.log}")
    return "\n".join(lines)


def _print(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _crash_log(error: BaseException, cache: Path | None) -> Path | None:
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    head = f"ukl {__version__}, Python {sys.version}\n{sys.argv}\n\n"
    text = head + "".join(traceback.format_exception(error))
    for directory in (cache / "logs" if cache else None, Path(tempfile.gettempdir())):
        if directory is not None:
            with contextlib.suppress(OSError):
                directory.mkdir(parents=True, exist_ok=True)
                (directory / name).write_text(text)
                return directory / name
    return None
