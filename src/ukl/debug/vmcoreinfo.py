# SPDX-License-Identifier: GPL-2.0
"""What the kernel would say of itself in VMCOREINFO, made from its vmlinux. Pure.

Our kernels do not compile it in (CONFIG_VMCORE_INFO, which comes with kexec or /proc/kcore), and
everything in it is known here. Source: Documentation/admin-guide/kdump/vmcoreinfo.rst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ukl.base.errors import UklError
from ukl.elf.reader import Elf

PHYS_BASE = "phys_base"
"""Where the kernel is, physically, less where it was linked to (arch/x86/kernel/head_64.S)."""

BANNER = "linux_banner"
TABLES = "init_top_pgt"
"""What swapper_pg_dir is called in vmlinux."""

LEVELS = "__pgtable_l5_enabled"
"""Whether page tables have five levels; there only with CONFIG_X86_5LEVEL."""

WANTED = (TABLES, "mem_section")

NT_GNU_BUILD_ID = 3

_RELEASE = re.compile(rb"Linux version (\S+) ")


def release(kernel: Elf) -> str:
    """Return what `uname -r` says: it stands in the banner."""
    place = kernel.addresses([BANNER]).get(BANNER, 0)
    for each in kernel.sections:
        if each.allocated and each.address <= place < each.address + each.size:
            content = kernel.content(each)
            if match := _RELEASE.match(content[place - each.address :]):
                return match[1].decode()
    raise UklError("the kernel does not tell its version")


def text(kernel: Elf, offset: int, read: Callable[[int, int], bytes]) -> str:
    """Return the note's text for a kernel moved by `offset`.

    `read` returns memory at a virtual address; it raises what it likes.
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
