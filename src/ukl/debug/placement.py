# SPDX-License-Identifier: GPL-2.0
"""Finds the run-time addresses of kernel and application in a guest. Pure.

KASLR relocates the kernel, and the application's text with it; the application's data stays
in the user half. To find the offset, the guest need not respond: an entry of the interrupt
descriptor table, read through QEMU, points to a function of the kernel.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from ukl.base.errors import UklError
from ukl.elf.reader import Elf

VECTOR, HANDLER = 2, "asm_exc_nmi"
"""A vector of the interrupt descriptor table, and its handler. It must have its own stack: an
application's address space has other gates for all other vectors (arch/x86/ukl/gate.S)."""

GATE_SIZE = 16
"""Bytes of a gate descriptor (Intel SDM vol. 3, 6.14.1)."""

KERNEL_HALF = 1 << 63

_IDT = re.compile(r"^IDT=\s*([0-9a-f]+)", re.MULTILINE)
_WORDS = re.compile(r"0x([0-9a-f]{16})")

SHN_LORESERVE = 0xFF00


def idt_base(registers: str) -> int:
    """Return the address of the descriptor table in QEMU's `info registers`."""
    found = _IDT.search(registers)
    if found is None:
        raise UklError("QEMU does not print the address of the interrupt descriptor table")
    return int(found[1], 16)


def gate_dump(table: int) -> str:
    """Return the command of QEMU's monitor that shows the gate of VECTOR."""
    return f"x /2gx {table + VECTOR * GATE_SIZE:#x}"


def handler(dump: str) -> int:
    """Return the address in a gate descriptor, dumped as two words (Intel SDM vol. 3, 6.14.1)."""
    words = [int(word, 16) for word in _WORDS.findall(dump)]
    if len(words) != 2:
        raise UklError(
            "cannot read the guest's interrupt descriptor table",
            remedy="the guest may not have booted far enough yet: try again later",
        )
    low, high = words
    return low & 0xFFFF | low >> 32 & 0xFFFF0000 | (high & 0xFFFFFFFF) << 32


def offset_of(kernel: Elf, found: int, vmlinux: Path | None = None) -> int:
    """Return the offset by which the kernel, whose VECTOR points to `found`, was relocated."""
    linked = kernel.addresses([HANDLER]).get(HANDLER)
    if linked is None:
        raise UklError(f"the kernel has no symbol {HANDLER}", where=vmlinux)
    return found - linked


def kernel_sections(elf: Elf, offset: int) -> dict[str, int]:
    """Return section -> address of a vmlinux whose kernel half is relocated by `offset`."""
    return {
        section.name: section.address + (offset if section.address >= KERNEL_HALF else 0)
        for section in elf.sections
        if section.allocated
    }


def application_sections(application: Elf, vmlinux: Elf, offset: int) -> dict[str, int]:
    """Return section -> address in the running kernel, for the application's object.

    A symbol that occurs exactly once in both files gives the address of its section.
    """
    once = {
        name for name, times in Counter(each.name for each in vmlinux.symbols).items() if times == 1
    }
    addresses = {each.name: each.value for each in vmlinux.symbols if each.name in once}
    own = Counter(each.name for each in application.symbols)
    found: dict[str, int] = {}
    for symbol in application.symbols:
        if not 0 < symbol.section < min(SHN_LORESERVE, len(application.sections)):
            continue
        section = application.sections[symbol.section]
        if (
            not section.allocated
            or section.name in found
            or own[symbol.name] > 1
            or symbol.name not in addresses
            or section.name in {".ukl.tdata", ".ukl.tbss"}  # offsets, not addresses
        ):
            continue
        base = addresses[symbol.name] - symbol.value
        found[section.name] = base + (offset if base >= KERNEL_HALF else 0)
    return found


_BUILDING = re.compile(rb"(/[^\0]*/)\.([0-9a-f]{32})\.\w+\.tmp(?=[/\0])")


def renamed_directories(elf: Elf) -> dict[str, str]:
    """Return old -> new names of the directories that the cache renamed after compilation.

    A recipe is built in ROOT/KIND/.KEY.XXXX.tmp, which is then renamed to ROOT/KIND/KEY
    (host/store.py); its debug information has the old name.
    """
    found = {}
    for name in (".debug_line_str", ".debug_str"):
        if (section := elf.section(name)) is not None:
            for match in _BUILDING.finditer(elf.content(section)):
                found[match[0].decode()] = (match[1] + match[2]).decode()
    return found
