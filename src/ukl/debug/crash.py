# SPDX-License-Identifier: GPL-2.0
"""Crash reports: backtraces, and a dump that gdb can open.

A report is a file, `crash.json`, in a directory with its dump; the images that it refers to
are linked there as well, so that the dump can be opened after the cache was cleaned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ukl.base.errors import UklError
from ukl.debug import lines
from ukl.debug.unwind import Frame, Program
from ukl.host.store import jsonable

REPORT = "crash.json"

DIRECTORY = "crash-"
"""Prefix of the reports' directories, in that of the run; the number of the crash follows."""

VERSION = 1


class Kind(StrEnum):
    """What has crashed."""

    PANIC = "panic"
    """The kernel: the dump is the machine's memory, its threads are the processors."""
    RESET = "reset"
    """The machine, without a message of the kernel: mostly by a triple fault."""
    TIMEOUT = "timeout"
    """Nothing: the run exceeded its time, and the backtraces show where it was."""
    SIGNAL = "signal"
    """A process: the dump is its core file."""


@dataclass(frozen=True, slots=True)
class Place:
    """One line of a backtrace. `file` is empty and `line` 0 if unknown."""

    address: int
    function: str
    offset: int
    kernel: bool | None
    file: str = ""
    line: int = 0
    inlined: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """The backtrace of a thread or a processor."""

    title: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Images:
    """The files that the addresses belong to.

    `program` is vmlinux, relocated by `offset`, or the normal executable, or a program that ran
    as it is; `debug` is the application's object with debug information, whose paths are relative
    to `sources`.
    """

    program: Path
    offset: int = 0
    debug: Path | None = None
    sources: Path | None = None
    as_is: bool = False


@dataclass(frozen=True, slots=True)
class Crash:
    """A report. `time` is seconds since the epoch; the first of `traces` has the cause.

    `dump` is compressed by gzip; if it is None, `missing` says why.
    """

    guest: str
    application: str
    kind: Kind
    reason: str
    time: float
    traces: tuple[Trace, ...]
    images: Images
    dump: Path | None = None
    missing: str = ""


# --- from frames to lines -------------------------------------------------------------


def locate(program: Program, images: Images, traces: Mapping[str, list[Frame]]) -> list[Trace]:
    """Return backtraces with source lines where these are known."""
    linked = {
        program.linked(each.place)
        for frames in traces.values()
        for each in frames
        if program.is_kernel(each.place) is not None
    }
    places: dict[int, tuple[lines.Line, ...]] = dict(
        lines.of_kernel(images.program, program.elf, linked)
    )
    if images.debug is not None and images.debug.exists():
        places |= lines.of_object(images.debug, program.elf, linked)
    plain = lines.demangle(each.function for frames in traces.values() for each in frames)
    named = {
        title: [replace(each, function=plain.get(each.function, each.function)) for each in frames]
        for title, frames in traces.items()
    }
    return [
        Trace(title, tuple(_places(frames, program, places))) for title, frames in named.items()
    ]


def _places(
    frames: Iterable[Frame], program: Program, known: Mapping[int, tuple[lines.Line, ...]]
) -> Iterator[Place]:
    for frame in frames:
        found = known.get(program.linked(frame.place), ())
        *inlined, outer = found or (lines.Line("", "", 0),)
        for line in inlined:
            yield Place(frame.address, line.function, 0, frame.kernel, line.file, line.line, True)
        yield Place(
            frame.address, frame.function, frame.offset, frame.kernel, outer.file, outer.line
        )


# --- as text --------------------------------------------------------------------------

MAX_TRACES = 8
"""The most backtraces that are printed; the report has all."""


def text(report: Crash, *, everything: bool = False) -> list[str]:
    """Return the report's lines to print. Pure."""
    result = [report.reason]
    shown = report.traces if everything else report.traces[:MAX_TRACES]
    for trace in shown:
        if len(report.traces) > 1 or report.kind is not Kind.SIGNAL:
            result.append(f"{trace.title}:")
        result += _table(trace.places)
    if len(shown) < len(report.traces):
        result.append(
            f"… {len(report.traces) - len(shown)} more threads: ukl crash {report.guest} --all"
        )
    return result


def name_of(report: Crash) -> str:
    """Return the name of a crash with a dump: NAME/crash-1 is the first of the newest run. Pure."""
    directory = report.dump.parent.name if report.dump is not None else ""
    return f"{report.guest}/{directory}" if directory.startswith(DIRECTORY) else report.guest


def lines_about(report: Crash, *, everything: bool = False) -> list[str]:
    """Return the lines at the end of a run: the report, and how to open its dump. Pure."""
    result = text(report, everything=everything)
    if report.dump is not None:
        result.append(f"  dump: {report.dump}")
        result.append(f"  open it: ukl gdb {name_of(report)} --dump")
    elif report.missing:
        result.append(f"  no dump: {report.missing}")
    return result


def _table(places: Iterable[Place]) -> Iterator[str]:
    before: bool | None = None
    for number, place in enumerate(places):
        if number and place.kernel is not None and place.kernel != before:
            yield "    -- kernel --" if place.kernel else "    -- application --"
        before = place.kernel
        if place.inlined:
            name = f"{place.function} (inlined)"
        elif place.function:
            name = f"{place.function}+{place.offset:#x}"
        else:
            name = f"{place.address:#x}"
        where = f"{place.file}:{place.line}" if place.file else ""
        yield f"    {f'#{number}':<4} {name:<36} {where}".rstrip()


# --- to and from the file -------------------------------------------------------------


def write(report: Crash, directory: Path) -> None:
    """Write the report into `directory` atomically."""
    value = jsonable(report)
    assert isinstance(value, dict)
    data = json.dumps({"version": VERSION, **value}, indent=1) + "\n"
    beside = directory / f".{REPORT}.tmp"
    beside.write_text(data)
    beside.replace(directory / REPORT)


def read(directory: Path) -> Crash | None:
    """Return the report in `directory`; None if it is missing or unreadable."""
    try:
        return decode(json.loads((directory / REPORT).read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def decode(value: dict[str, Any]) -> Crash:
    """Return the report of a file's content. Pure.

    Raises ValueError, KeyError or TypeError if it is malformed.
    """
    if value.pop("version") != VERSION:
        raise ValueError("not a report of this version")
    images = value["images"]
    for name in ("program", "debug", "sources"):
        images[name] = Path(images[name]) if images[name] is not None else None
    value["images"] = Images(**images)
    value["kind"] = Kind(value["kind"])
    value["dump"] = Path(value["dump"]) if value["dump"] is not None else None
    value["traces"] = tuple(
        Trace(each["title"], tuple(Place(**place) for place in each["places"]))
        for each in value["traces"]
    )
    known = {each.name for each in fields(Crash)}
    return Crash(**{name: item for name, item in value.items() if name in known})


def link_images(images: Images, directory: Path) -> Images:
    """Link the images that a dump needs into `directory`, and return the links.

    A hard link takes no space and outlives the cache's entry. On a file system without hard
    links this returns the originals.
    """

    def link(path: Path | None, name: str) -> Path | None:
        if path is None or not path.exists():
            return None
        target = directory / name
        try:
            os.link(path, target)
        except FileExistsError:
            return target
        except OSError:
            return path
        return target

    program = link(images.program, images.program.name)
    if program is None:
        raise UklError(f"{images.program} no longer exists")
    return replace(images, program=program, debug=link(images.debug, "app.debug.o"))
