# SPDX-License-Identifier: GPL-2.0
"""The errors that people see, and the exit code of each.

An error names the place (`where`), what is wrong (the message) and what to do
(`remedy`). The CLI prints it in one paragraph; nobody else prints.
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
    """An operation failed; the base of everything the CLI turns into one message.

    `log` names a file with the full output of what failed, if there is one.
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
    """The command line does not make sense."""

    code = ExitCode.USAGE


class MissingError(UklError):
    """Something is not on this machine; the remedy is the command that installs it."""

    code = ExitCode.MISSING


class InputError(UklError):
    """A manifest, source or other input is wrong."""

    code = ExitCode.BAD_INPUT


class TimeoutExpired(UklError):
    """A guest or command took longer than it was given."""

    code = ExitCode.TIMEOUT


class VmLost(UklError):
    """The virtual machine went away, panicked or never reported."""

    code = ExitCode.VM_LOST
