# SPDX-License-Identifier: GPL-2.0
"""What gdb is told: where a boot has put the kernel, and how its frames are left."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ukl.base.errors import UklError
from ukl.debug import gdb_script, orc, placement
from ukl.debug.orc import Base, Kind, Rule
from ukl.elf.reader import Elf

REGISTERS = """
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
GDT=     fffffe0000001000 0000007f
IDT=     fffffe0000000000 00000fff
CR0=80050033
"""


def test_the_descriptor_table_is_found() -> None:
    assert placement.idt_base(REGISTERS) == 0xFFFFFE0000000000
    with pytest.raises(UklError, match="descriptor table"):
        placement.idt_base("nothing")


def test_the_gate_is_one_that_all_tables_have() -> None:
    assert placement.gate_dump(0xFFFFFE0000000000) == "x /2gx 0xfffffe0000000020"


def test_a_gate_is_taken_apart() -> None:
    # A handler at 0xffffffffbbc00a40, selector 0x10, an interrupt gate.
    low = 0x0A40 | 0x10 << 16 | 0x8E00 << 32 | 0xBBC0 << 48
    dump = f"fffffe0000000000: 0x{low:016x} 0x00000000ffffffff\n"
    assert placement.handler(dump) == 0xFFFFFFFFBBC00A40
    with pytest.raises(UklError, match="cannot read"):
        placement.handler("Cannot access memory")


def test_sources_of_recipes_are_where_the_cache_has_them() -> None:
    key = "0123456789abcdef" * 2
    strings = f"main.c\0/c/recipe/.{key}.ab_12xyz.tmp/tree/src\0/home/.{key}.x\0".encode()
    elf = SimpleNamespace(
        section=lambda name: name if name == ".debug_line_str" else None,
        content=lambda _: strings,
    )
    moves = placement.renamed_directories(cast(Elf, elf))
    assert moves == {f"/c/recipe/.{key}.ab_12xyz.tmp": f"/c/recipe/{key}"}
    [line] = [
        each for each in gdb_script.script({}, "", moves=moves).splitlines() if "substitute" in each
    ]
    assert f"/c/recipe/.{key}.ab_12xyz.tmp" in line


def test_the_script_quotes_what_it_must() -> None:
    text = gdb_script.script(
        {Path('/a b/"c"'): {".text": 0x10}}, "target remote /tmp/stub", Path("/src")
    )
    *commands, attach = text.splitlines()
    assert attach == "target remote /tmp/stub"
    assert commands[-1] == (
        r'python gdb.execute("add-symbol-file \"/a b/\\\"c\\\"\" -s .text 0x10", to_string=True)'
    )


def table(*entries: tuple[int, Rule]) -> orc.Table:
    """Return a table at address 0x1000 with rules for addresses."""
    ip = b"".join(
        struct.pack("<i", at - (0x1000 + 4 * number)) for number, (at, _) in enumerate(entries)
    )
    rules = b"".join(
        struct.pack(
            "<hhH",
            rule.sp_offset,
            rule.bp_offset,
            rule.sp_base | rule.bp_base << 4 | rule.kind << 8,
        )
        for _, rule in entries
    )
    return orc.Table(ip, 0x1000, rules)


CALL = Rule(16, -16, Base.SP, Base.PREVIOUS_SP, Kind.CALL)
ENTRY = Rule(0, 0, Base.SP, Base.UNDEFINED, Kind.REGS)
NONE = Rule(0, 0, Base.UNDEFINED, Base.UNDEFINED, Kind.UNDEFINED)


def test_a_rule_holds_until_the_next() -> None:
    rules = table((0x500, NONE), (0x300, ENTRY), (0x200, CALL))  # in any order
    assert rules.find(0x1FF) is None
    assert rules.find(0x200) == CALL
    assert rules.find(0x2FF) == CALL
    assert rules.find(0x300) == ENTRY
    assert rules.find(0x500) is None


def test_newer_tables_have_other_numbers() -> None:
    # ORC_REG_SP, ORC_REG_PREV_SP; ORC_REG_DI; ORC_REG_AX: of Linux 7.3
    call, by_di = Rule(16, -16, 3, 8, Kind.CALL), Rule(0, 0, 5, 0, Kind.REGS)
    by_ax = Rule(8, 0, 1, 4, Kind.CALL)
    rules = table((0x200, call), (0x300, by_di), (0x400, call), (0x500, by_ax))
    assert rules.find(0x200) == CALL
    assert rules.find(0x300) == Rule(0, 0, Base.DI, Base.UNDEFINED, Kind.REGS)
    found = rules.find(0x500)
    assert found is not None
    assert found == Rule(8, 0, Base.AX, Base.BP, Kind.CALL)
    memory = Memory({0x9000: 0xABC, 0x7FF0: 0x5})
    memory = Memory({0x8FF8: 0xABC, 0x7FE8: 0x5})
    caller = orc.step(found, {"rsp": 0, "rbp": 0x7FE8, "rax": 0x9000}, memory)
    assert caller == {"rip": 0xABC, "rsp": 0x9000, "rbp": 0x5}


class Memory:
    """Words at addresses."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words

    def __call__(self, address: int) -> int:
        return self.words[address]


def test_a_call_is_left() -> None:
    memory = Memory({0x8008: 0xABC, 0x8000: 0xB})
    caller = orc.step(CALL, {"rsp": 0x8000, "rbp": 0x1}, memory)
    assert caller == {"rip": 0xABC, "rsp": 0x8010, "rbp": 0xB}


@pytest.mark.parametrize(
    ("rule", "frame"),
    [
        (Rule(24, 0, Base.BP, Base.UNDEFINED, Kind.CALL), 0x9018),
        (Rule(8, 0, Base.SP_INDIRECT, Base.UNDEFINED, Kind.CALL), 0x7008),
        (Rule(-8, 0, Base.BP_INDIRECT, Base.UNDEFINED, Kind.CALL), 0x6000),
        (Rule(0, 0, Base.R10, Base.UNDEFINED, Kind.CALL), 0x5000),
    ],
)
def test_all_ways_to_the_stack(rule: Rule, frame: int) -> None:
    memory = Memory({0x8000: 0x7000, 0x8FF8: 0x6000, frame - 8: 0xABC})
    registers = {"rsp": 0x8000, "rbp": 0x9000, "r10": 0x5000}
    assert orc.step(rule, registers, memory) == {"rip": 0xABC, "rsp": frame, "rbp": 0x9000}


def test_the_entry_gives_the_application_back() -> None:
    words = {0x8000 + 8 * number: number + 1 for number in range(len(orc.PT_REGS))}
    caller = orc.step(ENTRY, {"rsp": 0x8000, "rbp": 0x9}, Memory(words))
    assert caller is not None
    # include/asm/ptrace.h: bp at 0x20, ip at 0x80, sp at 0x98.
    assert (caller["rbp"], caller["rip"], caller["rsp"]) == (5, 0x11, 0x14)
    assert "cs" not in caller


def test_no_rule_for_the_end() -> None:
    assert orc.step(NONE, {"rsp": 0, "rbp": 0}, Memory({})) is None
