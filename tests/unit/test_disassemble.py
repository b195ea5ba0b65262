# SPDX-License-Identifier: GPL-2.0
"""Reading machine code made byte by byte: sites, the red zone, what is notable."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ukl.syscalls import red_zone
from ukl.syscalls.disassemble import CHUNK, Code, Function, Kind, covering, decode, ranges, sweep
from ukl.syscalls.rewritable import Site, Way

MOV_39 = "b8 27 00 00 00"  # mov $39,%eax
XOR = "31 c0"  # xor %eax,%eax
SYSCALL = "0f 05"
RET = "c3"
CMP = "48 3d 01 f0 ff ff"  # cmp $-4095,%rax
BASE = 0x1000


def code(
    *parts: str, entries: Iterable[int] = (), relocated: Iterable[int] = (), name: str = "f"
) -> Code:
    data = bytes.fromhex(" ".join(parts))
    return Code(
        ".text",
        BASE,
        data,
        (Function(name, BASE, BASE + len(data)),),
        entries=frozenset(BASE + at for at in entries),
        relocated=frozenset(BASE + at for at in relocated),
    )


def site(*parts: str, **fields: Iterable[int]) -> Site:
    [found] = sweep(code(*parts, **fields)).sites  # type: ignore[arg-type]
    return found


# --- sites --------------------------------------------------------------------


def test_in_place() -> None:
    found = site(MOV_39, SYSCALL, RET)
    assert found == Site(
        "f", ".text", BASE + 5, 39, Way.IN_PLACE, BASE, BASE + 7, called=True, certain=True
    )


def test_bytes_inside_another_instruction_are_no_site() -> None:
    assert not sweep(code("b8 0f 05 00 00", "48 8d 05 0f 05 00 00", RET)).sites


def test_the_start_of_the_pair_may_be_jumped_to() -> None:
    assert site("eb 00", MOV_39, SYSCALL, RET).way is Way.IN_PLACE


@pytest.mark.parametrize("entry", [1, 4, 5, 6])
def test_entry_into_the_pair(entry: int) -> None:
    found = site(MOV_39, SYSCALL, RET, entries=[entry])
    assert found.way is Way.KEEP
    assert found.start == found.address


def test_own_jump_into_the_pair() -> None:
    # xor %eax,%eax; jmp to the syscall; mov; syscall; cmp; ret
    found = site(XOR, "eb 05", MOV_39, SYSCALL, CMP, RET)
    assert (found.way, found.start, found.end) == (Way.STUB, BASE + 9, BASE + 17)
    assert "a jump leads" in found.reason


def test_relocated_number() -> None:
    found = site(MOV_39, SYSCALL, RET, relocated=[1, 2, 3, 4])
    assert found.way is Way.KEEP
    assert found.number is None


def test_stub_takes_what_is_before() -> None:
    found = site("49 89 ca", SYSCALL, RET)  # mov %rcx,%r10
    assert (found.way, found.start, found.end) == (Way.STUB, BASE, BASE + 5)


def test_stub_takes_what_is_behind() -> None:
    found = site(XOR, SYSCALL, CMP, RET)
    assert (found.way, found.number) == (Way.STUB, 0)
    assert (found.start, found.end) == (BASE, BASE + 10)


@pytest.mark.parametrize(
    "parts",
    [
        (SYSCALL, RET),
        ("e8 00 00 00 00", SYSCALL, RET),  # a call cannot move
        ("48 8b 05 00 00 00 00", SYSCALL, RET),  # nor what is relative to RIP
    ],
)
def test_no_room(parts: tuple[str, ...]) -> None:
    found = site(*parts)
    assert found.way is Way.KEEP
    assert "movable" in found.reason


def test_relocated_neighbour_stays() -> None:
    assert site("48 8b 34 25 00 00 00 00", SYSCALL, RET).way is Way.STUB
    kept = site("48 8b 34 25 00 00 00 00", SYSCALL, RET, relocated=range(4, 8))
    assert kept.way is Way.KEEP


def test_return_from_a_signal_is_kept() -> None:
    found = site("48 c7 c0 0f 00 00 00", SYSCALL)
    assert (found.way, found.number) == (Way.KEEP, 15)


def test_data_among_code_is_kept() -> None:
    found = site(MOV_39, SYSCALL, RET, "06 06")  # no instruction in 64-bit mode
    assert found.way is Way.KEEP
    assert "data" in found.reason


def test_jump_into_an_instruction_is_kept() -> None:
    # jmp into the displacement of the lea behind it
    found = site("eb 02", "48 8d 05 00 00 00 00", MOV_39, SYSCALL, RET)
    assert found.way is Way.KEEP
    assert "middle" in found.reason


def test_red_zone_needs_a_stub() -> None:
    found = site("48 89 7c 24 f8", MOV_39, SYSCALL, "48 8b 44 24 f8", RET)
    assert (found.way, found.red_zone) == (Way.STUB, True)
    clone = site("48 89 7c 24 f8", "b8 38 00 00 00", SYSCALL, RET)
    assert clone.way is Way.KEEP


def test_red_zone_and_a_number_that_is_not_known() -> None:
    found = site("48 89 7c 24 f8", "89 f0", SYSCALL, CMP, "48 8b 44 24 f8", RET)
    assert (found.way, found.number) == (Way.KEEP, None)


def test_number_from_further_before() -> None:
    found = site(MOV_39, "48 89 d6", SYSCALL, RET)  # mov %rdx,%rsi
    assert (found.way, found.number, found.called) == (Way.STUB, 39, True)
    jumped = site(MOV_39, "48 89 d6", SYSCALL, RET, entries=[5])
    assert jumped.number is None


@pytest.mark.parametrize(
    "behind",
    [
        "74 00",  # je
        "48 ff c8 72 00",  # dec %rax leaves the carry alone; jb
        "0f 92 c0",  # setb %al
        "48 11 c8",  # adc %rcx,%rax
        "9c",  # pushf
        "eb 00 0f 42 c1",  # jmp; cmovb
        "ff e0",  # jmp *%rax: nobody knows
        "",  # the end of the function: nobody knows what follows
    ],
)
def test_flags_that_are_looked_at(behind: str) -> None:
    found = site("f9", MOV_39, SYSCALL, behind, RET if behind else "")
    assert found.way is Way.KEEP
    assert "flags" in found.reason


@pytest.mark.parametrize("behind", [RET, CMP, "eb 00" + CMP, "48 89 c2" + CMP, "0f 0b"])
def test_flags_that_nobody_looks_at(behind: str) -> None:
    assert site("f9", MOV_39, SYSCALL, behind, "74 00", RET).way is Way.IN_PLACE


def test_direction_flag() -> None:
    assert site("fd", MOV_39, SYSCALL, CMP, "f3 a4 fc", RET).way is Way.KEEP


def test_the_stack_may_be_gone() -> None:
    # What ends the thread, and munmap() straight before it.
    assert site("b8 3c 00 00 00", SYSCALL, RET).way is Way.KEEP
    sweep_of = sweep(code("b8 0b 00 00 00", SYSCALL, "31 ff", "b8 01 00 00 00", SYSCALL, RET))
    assert [found.way for found in sweep_of.sites] == [Way.KEEP, Way.KEEP]
    [only] = sweep(code("b8 0b 00 00 00", SYSCALL, CMP, RET)).sites
    assert only.way is Way.IN_PLACE


@pytest.mark.parametrize("load", ["48 89 fc", "48 c7 c4 00 10 00 00", "5c", "48 87 e7", "31 e4"])
def test_no_stack_perhaps(load: str) -> None:
    found = site(load, MOV_39, SYSCALL, RET)
    assert found.way is Way.KEEP
    assert "stack pointer" in found.reason


@pytest.mark.parametrize("load", ["48 89 ec", "48 83 e4 f0", "48 89 fc eb 00"])
def test_a_stack_still(load: str) -> None:
    assert site(load, MOV_39, SYSCALL, RET).way is Way.IN_PLACE


@pytest.mark.parametrize("name", ["__syscall_cp_asm", "__syscall_cancel_arch"])
def test_cancellation_by_address(name: str) -> None:
    [found] = sweep(code("48 89 f8 4c 89 c6", SYSCALL, RET, name=name)).sites
    assert found.way is Way.COPY


@pytest.mark.parametrize(
    "before",
    [
        "48 83 ec 08",  # sub $8,%rsp
        "48 89 e5",  # mov %rsp,%rbp
        "41 50 41 51",  # push %r8; push %r9
        "f3 0f 1e fa",  # endbr64
        "90 90 90",  # probes
    ],
)
def test_what_makes_the_frame_stays(before: str) -> None:
    assert site(before, SYSCALL, RET).way is Way.KEEP


def test_a_neighbour_that_knows_the_stack_pointer_is_not_called() -> None:
    found = site("48 8b 7c 24 08", SYSCALL, CMP, RET)  # mov 8(%rsp),%rdi
    assert (found.way, found.called) == (Way.STUB, False)
    other = site("48 8b 7f 08", SYSCALL, CMP, RET)  # mov 8(%rdi),%rdi
    assert (other.way, other.called) == (Way.STUB, True)


def test_sites_do_not_share_bytes() -> None:
    # xor; syscall; cmp; syscall: the first takes the comparison, the second finds no room
    both = sweep(code(XOR, SYSCALL, CMP, SYSCALL, RET)).sites
    assert [(found.way, found.start, found.end) for found in both] == [
        (Way.STUB, BASE, BASE + 10),
        (Way.KEEP, BASE + 10, BASE + 12),
    ]


def test_red_zone_of_the_cold_part_counts() -> None:
    hot, cold = bytes.fromhex(f"{MOV_39} {SYSCALL} {RET}"), bytes.fromhex("48897c24f8 0f05 c3")
    both = Code(
        ".text",
        0,
        hot + cold,
        (Function("f", 0, len(hot)), Function("f.cold", len(hot), len(hot + cold))),
    )
    assert [found.red_zone for found in sweep(both).sites] == [True, True]


# --- the red zone ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48 89 7c 24 f8 c3", True),  # mov %rdi,-8(%rsp)
        ("48 89 7c 24 08 c3", False),
        ("48 83 ec 18 48 89 7c 24 08 48 83 c4 18 c3", False),  # sub $24,%rsp; 8(%rsp)
        ("55 48 89 e5 48 89 7d f8 5d c3", True),  # push; mov %rsp,%rbp; -8(%rbp)
        ("55 48 89 e5 48 83 ec 10 48 89 7d f8 c9 c3", False),
        ("55 48 89 e5 48 83 ec 10 48 89 7d e8 c9 c3", True),  # one word too low
        ("48 89 e0 48 89 78 f0 c3", True),  # a copy of the stack pointer
        ("48 89 e0 48 89 f8 48 89 78 f0 c3", False),  # … that is overwritten
        ("48 8d 44 24 e0 c3", True),  # lea -32(%rsp)
        ("50 48 89 e0 48 89 38 58 c3", False),
        # the frame is gone on one path only: je over; add $24,%rsp; ret; over: 8(%rsp)
        ("48 83 ec 18 74 05 48 83 c4 18 c3 48 89 7c 24 08 48 83 c4 18 c3", False),
    ],
)
def test_red_zone(text: str, expected: bool) -> None:
    whole = code(text)
    assert red_zone.used(list(decode(whole, BASE, whole.end))) is expected


# --- the sweep ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fa", Kind.PRIVILEGED),  # cli
        ("0f 30", Kind.PRIVILEGED),  # wrmsr
        ("ee", Kind.PRIVILEGED),  # out %al,(%dx)
        ("0f 22 d8", Kind.PRIVILEGED),  # mov %rax,%cr3
        ("48 cf", Kind.PRIVILEGED),  # iretq
        ("48 ff 2c 24", Kind.FAR),  # rex.W ljmp *(%rsp)
        ("ff 2c 24", Kind.FAR),  # ljmp *(%rsp)
        ("ff 18", Kind.FAR),  # lcall *(%rax)
        ("48 cb", Kind.FAR),  # lretq
        ("ca 08 00", Kind.FAR),  # lret $8
        ("f4", Kind.HALT),
        ("cd 80", Kind.INT80),
        ("0f 34", Kind.SYSENTER),
        ("0f 01 f8", Kind.GS_BASE),  # swapgs
        ("8e e8", Kind.GS_BASE),  # mov %eax,%gs
        ("f3 48 0f ae d8", Kind.GS_BASE),  # wrgsbase
        ("65 48 8b 04 25 28 00 00 00", Kind.GS),
        ("48 c7 c0 00 00 60 ff", Kind.VSYSCALL),
    ],
)
def test_notable(text: str, kind: Kind) -> None:
    [note] = sweep(code("90", text, RET)).notes
    assert (note.kind, note.function, note.address) == (kind, "f", BASE + 1)


@pytest.mark.parametrize(
    "text",
    [
        "ff 24 24",
        "ff 14 24",
        "64 48 8b 04 25 28 00 00 00",
        "cd 03",
        "0f 0b",
        "48 89 c3",
        "8c e8",
        "f3 0f 1e fa",
    ],
)
def test_not_notable(text: str) -> None:
    assert not sweep(code(text, RET)).notes


def test_vector_instructions_are_counted() -> None:
    assert sweep(code("c5 f8 77", "62 f1 7c 48 28 c1", "0f 28 c1", RET)).vex == {"f": 2}


def test_branches_and_addresses() -> None:
    found = sweep(code("e8 05 00 00 00", "48 8d 05 10 00 00 00", "74 00", RET))
    assert found.branches == {BASE + 10: [BASE], BASE + 14: [BASE + 12]}
    assert found.lea == {BASE + 28: [BASE + 5]}


def test_branch_that_the_linker_fills_in_is_none() -> None:
    assert not sweep(code("e8 00 00 00 00", RET, relocated=range(1, 5))).branches


def test_long_code_is_decoded_in_pieces() -> None:
    # 7-byte instructions: pieces do not end on a boundary.
    count = CHUNK // 3
    whole = code("48 8d 80 00 00 00 00" * count, MOV_39, SYSCALL, RET)
    found = sweep(whole)
    assert found.instructions == count + 3
    assert found.undecoded == 0
    assert [one.way for one in found.sites] == [Way.IN_PLACE]


# --- functions -------------------------------------------------------------------


def test_ranges() -> None:
    found = ranges(
        0x100,
        0x40,
        ".text",
        [
            (0x110, 0x10, "sized", True),
            (0x110, 0, "alias", True),
            (0x118, 0, "inside", False),
            (0x130, 0, "unsized", True),
        ],
    )
    assert [(f.name, f.start, f.end) for f in found] == [
        (".text+0x0", 0x100, 0x110),
        ("sized", 0x110, 0x120),
        (".text+0x20", 0x120, 0x130),
        ("unsized", 0x130, 0x140),
    ]
    assert covering(found, 0x11F) == found[1]
    assert covering(found, 0x140) is None


def test_table_behind_code_is_not_read() -> None:
    # An unsized function, a table behind its end, and code that it jumps to behind that.
    data = bytes.fromhex("74 05 c3fa fa fa fafb c3")
    functions = ranges(0, len(data), ".text", [(0, 0, "f", True)])
    found = sweep(Code(".text", 0, data, functions))
    assert [note.text for note in found.notes] == ["cli"] * 4 + ["sti"]
    data = bytes.fromhex("74 00 c3fa fa fa fafb c3")
    assert not sweep(Code(".text", 0, data, functions)).notes
    called = sweep(Code(".text", 0, data, functions, called=frozenset([7])))
    assert [note.text for note in called.notes] == ["sti"]


def test_table_in_a_function_is_not_believed() -> None:
    assert not sweep(code(RET, "fa", "06", "fa")).notes


def test_unnamed_stretch_is_read_if_something_leads_there() -> None:
    data = bytes.fromhex("e8 01 00 00 00c3fa c3")
    functions = ranges(0, len(data), ".text", [(0, 6, "f", True)])
    [note] = sweep(Code(".text", 0, data, functions)).notes
    assert note.function == ".text+0x6"


def test_data_between_functions_does_not_shift_what_follows() -> None:
    # A byte that begins a long instruction lies before the second function.
    data = bytes.fromhex("c3 48 b8 27 00 00 00 0f 05 c3".replace(" ", ""))
    functions = ranges(0, len(data), ".text", [(0, 1, "first", True), (2, 8, "second", True)])
    [found] = sweep(Code(".text", 0, data, functions)).sites
    assert (found.function, found.way) == ("second", Way.IN_PLACE)
