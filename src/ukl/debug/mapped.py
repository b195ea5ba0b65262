# SPDX-License-Identifier: GPL-2.0
"""The files that a process has mapped: a program that runs as it is, and its shared objects.

Source of the format: proc_pid_maps(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ukl.base.errors import UklError
from ukl.debug import cfi
from ukl.debug.core import Core
from ukl.debug.orc import MASK, Read
from ukl.debug.unwind import Program
from ukl.elf.reader import Elf, Symbol

_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (..x.) ([0-9a-f]+) \S+ \d+ +(/.*)")
_DELETED = " (deleted)"
_PT_LOAD, _EXECUTABLE = "PT_LOAD", 1


@dataclass(frozen=True, slots=True)
class Row:
    """An executable mapping of a file: its addresses, and where in the file it begins."""

    begin: int
    end: int
    offset: int
    path: str


def rows(maps: str) -> list[Row]:
    """Return the executable mappings of files in /proc/PID/maps. Pure."""
    found = []
    for line in maps.splitlines():
        if (match := _LINE.fullmatch(line)) and not match[5].endswith(_DELETED):
            begin, end, offset = (int(match[number], 16) for number in (1, 2, 4))
            found.append(Row(begin, end, offset, match[5]))
    return found


@dataclass
class Mapped(Program):
    """A file at `offset` bytes from where it was linked, in the user's half."""

    def linked(self, address: int) -> int:
        """Return the address as linked in the file."""
        return address - self.offset & MASK

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The functions' symbols; those of a stripped file are what it exports."""
        return self.elf.symbols or self.elf.exported

    @cached_property
    def _tables(self) -> list[cfi.Table | cfi.DebugTable]:
        section = self.elf.section(".eh_frame")
        if section is None:
            return []
        return [cfi.Table(self.elf.content(section), section.address)]


def opener(core: Core, path: str, program: Path) -> Callable[[str], Elf | None]:
    """Return a function that opens what a process had mapped; `program` is what `path` was.

    A guest may have written any name into the core: only files are opened, since a FIFO would
    wait for a writer.
    """

    def opened(name: str) -> Elf | None:
        file = program if name == path else Path(name)
        try:
            found = Elf.open(file) if file.is_file() else None
        except (OSError, UklError):
            return None
        return found if found is not None and core.has(found, name) else None

    return opened


class Space:
    """What Program is, for all files that a process has mapped, and vmlinux."""

    def __init__(self, maps: str, opened: Callable[[str], Elf | None], vmlinux: Program) -> None:
        """Read the files by `opened`, which returns None for one that is not on this machine."""
        self._rows = [*programs(rows(maps), opened)]
        self._vmlinux = vmlinux

    def program(self, path: str) -> Mapped | None:
        """Return the file that is mapped from a path; None if it is not on this machine."""
        return next((program for row, program in self._rows if row.path == path), None)

    def _at(self, address: int) -> Program:
        for row, program in self._rows:
            if row.begin <= address < row.end:
                return program
        return self._vmlinux

    def is_kernel(self, address: int) -> bool | None:
        """Tell whether an address is in the kernel's text; None: nor in the application's."""
        return self._at(address).is_kernel(address)

    def name(self, address: int) -> tuple[str, int]:
        """Return the function's name and the offset of the address in it; "" if unknown."""
        return self._at(address).name(address)

    def step(
        self, registers: Mapping[str, int], read: Read, *, called: bool
    ) -> tuple[dict[str, int], bool] | None:
        """Return the caller's registers, and whether it called (False: it was interrupted)."""
        return self._at(registers["rip"] - called).step(registers, read, called=called)


def programs(found: list[Row], opened: Callable[[str], Elf | None]) -> Iterator[tuple[Row, Mapped]]:
    """Yield the rows whose files can be opened, with these files at their places."""
    known: dict[tuple[str, int], Mapped] = {}
    for row in found:
        elf = opened(row.path)
        if elf is None:
            continue
        for segment in elf.segments:
            inside = row.offset <= segment.offset < row.offset + row.end - row.begin
            if segment.kind == _PT_LOAD and segment.flags & _EXECUTABLE and inside:
                moved = row.begin + segment.offset - row.offset - segment.address & MASK
                yield row, known.setdefault((row.path, moved), Mapped(elf, moved))
                break
