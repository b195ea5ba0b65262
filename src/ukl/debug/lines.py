# SPDX-License-Identifier: GPL-2.0
"""Finds source lines of addresses with addr2line.

The application's object is relocatable, so addresses are looked up by section; symbols give
each section's address in the running kernel (debug/placement.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import UklError
from ukl.debug.placement import application_sections
from ukl.elf.reader import SHF_EXECINSTR, Elf
from ukl.host import exec as host_exec

ADDR2LINE = "addr2line"
CXXFILT = "c++filt"

MANGLED = ("_Z", "_R")
"""Prefixes of mangled names in C++ and Rust."""

AT_A_TIME = 500
"""Names per call of c++filt: they may be long, and argument lists are limited."""

TIMEOUT = 120.0
"""Seconds; an application with 100 MB of debug information takes two or three."""

BUILD_PREFIX = "/ukl/"
"""Replaces the application's directory in debug information."""

_TEMPORARY = re.compile(r".*/\.[0-9a-f]{32}\.[^/]+\.tmp/(?:tree/)?")
"""A temporary directory of the cache, in which an entry was built."""

_ADDRESS = re.compile(r"0x[0-9a-f]{16}")
_LINE = re.compile(r"(?P<file>.+):(?P<line>\d+)(?: \(discriminator \d+\))?")


@dataclass(frozen=True, slots=True)
class Line:
    """A source line. `function` is its function, which may be an inlined one."""

    function: str
    file: str
    line: int


def parse(text: str) -> dict[int, tuple[Line, ...]]:
    """Parse the output of `addr2line -a -f -i`: address -> lines, the innermost first. Pure."""
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
                file = _TEMPORARY.sub("", match["file"]).removeprefix(BUILD_PREFIX)
                found[address] += (Line(function, file, int(match["line"])),)
            function = None
    return found


def of_object(debug: Path, program: Elf, addresses: Iterable[int]) -> dict[int, tuple[Line, ...]]:
    """Return the source lines of addresses in `program`, from the application's object `debug`.

    Omits addresses outside of the application, and all addresses if addr2line fails.
    """
    application = Elf.open(debug)
    starts = application_sections(application, program, 0)
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
    """Return the source lines of addresses in the kernel, if it has debug information."""
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


def demangle(names: Iterable[str]) -> dict[str, str]:
    """Return mangled name -> demangled name, for the names of C++ and Rust."""
    wanted = sorted({name for name in names if name.startswith(MANGLED)})
    found: dict[str, str] = {}
    for begin in range(0, len(wanted), AT_A_TIME):
        part = wanted[begin : begin + AT_A_TIME]
        try:
            output = host_exec.run([CXXFILT, *part], timeout=TIMEOUT).stdout.splitlines()
        except UklError:  # without c++filt the names stay mangled
            return found
        if len(output) == len(part):
            found.update(zip(part, output, strict=True))
    return found
