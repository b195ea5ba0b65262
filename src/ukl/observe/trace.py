# SPDX-License-Identifier: GPL-2.0
"""Traces system calls of a guest's processes with the host's strace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ukl.base.errors import UklError
from ukl.vm import control, execute, install
from ukl.vm.registry import Record, Registry, State, effective

STRACE = "strace"


@dataclass(frozen=True, slots=True)
class Options:
    """What to trace, and how; `more` are further arguments of strace."""

    pids: tuple[int, ...] = ()
    summary: bool = False
    expression: str | None = None
    seconds: float | None = None
    more: tuple[str, ...] = ()


def words(pids: Sequence[int], options: Options) -> tuple[str, ...]:
    """Return strace's arguments. Pure."""
    found = ["-q", "-f", *(["-c"] if options.summary else [])]
    if options.expression is not None:
        found += ["-e", options.expression]
    for pid in pids:
        found += ["-p", str(pid)]
    return (*found, *options.more)


def application(record: Record) -> int:
    """Return the application's process id in the guest; UklError if it has none."""
    if (state := effective(record)) is not State.RUNNING:
        raise control.not_running(record, state)
    if record.life.pid is None:
        raise UklError(
            f"the process id of the application in {record.name} is not known",
            remedy=f"name one with -p: ukl exec {record.name} -- ps",
        )
    return record.life.pid


def trace(guests: Registry, name: str, options: Options) -> int:
    """Trace until the process ends, the time is over, or Ctrl-C; return strace's exit code."""
    pids = options.pids or (application(guests.get(name)),)
    program = install.install(guests, name, STRACE)
    limit = () if options.seconds is None else ("timeout", "-s", "INT", f"{options.seconds:g}")
    command = (*limit, *program, *words(pids, options))
    code = execute.in_guest(guests, name, command, streams=execute.Streams(None))
    # The normal exit codes of timeout, and of an interrupted strace.
    return 0 if code in {124, 128 + 2} else code
