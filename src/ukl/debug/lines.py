# SPDX-License-Identifier: GPL-2.0
"""Source lines of addresses, by addr2line, which knows the application's object as it is.

The object is relocatable, so addresses are asked for by section; where each section went in
the running kernel is told by symbols (debug/placement.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import UklError
from ukl.debug.placement import placed
from ukl.elf.reader import SHF_EXECINSTR, Elf
from ukl.host import exec as host_exec

ADDR2LINE = "addr2line"
CXXFILT = "c++filt"

MANGLED = ("_Z", "_R")
"""How names of C++ and Rust begin that say their types, too."""

AT_A_TIME = 500
"""Names for one c++filt; they may be long, and an argument list has an end."""

TIMEOUT = 120.0
"""Seconds; an application with 100 MB of debug information takes two or three."""

BUILD_PREFIX = "/ukl/"
"""What stands for the application's directory in debug information."""

_HALF_MADE = re.compile(r".*/\.[0-9a-f]{32}\.[^/]+\.tmp/(?:tree/)?")
"""A directory of the cache in which something was built, before it had its place."""

_ADDRESS = re.compile(r"0x[0-9a-f]{16}")
_LINE = re.compile(r"(?P<file>.+):(?P<line>\d+)(?: \(discriminator \d+\))?")


@dataclass(frozen=True, slots=True)
class Line:
    """A place in the source. `function` is that of this line: of an inlined one its own name."""

    function: str
    file: str
    line: int


def parse(text: str) -> dict[int, tuple[Line, ...]]:
    """Return what `addr2line -a -f -i` printed: address -> places, the innermost first. Pure."""
    found: dict[int, tuple[Line, ...]] = {}
    address, function = None, None
    for each in text.splitlines():
        if function is None and _ADDRESS.fullmatch(each):
            address = int(each, 16)
            found[address] = ()
        elif function is None:
            function = each
        elif address is not None:
            if match := _LINE.fullmatch(each):
                file = _HALF_MADE.sub("", match["file"]).removeprefix(BUILD_PREFIX)
                found[address] += (Line(function, file, int(match["line"])),)
            function = None
    return found


def of_object(debug: Path, program: Elf, addresses: Iterable[int]) -> dict[int, tuple[Line, ...]]:
    """Return the places of addresses as linked into `program`, by its object `debug`.

    Nothing for those that are not in it, and nothing at all where there is no addr2line.
    """
    application = Elf.open(debug)
    starts = placed(application, program, 0)
    asked: dict[str, list[int]] = {}
    for section in application.sections:
        start = starts.get(section.name)
        if start is None or not section.flags & SHF_EXECINSTR:
            continue
        inside = {each - start for each in addresses if start <= each < start + section.size}
        if inside:
            asked[section.name] = sorted(inside)
    found: dict[int, tuple[Line, ...]] = {}
    for name, offsets in asked.items():
        for offset, lines in _ask(debug, name, offsets).items():
            found[starts[name] + offset] = lines
    return found


def of_kernel(
    vmlinux: Path, kernel: Elf, addresses: Iterable[int]
) -> Mapping[int, tuple[Line, ...]]:
    """Return the places of addresses in the kernel, if it has debug information."""
    wanted = sorted(set(addresses))
    if kernel.section(".debug_line") is None or kernel.section(".debug_info") is None:
        return {}
    return _ask(vmlinux, None, wanted) if wanted else {}


def _ask(file: Path, section: str | None, offsets: list[int]) -> dict[int, tuple[Line, ...]]:
    where = ["-j", section] if section else []
    argv = [ADDR2LINE, "-e", str(file), *where, "-a", "-f", "-i", "-C", *map(hex, offsets)]
    try:
        return parse(host_exec.run(argv, timeout=TIMEOUT).stdout)
    except UklError:  # a trace without lines is better than none
        return {}


def demangled(names: Iterable[str]) -> dict[str, str]:
    """Return those of the names that C++ or Rust has made, as people write them."""
    wanted = sorted({name for name in names if name.startswith(MANGLED)})
    found: dict[str, str] = {}
    for begin in range(0, len(wanted), AT_A_TIME):
        part = wanted[begin : begin + AT_A_TIME]
        try:
            said = host_exec.run([CXXFILT, *part], timeout=TIMEOUT).stdout.splitlines()
        except UklError:  # no binutils here: as they are
            return found
        if len(said) == len(part):
            found.update(zip(part, said, strict=True))
    return found
