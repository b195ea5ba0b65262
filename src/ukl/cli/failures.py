# SPDX-License-Identifier: GPL-2.0
"""Every error becomes one paragraph on stderr and an exit code; here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from ukl import __version__
from ukl.base.errors import ExitCode, UklError

_got: list[int] = []


def heed_termination() -> None:
    """Let SIGTERM and SIGHUP unwind us as Ctrl-C does, so that no child stays behind."""

    def unwind(number: int, frame: FrameType | None) -> None:
        _got.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, unwind)


def interrupted() -> int:
    """Say that we were stopped and return the exit code for it (130 after Ctrl-C)."""
    number = _got[-1] if _got else signal.SIGINT
    _print("ukl: interrupted" if number == signal.SIGINT else "ukl: terminated")
    return 128 + number


def report(error: BaseException, cache: Path | None, *, verbose: bool = False) -> int:
    """Print what went wrong and return the exit code. `cache` is where a traceback goes."""
    from ukl.host.store import NoSpace, is_no_space  # noqa: PLC0415 - not needed to start up

    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError) and is_no_space(error):
        # A copy names its source first; what is full is where it goes.
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
        remedy = "this is a defect of ukl; please report it with the log"
    _print(paragraph(UklError(text, remedy=remedy, log=log)))
    if verbose:
        traceback.print_exception(error)
    return ExitCode.FAILED


def paragraph(error: UklError) -> str:
    """Return an error as people see it: place, message, remedy, log file. Pure."""
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
