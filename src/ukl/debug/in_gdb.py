# SPDX-License-Identifier: GPL-2.0
"""Runs inside gdb: unwinds the kernel's frames by its ORC tables.

The script of debug/gdb_script.py calls `install`. gdb itself unwinds the application's frames,
for which it has DWARF tables.
"""

from __future__ import annotations

from typing import Any

import gdb  # type: ignore[import-untyped]  # gdb's own
from gdb.unwinder import Unwinder, register_unwinder  # type: ignore[import-untyped]

from ukl.debug import orc

WANTED = ("rip", "rsp", "rbp", "rdx", "rdi", "r10", "r13")

STACK = (1 << 40) - 1


class _Frame:
    """The identity of a frame for gdb."""

    def __init__(self, sp: Any, pc: Any) -> None:
        self.sp = sp
        self.pc = pc


class OrcUnwinder(Unwinder):  # type: ignore[misc]
    """Unwinds frames between `begin` and `end` of a kernel relocated by `offset`."""

    def __init__(self, table: orc.Table, offset: int, begin: int, end: int) -> None:
        super().__init__("ukl-orc")
        self._table = table
        self._offset = offset
        self._begin = begin
        self._end = end

    def __call__(self, pending: Any) -> Any:
        """Return how to unwind `pending`, None if it is not the kernel's."""
        values = {name: pending.read_register(name) for name in WANTED[:3]}
        pc = int(values["rip"]) & orc.MASK
        if not self._begin <= pc < self._end:
            return None
        # A return address may lie after the end of the calling function.
        level = pending.level() if hasattr(pending, "level") else 1
        rule = self._table.find(pc - self._offset - (level > 0))
        if rule is None:
            return None
        registers = {name: int(value) & orc.MASK for name, value in values.items()}
        for name in WANTED[3:]:
            try:
                registers[name] = int(pending.read_register(name)) & orc.MASK
            except (gdb.error, ValueError):  # unknown in this frame, and rarely needed
                registers[name] = 0
        try:
            caller = orc.step(rule, registers, _read)
        except gdb.MemoryError:
            return None
        if caller is None:
            return None
        # Not the real stack pointer: gdb stops if a caller's stack is at a lower address, as the
        # application's is. The low bits keep the order and are below that stack.
        identity = gdb.Value(registers["rsp"] & STACK).cast(values["rsp"].type)
        found = pending.create_unwind_info(_Frame(identity, values["rip"]))
        for name, number in caller.items():
            kind = pending.read_register(name).type if name in values else _long()
            found.add_saved_register(name, gdb.Value(number).cast(_unsigned()).cast(kind))
        return found


def _unsigned() -> Any:
    return gdb.lookup_type("unsigned long")


def _long() -> Any:
    return gdb.lookup_type("long")


def _read(address: int) -> int:
    memory = gdb.selected_inferior().read_memory(address & orc.MASK, 8)
    return int.from_bytes(bytes(memory), "little")


def install(vmlinux: str, sections: dict[str, tuple[int, int, int]], offset: int) -> None:
    """Register an unwinder for the tables of `vmlinux`.

    `sections` holds address, offset in the file and size of .text, .orc_unwind_ip and
    .orc_unwind.
    """
    content = {}
    with open(vmlinux, "rb") as stream:  # noqa: PTH123 - gdb may have an old Python
        for name, (_, position, size) in sections.items():
            if name != ".text":
                stream.seek(position)
                content[name] = stream.read(size)
    table = orc.Table(
        content[".orc_unwind_ip"], sections[".orc_unwind_ip"][0], content[".orc_unwind"]
    )
    begin, _, size = sections[".text"]
    unwinder = OrcUnwinder(table, offset, begin + offset, begin + offset + size)
    register_unwinder(None, unwinder, replace=True)
