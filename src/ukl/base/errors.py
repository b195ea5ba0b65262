# SPDX-License-Identifier: GPL-2.0
"""The errors that users see, and their exit codes.

An error names the place (`where`), what is wrong (the message) and what to do
(`remedy`). Only the CLI prints it, in one paragraph.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of `ukl`; `run` passes the application's own status through."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    BAD_INPUT = 4
    TIMEOUT = 124
    VM_LOST = 125
    INTERRUPTED = 130


class UklError(Exception):
    """An operation failed. The base class of all errors that the CLI prints as one message.

    `log` is a file with the full output of the failed operation, if any.
    """

    code: ExitCode = ExitCode.FAILED

    def __init__(
        self,
        message: str,
        *,
        where: str | Path | None = None,
        remedy: str | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = str(where) if where is not None else None
        self.remedy = remedy
        self.log = log


class UsageError(UklError):
    """The command line is invalid."""

    code = ExitCode.USAGE


class MissingError(UklError):
    """This machine lacks something; the remedy is the command that installs it."""

    code = ExitCode.MISSING


class InputError(UklError):
    """A manifest, source or other input is wrong."""

    code = ExitCode.BAD_INPUT


class TimeoutExpired(UklError):
    """A guest or command exceeded its timeout."""

    code = ExitCode.TIMEOUT


class VmLost(UklError):
    """The virtual machine disappeared, panicked or never reported."""

    code = ExitCode.VM_LOST
