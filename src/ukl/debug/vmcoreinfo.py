# SPDX-License-Identifier: GPL-2.0
"""Makes the VMCOREINFO note of a kernel from its vmlinux. Pure.

This tool's kernels are built without it (CONFIG_VMCORE_INFO, which kexec or /proc/kcore
selects), but vmlinux has all of its content. Source:
Documentation/admin-guide/kdump/vmcoreinfo.rst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ukl.base.errors import UklError
from ukl.elf.reader import Elf

PHYS_BASE = "phys_base"
"""The kernel's physical address minus its link address (arch/x86/kernel/head_64.S)."""

BANNER = "linux_banner"
TABLES = "init_top_pgt"
"""The name of swapper_pg_dir in vmlinux."""

LEVELS = "__pgtable_l5_enabled"
"""Whether page tables have five levels; exists only with CONFIG_X86_5LEVEL."""

WANTED = (TABLES, "mem_section")

NT_GNU_BUILD_ID = 3

_RELEASE = re.compile(rb"Linux version (\S+) ")


def release(kernel: Elf) -> str:
    """Return the release (`uname -r`) from the kernel's banner."""
    place = kernel.addresses([BANNER]).get(BANNER, 0)
    for each in kernel.sections:
        if each.allocated and each.address <= place < each.address + each.size:
            content = kernel.content(each)
            if match := _RELEASE.match(content[place - each.address :]):
                return match[1].decode()
    raise UklError("the kernel's banner has no version")


def text(kernel: Elf, offset: int, read: Callable[[int, int], bytes]) -> str:
    """Return the note's text for a kernel relocated by `offset`.

    `read` returns memory at a virtual address and a size; its exceptions are passed on.
    """

    def number(symbol: str, size: int) -> int:
        place = kernel.addresses([symbol]).get(symbol)
        return 0 if place is None else int.from_bytes(read(place + offset, size), "little")

    places: Mapping[str, int] = kernel.addresses(WANTED)
    if TABLES not in places:
        raise UklError(f"the kernel has no symbol {TABLES}")
    notes = {kind: data for owner, kind, data in kernel.notes() if owner == "GNU"}
    lines = [f"OSRELEASE={release(kernel)}"]
    if (identity := notes.get(NT_GNU_BUILD_ID)) is not None:
        lines.append(f"BUILD-ID={identity.hex()}")
    lines += [
        "PAGESIZE=4096",
        f"SYMBOL(swapper_pg_dir)={places[TABLES] + offset:x}",
        f"KERNELOFFSET={offset:x}",
        f"NUMBER(phys_base)={number(PHYS_BASE, 8)}",
        f"NUMBER(pgtable_l5_enabled)={number(LEVELS, 4)}",
    ]
    if "mem_section" in places:
        lines.append(f"SYMBOL(mem_section)={places['mem_section'] + offset:x}")
    return "\n".join([*lines, ""])
