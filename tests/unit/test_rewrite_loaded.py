# SPDX-License-Identifier: GPL-2.0
"""Rewriting of finished ELF files, made here byte by byte."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ukl.app import rewritten
from ukl.base.errors import InputError
from ukl.elf.reader import Elf
from ukl.elf.segment import Unsuitable
from ukl.host.store import Store
from ukl.syscalls import frames, rewrite_loaded, stubs
from ukl.syscalls.rewrite_loaded import Rewritten

BASE = 0x400000
CODE, TABLE, DATA = 0x1000, 0x2000, 0x3000
LOAD, NOTE, PROPERTY, EH_FRAME, NULL = 1, 4, 0x6474E553, 0x6474E550, 0
RET, SYSCALL, CALL = b"\xc3", b"\x0f\x05", b"\xe8"


def mov(number: int) -> bytes:
    """Return `mov $number,%eax`."""
    return b"\xb8" + struct.pack("<I", number)


def jump(at: int, target: int) -> bytes:
    """Return a jump of five bytes."""
    return b"\xe9" + struct.pack("<i", target - at - 5)


IOCTL = mov(16) + SYSCALL + RET


@dataclass
class Image:
    """An executable: headers, code, unwind information and data, each in its own segment."""

    functions: Sequence[bytes]
    data: bytes = bytes(64)
    memory: int = 64
    align: int = 0x1000
    spare: bool = True
    more: Sequence[tuple[int, ...]] = ()
    trailing: bytes = b""
    starts: list[int] = field(default_factory=list)

    def bytes(self) -> bytes:
        code = b""
        made = []
        self.starts.clear()
        for function in self.functions:
            code += b"\xcc" * (-len(code) % 16)
            self.starts.append(BASE + CODE + len(code))
            made.append(frames.Frame(len(function), frames.CALLED))
            code += function
        table = frames.encode(made)
        records = bytearray(table.data + bytes(4))
        header = struct.pack("<BBBBiI", 1, 0x1B, 3, 0x3B, 8 + 8 * len(made), len(made))
        begin = TABLE + len(header) + 8 * len(made)
        for start, place in zip(self.starts, table.starts, strict=True):
            struct.pack_into("<i", records, place, start - (BASE + begin + place))
            header += struct.pack("<ii", start - (BASE + TABLE), begin + place - 8 - TABLE)
        unwinding = header + bytes(records)
        segments = [
            self.row(LOAD, 4, 0, 0x1000),
            self.row(LOAD, 5, CODE, len(code)),
            self.row(LOAD, 4, TABLE, len(unwinding)),
            self.row(LOAD, 6, DATA, len(self.data), self.memory),
            self.row(EH_FRAME, 4, TABLE, len(unwinding)),
            *self.more,
        ]
        if self.spare:
            segments.append(self.row(NULL, 0, 0, 0))
        head = b"\x7fELF\2\1\1" + bytes(9)
        head += struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, self.starts[0], 64, 0, 0, 64, 56, len(segments), 64, 0, 0
        )
        head += b"".join(struct.pack("<IIQQQQQQ", *row) for row in segments)
        parts = {0: head, CODE: code, TABLE: unwinding, DATA: self.data}
        out = bytearray(DATA + len(self.data))
        for offset, part in parts.items():
            out[offset : offset + len(part)] = part
        return bytes(out) + self.trailing

    def row(
        self, kind: int, flags: int, offset: int, size: int, memory: int = 0
    ) -> tuple[int, ...]:
        """Return a program header."""
        address = BASE + offset
        return kind, flags, offset, address, address, size, max(size, memory), self.align


def rewrite(image: Image) -> Rewritten:
    return rewrite_loaded.rewrite(Elf(image.bytes()))


def is_kept(function: bytes, **more: bytes) -> bool:
    """Whether no `syscall` of the function becomes a call."""
    return rewrite(Image([function, RET * 16], **more)).data is None  # type: ignore[arg-type]


def test_mov_and_syscall_become_a_call() -> None:
    image = Image([IOCTL, b"\x90" * 8 + RET])
    before = image.bytes()
    made = rewrite(image)
    assert made.data is not None
    assert (made.counts.in_place, made.counts.kept, made.counts.direct) == (1, 0, 1)
    segments = Elf(made.data).segments
    assert [each.kind for each in segments].count("PT_LOAD") == 5
    new = next(each for each in segments if each.address > BASE + DATA)
    assert (new.flags, new.offset % 4096, new.address % 4096) == (5, 0, 0)
    # Two prefixes lengthen the call, which leads into the new segment.
    assert made.data[CODE : CODE + 3] == b"\x2e\x2e" + CALL
    target = BASE + CODE + 7 + struct.unpack_from("<i", made.data, CODE + 3)[0]
    assert new.address <= target < new.address + new.memory_size
    # The word in front of the stub names a `syscall` that a RET follows.
    at = target - new.address + new.offset
    mark = struct.unpack_from("<I", made.data, at - 4)[0]
    assert mark & ~0xFF == stubs.MARK
    assert made.data[at + (mark & 0xFF) :][:3] == SYSCALL + RET
    # All else keeps its place and content.
    assert made.data[64 + 6 * 56 : CODE] == before[64 + 6 * 56 : CODE]
    assert made.data[CODE + 7 : len(before)] == before[CODE + 7 :]


def test_the_stubs_have_unwind_information() -> None:
    made = rewrite(Image([IOCTL]))
    assert made.data is not None
    elf = Elf(made.data)
    header = next(each for each in elf.segments if each.kind == "PT_GNU_EH_FRAME")
    count = struct.unpack_from("<I", made.data, header.offset + 8)[0]
    rows = list(
        struct.iter_unpack("<ii", made.data[header.offset + 12 : header.offset + 12 + 8 * count])
    )
    assert count == 2
    assert rows == sorted(rows)
    function, record = (header.address + each for each in rows[1])
    stub = BASE + CODE + 7 + struct.unpack_from("<i", made.data, CODE + 3)[0]
    at = record - header.address + header.offset
    distance, size = struct.unpack_from("<iI", made.data, at + 8)
    assert function == record + 8 + distance
    assert function <= stub < function + size


def test_neighbours_move_into_the_stub() -> None:
    moved = bytes.fromhex("4889d8 4889f7")  # mov %rbx,%rax; mov %rsi,%rdi
    made = rewrite(Image([moved + SYSCALL + RET]))
    assert made.data is not None
    assert (made.counts.stub, made.counts.direct) == (1, 0)
    assert moved[3:] + bytes.fromhex("8cc9") in made.data
    # The number is unknown: after clone(), nothing that the call has pushed is used.
    assert bytes.fromhex("3d38000000 74") in made.data
    assert bytes.fromhex("0f05c3 488d642408 0f05 e9") in made.data


def test_instructions_behind_it_move() -> None:
    """As in read(): a jump in front, the number by XOR, and a comparison behind."""
    code = bytes.fromhex("7400 31c0") + SYSCALL + bytes.fromhex("483d01f0ffff") + RET
    made = rewrite(Image([code]))
    assert made.data is not None
    assert made.counts.stub == 1
    assert made.data[CODE + 7 : CODE + 8] == CALL
    # The comparison is behind a call of another stub, and the RET keeps the flags.
    assert bytes.fromhex("483d01f0ffff") + RET in made.data[DATA:]
    assert made.data[CODE + 12 : CODE + 13] == RET
    uses_stack = bytes.fromhex("7400") + SYSCALL + bytes.fromhex("488b542408 31d2") + RET
    assert is_kept(uses_stack)


@pytest.mark.parametrize("number", [15, 56, 58, 60, 435])
def test_calls_that_keep_the_instruction(number: int) -> None:
    assert is_kept(mov(number) + SYSCALL + RET)


def test_a_jump_to_the_instruction_itself() -> None:
    other = mov(39) + b"\xeb\x05"  # jmp to the second `syscall`
    code = other + mov(110) + SYSCALL + RET
    made = rewrite(Image([code]))
    assert made.counts.in_place == 0


def test_a_jump_from_another_function() -> None:
    target = BASE + CODE + 5
    assert not is_kept(IOCTL)
    far = jump(BASE + CODE + 16, target)
    assert rewrite(Image([IOCTL, far])).data is None


@pytest.mark.parametrize("width", ["<Q", "<I"])
def test_an_address_in_the_data(width: str) -> None:
    data = bytes(16) + struct.pack(width, BASE + CODE + 5) + bytes(40)
    assert is_kept(IOCTL, data=data)


def test_a_jump_table() -> None:
    # lea table(%rip),%rdx; movslq (%rdx,%rdi,4),%rax; add %rdx,%rax; jmp *%rax
    table = BASE + DATA
    code = bytes.fromhex("488d15") + struct.pack("<i", table - (BASE + CODE + 7))
    code += bytes.fromhex("486304ba 4801d0 ffe0") + IOCTL
    site = BASE + CODE + len(code) - 8
    assert rewrite(Image([code], struct.pack("<ii", site - table, 0))).counts.in_place == 1
    assert rewrite(Image([code], struct.pack("<ii", site + 5 - table, 0))).data is None
    # Without a table that leads into the function, its jump may lead anywhere.
    assert rewrite(Image([code])).data is None


def test_code_that_compares_the_program_counter() -> None:
    after = BASE + CODE + 7
    at = BASE + CODE + 16
    lea = bytes.fromhex("488d05") + struct.pack("<i", after - (at + 7)) + RET
    assert rewrite(Image([IOCTL, lea])).data is None


def test_a_function_that_is_called_within_the_file() -> None:
    """Its caller may know which registers it does not change."""
    at = BASE + CODE + 16
    call = CALL + struct.pack("<i", BASE + CODE - (at + 5)) + RET
    made = rewrite(Image([IOCTL, call]))
    assert (made.counts.in_place, made.counts.direct) == (1, 0)


def test_flags_registers_and_the_red_zone() -> None:
    assert is_kept(mov(110) + SYSCALL + b"\x72\x00" + RET)  # jc
    kept = bytes.fromhex("48897c24f8") + mov(110) + SYSCALL + bytes.fromhex("488b7c24f8") + RET
    assert is_kept(kept)
    read_after = mov(110) + SYSCALL + bytes.fromhex("4889f0") + RET  # mov %rsi,%rax
    assert rewrite(Image([read_after])).counts.direct == 0


def test_the_red_zone_of_a_part_that_was_split_off() -> None:
    part = BASE + CODE + 32
    whole = mov(16) + SYSCALL + bytes.fromhex("85c0 0f85")  # test %eax,%eax; jnz
    whole += struct.pack("<i", part - (BASE + CODE + len(whole) + 4)) + RET
    whole += b"\xcc" * (32 - len(whole))
    assert rewrite(Image([whole, bytes.fromhex("488b442408") + RET])).data is not None
    assert rewrite(Image([whole, bytes.fromhex("488b4424f8") + RET])).data is None


def test_code_with_relocations() -> None:
    dynamic = struct.pack("<QQQQ", 22, 0, 0, 0)
    more = [(2, 6, DATA, BASE + DATA, BASE + DATA, 32, 32, 8)]
    with pytest.raises(Unsuitable, match="relocations"):
        rewrite(Image([IOCTL], dynamic + bytes(32), more=more))


def test_program_headers_move_where_none_is_spare() -> None:
    image = Image([IOCTL], spare=False, more=[(6, 4, 64, BASE + 64, BASE + 64, 280, 280, 8)])
    made = rewrite(image)
    assert made.data is not None
    elf = Elf(made.data)
    start = struct.unpack_from("<Q", made.data, 32)[0]
    new = [each for each in elf.segments if each.kind == "PT_LOAD"][-1]
    assert start == new.offset
    assert new.address - BASE == new.offset
    table = next(each for each in elf.segments if each.kind == "PT_PHDR")
    assert (table.offset, table.address) == (new.offset, new.address)
    assert table.file_size == len(elf.segments) * 56


def test_the_properties_are_named_once() -> None:
    twice = [(kind, 4, 512, BASE + 512, BASE + 512, 32, 32, 8) for kind in (NOTE, PROPERTY)]
    made = rewrite(Image([IOCTL], spare=False, more=twice))
    assert made.data is not None
    kinds = [each.kind for each in Elf(made.data).segments]
    assert "PT_NOTE" not in kinds
    assert len(kinds) == 7


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image([IOCTL], trailing=bytes(100)), "data that only the program knows"),
        (Image([IOCTL], memory=1 << 47), "cannot be loaded|no segments"),
        (Image([IOCTL], memory=64 << 20, spare=False), "without much padding"),
        (
            Image([IOCTL], more=[(LOAD, 5, CODE, BASE + 0x9000, BASE + 0x9000, 8, 8, 0x1000)]),
            "not in one segment",
        ),
        (
            Image([IOCTL], more=[(LOAD, 4, 0, BASE + CODE, BASE + CODE, 8, 8, 0x1000)]),
            "overlap",
        ),
        (
            Image([IOCTL], more=[(LOAD, 4, 8, BASE + 0x9000, BASE + 0x9000, 8, 8, 0x1000)]),
            "not aligned",
        ),
        (
            Image([IOCTL], more=[(LOAD, 4, 0, BASE + 0x9000, BASE + 0x9000, 9999999, 9999999, 1)]),
            "cut off",
        ),
    ],
)
def test_files_that_stay_as_they_are(image: Image, reason: str) -> None:
    with pytest.raises(Unsuitable, match=reason):
        rewrite(image)


def test_huge_alignment() -> None:
    made = rewrite(Image([IOCTL], align=1 << 30))
    assert made.data is not None
    assert len(made.data) < DATA + (16 << 10)


def test_no_file_breaks_it() -> None:
    """Cut off, and with damaged bytes: each is refused or made."""
    whole = Image([IOCTL, mov(1) + SYSCALL + RET, RET * 16]).bytes()
    chance = random.Random(16)
    tried = [whole[:size] for size in range(0, len(whole), 61)]
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            area = chance.choice(((0, 420), (CODE, CODE + 64), (TABLE, TABLE + 160)))
            damaged[chance.randrange(*area)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, 4, 8))
        tried.append(bytes(damaged))
    for data in tried:
        try:
            made = rewrite_loaded.rewrite(Elf(data))
        except (InputError, Unsuitable):
            continue
        if made.data is not None:
            assert made.data[CODE + 64 : TABLE] == data[CODE + 64 : TABLE]


@pytest.mark.process
@pytest.mark.parametrize("spare", [True, False])
def test_it_runs(tmp_path: Path, spare: bool) -> None:
    """A normal process has the same result: its calls execute the instruction."""
    at = BASE + CODE
    # call ioctl; write(1, data, 3) by number in rbx; exit_group(7)
    code = CALL + struct.pack("<i", 48 - 5)
    code += bytes.fromhex("bb01000000 bf01000000 be") + struct.pack("<I", BASE + DATA)
    code += bytes.fromhex("ba03000000 89d8 0f05 bf07000000") + mov(231) + SYSCALL
    code += bytes.fromhex("31c0") + RET
    code += b"\xcc" * (48 - len(code))
    image = Image([code, IOCTL], b"ok\n" + bytes(61), spare=spare)
    made = rewrite(image)
    assert image.starts == [at, at + 48]
    assert made.data is not None
    assert made.counts.kept == 0
    program = tmp_path / "program"
    program.write_bytes(made.data)
    program.chmod(0o755)
    done = subprocess.run([program], capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (7, b"ok\n")


def test_what_the_guest_gets(tmp_path: Path) -> None:
    """Programs and shared objects, also in directories; nothing that is not one."""
    whole = Image([IOCTL]).bytes()
    directory = tmp_path / "lib"
    (directory / "deep").mkdir(parents=True)
    for name in ("deep/plugin.so", "ld-linux-x86-64.so.2"):
        (directory / name).write_bytes(whole)
    (directory / "link.so").symlink_to("deep/plugin.so")
    (directory / "text").write_text("no ELF file")
    (directory / "damaged.so").write_bytes(whole[:200])
    program = tmp_path / "program"
    program.write_bytes(whole)
    program.chmod(0o755)
    plain = tmp_path / "plain"
    plain.write_bytes(Image([RET * 16]).bytes())
    given = {"/bin/program": program, "/lib": directory, "/bin/plain": plain}
    made = rewritten.files(given, Store(tmp_path / "cache"))
    assert sorted(made) == ["/bin/program", "/lib/deep/plugin.so"]
    assert made["/bin/program"].stat().st_mode & 0o777 == 0o755
    assert Elf.open(made["/bin/program"]).data[:] == rewrite(Image([IOCTL])).data
    assert program.read_bytes() == whole
