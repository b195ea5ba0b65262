# SPDX-License-Identifier: GPL-2.0
"""Finds the crash reports in the cache by the guest's name, and opens their dumps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.debug import crash
from ukl.debug.crash import Crash
from ukl.flow.running import RUNS
from ukl.host.store import Store
from ukl.observe import gdb
from ukl.vm import postmortem, registry


@dataclass(frozen=True, slots=True)
class Found:
    """A report and its directory."""

    directory: Path
    report: Crash


def everything(store: Store) -> list[Found]:
    """Return all reports, newest first."""
    found = [
        Found(directory, report)
        for root in (store.own(RUNS), store.own(registry.GUESTS))
        for directory in root.glob(f"*/{crash.DIRECTORY}*")
        if (report := crash.read(directory)) is not None
    ]
    return sorted(found, key=lambda each: each.report.time, reverse=True)


def of(store: Store, name: str) -> list[Found]:
    """Return the reports of a guest, or of a run's directory; InputError if there are none.

    `NAME/crash-1` means the first crash of a run alone.
    """
    known = everything(store)
    guest, _, number = name.partition("/")
    found = [
        each
        for each in known
        if guest in {each.report.guest, each.directory.parent.name}
        and number in {"", each.directory.name}
    ]
    if not found:
        names = ", ".join(dict.fromkeys(each.report.guest for each in known))
        raise InputError(
            f"no crash of a guest {name} is known",
            remedy=f"there are crashes of: {names} (ukl crash)"
            if names
            else "the cache has no crash reports",
        )
    return found


def dumped(store: Store, name: str) -> Crash:
    """Return the newest report of a guest with a dump; UklError without dump or program."""
    report = next((each.report for each in of(store, name) if each.report.dump), None)
    if report is None or report.dump is None or not report.dump.exists():
        raise UklError(
            f"there is no dump of {name}",
            remedy=f"ukl crash {name} shows its backtrace; --no-dump keeps no dump",
        )
    if not report.images.program.exists():
        raise UklError(
            "the program of the dump does not exist any more", where=report.images.program
        )
    return report


def debug(store: Store, name: str, args: Sequence[str]) -> int:
    """Open the newest dump of a guest in gdb, and return gdb's exit status."""
    report = dumped(store, name)
    images = report.images
    assert report.dump is not None
    with postmortem.decompressed(report.dump) as dump:
        return gdb.open_dump(
            dump,
            images.program,
            args,
            offset=images.offset,
            debug=images.debug,
            sources=images.sources,
            as_is=report.application if images.as_is else "",
        )
