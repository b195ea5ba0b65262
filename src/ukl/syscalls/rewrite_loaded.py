# SPDX-License-Identifier: GPL-2.0
"""Turns the `syscall` instructions of executables and shared objects into calls of stubs.

The stubs are in a segment that is added to the file; everything else keeps its place. The file
works in ring 0 and as a normal process. What is not understood keeps the instruction.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ukl.base.model import SyscallCounts
from ukl.elf import segment, unwinding
from ukl.elf.names import FAST_NUMBERS, SHORT
from ukl.elf.reader import SHF_ALLOC, SHF_EXECINSTR, Elf
from ukl.elf.segment import Place
from ukl.elf.unwinding import Index
from ukl.syscalls import frames, liveness, loaded
from ukl.syscalls.disassemble import covering, sweep
from ukl.syscalls.loaded import Loaded
from ukl.syscalls.rewritable import CALL_SIZE, RT_SIGRETURN, Site, Way
from ukl.syscalls.stubs import ANY, NEW_STACK, Stubs

TEXT, FRAMES = ".ukl.text", ".ukl.eh_frame"
"""Sections of the added segment."""

_SYSCALL = 2
_CALL = b"\xe8"
_PREFIX = b"\x2e"
"""CS segment override, which a near call ignores in 64-bit mode (Intel SDM, volume 2, 2.1.1)."""

_NOPS = tuple(map(bytes.fromhex, ("", "90", "6690", "0f1f00", "0f1f4000", "0f1f440000")))
"""No-operations of 0 to 5 bytes (Intel SDM, volume 2, NOP)."""
_REACH = 1 << 31


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The file with calls; `data` is None if nothing changes."""

    data: bytes | None
    counts: SyscallCounts


def rewrite(elf: Elf) -> Rewritten:
    """Turn the `syscall` instructions of a file into calls. Raises Unsuitable."""
    found = loaded.load(elf)
    if found is None:
        return Rewritten(None, SyscallCounts(0, 0, 0))
    place = segment.place(elf, 1 if found.index is None or found.index.listed else 2)
    if place.address - found.code.address >= _REACH:
        raise segment.Unsuitable("it is too large")
    stubs = Stubs(place.address + place.headers)
    sites = sweep(found.code, finished=True).sites
    patches: dict[int, bytes] = {}
    direct = in_place = 0
    for site in sites:
        if not _suitable(found, site):
            continue
        fast = _direct(found, site)
        target = _stub(found, stubs, site, fast=fast)
        call = _CALL + struct.pack("<i", target - site.end)
        patches[site.start] = _padding(site.end - site.start - CALL_SIZE) + call
        direct += fast
        in_place += site.way is Way.IN_PLACE
    counts = SyscallCounts(
        in_place, len(patches) - in_place, len(sites) - len(patches), direct=direct
    )
    if not patches:
        return Rewritten(None, counts)
    return Rewritten(_file(elf, found, place, stubs, patches), counts)


def _suitable(found: Loaded, site: Site) -> bool:
    """Whether a call of a stub can take the place of what is at the site."""
    function = covering(found.code.functions, site.address)
    return (
        function is not None
        and site.way in {Way.IN_PLACE, Way.STUB}
        and not site.red_zone
        and site.number not in NEW_STACK
        and site.number != RT_SIGRETURN
        # Code that compares the program counter with it: handlers of pthread_cancel().
        and site.address + _SYSCALL not in found.labels
        and function.start not in found.unknown
        # Exceptions enter the function at places that are not known.
        and (site.way is Way.IN_PLACE or function.start not in found.handled)
    )


def _direct(found: Loaded, site: Site) -> bool:
    """Whether the site can call the entry of its number, which keeps fewer registers."""
    function = covering(found.code.functions, site.address)
    if function is None or site.number is None or not site.certain:
        return False
    if site.number not in FAST_NUMBERS or function.start in found.local:
        return False
    names = SHORT.get(site.number)
    scalar = names is not None and function.name.strip("_") in names
    needed = liveness.needed(found.code, function, site.address + _SYSCALL, scalar=scalar)
    if names is None:
        needed -= {liveness.RETURNED}
    return not needed


def _stub(found: Loaded, stubs: Stubs, site: Site, *, fast: bool) -> int:
    """Return the address of the stub for a site."""
    at = found.code.address
    before = found.code.data[site.start - at : site.address - at]
    if not site.called:
        entry = site.number if fast and site.number is not None else ANY
        after = found.code.data[site.address + _SYSCALL - at : site.end - at]
        certain = site.number is not None and site.certain
        return stubs.add_around(before, after, entry, site.end, certain=certain)
    if fast and site.number is not None:
        if site.way is Way.IN_PLACE:
            return stubs.add(b"", site.number, site.number, None)
        return stubs.add(before, site.number, None, None)
    # Other paths may lead to it with other numbers.
    certain = site.number is not None and site.certain
    return stubs.add(before, ANY, None, None if certain else site.end)


def _padding(size: int) -> bytes:
    """Return `size` bytes that lengthen the call after them: prefixes if possible, else nops."""
    if size <= 3:
        return _PREFIX * size
    return _NOPS[5] * (size // 5) + _NOPS[size % 5]


def _file(
    elf: Elf, found: Loaded, place: Place, stubs: Stubs, patches: Mapping[int, bytes]
) -> bytes:
    """Return the file with the segment and the patches (address -> bytes)."""
    content = stubs.code + bytes(-len(stubs.code) % 8)
    parts = [(TEXT, SHF_ALLOC | SHF_EXECINSTR, 0, len(stubs.code))]
    table = None
    if found.index is not None:
        begin = len(content)
        content += _frames(found.index, stubs, stubs.base + begin)
        table = stubs.base + begin, len(content) - begin
        parts.append((FRAMES, SHF_ALLOC, begin, len(content) - begin))
    data = segment.add(elf, place, bytes(content), table)
    for address, patch in patches.items():
        offset = address - found.segment.address + found.segment.offset
        data[offset : offset + len(patch)] = patch
    start = place.offset + place.headers
    segment.name(
        elf,
        data,
        [(name, flags, stubs.base + at, start + at, size) for name, flags, at, size in parts],
    )
    return bytes(data)


def _frames(index: Index, stubs: Stubs, address: int) -> bytes:
    """Return the table for binary search, to be at `address`, and the stubs' description."""
    made = frames.encode([frames.Frame(len(stubs.code), stubs.rows())])
    size = len(unwinding.extended(index, address, [(0, 0)]))
    begin = address + size + -size % 8
    description = bytearray(made.data)
    (start,) = made.starts
    struct.pack_into("<i", description, start, stubs.base - (begin + start))
    table = unwinding.extended(index, address, [(stubs.base, begin + start - 8)])
    return table + bytes(begin - address - size) + bytes(description) + bytes(4)
