# SPDX-License-Identifier: GPL-2.0
"""What is made of a crash: registers, frames and lines, the port's stream, the report."""

from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path

import pytest

from ukl.debug import cfi, core, crash, lines
from ukl.debug.crash import Crash, Images, Kind, Place, Trace
from ukl.debug.lines import Line
from ukl.debug.unwind import Frame, Unreadable, words
from ukl.syscalls import frames
from ukl.vm import cores, postmortem
from ukl.vm.cores import Decoder, Header, Malformed, Writer

REGISTERS = """
RAX=0000000000000042 RBX=ffffffff82a00000 RCX=0000000000000000 RDX=0000000000000001
RSI=0 RDI=0000000000000000 RBP=00007ffe00000000 RSP=ffffc90000003e00
R8 =0000000000000008 R9 =0000000000000009 R10=000000000000000a R15=000000000000000f
RIP=ffffffff81000123 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
"""


# --- what QEMU says ---------------------------------------------------------------------


def test_registers_of_the_monitor() -> None:
    found = postmortem.registers(REGISTERS)
    assert found["rip"] == 0xFFFFFFFF81000123
    assert (found["r8"], found["r15"], found["rax"]) == (8, 15, 0x42)


def test_memory_of_the_monitor() -> None:
    data = postmortem.memory("ffff: 0x0000000000000001 0x00000000000000ff\n")
    assert data == b"\1" + bytes(7) + b"\xff" + bytes(7)
    with pytest.raises(Unreadable):
        postmortem.memory("Cannot access memory\n")


def test_words_are_fetched_by_pages_and_across_them() -> None:
    asked: list[int] = []

    def fetch(address: int, size: int) -> bytes:
        asked.append(address)
        if address >= 32:
            raise Unreadable(hex(address))
        return bytes(range(address, address + size))

    read = words(fetch, 16)
    assert read(8) == int.from_bytes(bytes(range(8, 16)), "little")
    assert read(12) == int.from_bytes(bytes(range(12, 20)), "little")
    assert asked == [0, 16]
    with pytest.raises(Unreadable):
        read(28)


def test_the_user_half_of_a_dump_is_put_right() -> None:
    table = 64
    kernel, user = 0xFFFF888000000000, 0xFFFF7FFC00001000  # as QEMU writes both
    headers = [struct.pack("<IIQQQQQQ", 1, 0, 0, at, 0, 0, 0, 0) for at in (0, kernel, user)]
    head = postmortem.canonical(bytes(64) + b"".join(headers), table, len(headers))
    found = [struct.unpack_from("<Q", head, table + 56 * number + 16)[0] for number in range(3)]
    assert found == [0, kernel, 0x00007FFC00001000]


def test_what_panic_calls_is_left_out() -> None:
    names = ["pvpanic_panic_notify", "panic", "oops_end", "main"]
    found = postmortem.from_panic([Frame(1, False, name) for name in names])
    assert [frame.function for frame in found] == names[1:]
    assert len(postmortem.from_panic([Frame(1, False, "main")])) == 1


def test_the_end_of_process_1_is_a_panic_but_no_crash() -> None:
    end = b"[ 1.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x%08x\n"
    assert postmortem.reason_of(end % 0x300, init=True) is None
    assert postmortem.reason_of(end % 11, init=True) == "SIGSEGV, of process 1"
    assert postmortem.reason_of(b"Kernel panic - not syncing: oh\n", init=True) == "oh"
    assert "kill init" in str(postmortem.reason_of(end % 0x300, init=False))


# --- frames -----------------------------------------------------------------------------


def called(table: bytes, at: int, begin: int) -> bytes:
    """Return a table with its only description's begin filled in, as the linker does."""
    [start] = frames.encode([frames.Frame(16, frames.CALLED)]).starts
    return table[:start] + struct.pack("<i", begin - (at + start)) + table[start + 4 :] + bytes(4)


def test_a_function_is_left() -> None:
    at, begin = 0x5000, 0x4000
    data = called(frames.encode([frames.Frame(16, frames.CALLED)]).data, at, begin)
    table = cfi.Table(data, at)
    assert table.find(begin + 16) is None
    rule = table.find(begin + 3)
    assert rule is not None
    memory = {0x8000: 0x1234}
    caller = rule.step({"rsp": 0x8000, "rbx": 7, "rip": begin + 3, "rcx": 9}, memory.__getitem__)
    assert caller == {"rip": 0x1234, "rsp": 0x8008, "rbx": 7}
    assert not rule.signal


def test_a_stub_that_is_jumped_to_is_left() -> None:
    at, begin = 0x5000, 0x4000
    rows = frames.jumped_to(0, 0)
    encoded = frames.encode([frames.Frame(16, rows)])
    data = bytearray(encoded.data)
    struct.pack_into("<i", data, encoded.starts[0], begin - (at + encoded.starts[0]))
    struct.pack_into("<Q", data, encoded.rows[0] + frames.ADDRESS_AT, 0x7777)
    rule = cfi.Table(bytes(data), at).find(begin)
    assert rule is not None
    caller = rule.step({"rsp": 0x8000, "rip": begin}, _nothing)
    assert caller == {"rip": 0x7777, "rsp": 0x8000}
    moved = rule.step({"rsp": 0x8000, "rip": begin}, _nothing, 0x100)
    assert moved == {"rip": 0x7877, "rsp": 0x8000}


def test_damaged_tables_are_no_rules() -> None:
    at, begin = 0x5000, 0x4000
    data = bytearray(called(frames.encode([frames.Frame(16, frames.CALLED)]).data, at, begin))
    data[9] = ord("q")  # of the augmentation
    assert cfi.Table(bytes(data), at).find(begin) is None
    assert cfi.Table(b"\xff" * 40, at).find(begin) is None


def _nothing(address: int) -> int:
    raise Unreadable(hex(address))


def test_nothing_is_known_of_what_cannot_be_read() -> None:
    rule = cfi.Rule({"pc": 0}, False)
    with pytest.raises(KeyError):
        rule.step({}, _nothing)


# --- lines, reasons, reports ------------------------------------------------------------


def test_what_addr2line_says() -> None:
    said = (
        "0x0000000000000649\nchecked\n/ukl/list.h:7\ninner\n/ukl/crash.c:14 (discriminator 2)\n"
        "0x0000000000000022\nserve\n"
        "/c/recipe/.74fcfd05773b8757f257df01ca61767c.dc7l8sb9.tmp/tree/src/a.c:5\n"
        "0x0000000000000020\n??\n??:0\n0x0000000000000021\nmain\nassert.o:?\n"
    )
    found = lines.parse(said)
    assert found[0x649] == (Line("checked", "list.h", 7), Line("inner", "crash.c", 14))
    assert found[0x21] == ()
    assert found[0x22] == (Line("serve", "src/a.c", 5),)


@pytest.mark.process
def test_names_of_cxx_are_made_readable() -> None:
    if shutil.which("c++filt") is None:
        pytest.skip("optional: no c++filt on this machine")
    names = ["main", "_ZN4shop5Order5checkEi", "_ZSt9terminatev"]
    assert lines.demangle(names) == {
        "_ZN4shop5Order5checkEi": "shop::Order::check(int)",
        "_ZSt9terminatev": "std::terminate()",
    }
    assert lines.demangle([]) == {}


@pytest.mark.parametrize(
    ("number", "code", "address", "text"),
    [
        (11, 1, 8, "SIGSEGV at address 0x8: nothing is mapped there"),
        (11, 0x80, 0, "SIGSEGV: a non-canonical address or a privileged instruction"),
        (6, -6, 0, "SIGABRT"),
        (4, 2, 0x400000, "SIGILL at address 0x400000: invalid instruction"),
        (99, 0, 0, "signal 99"),
    ],
)
def test_reasons(number: int, code: int, address: int, text: str) -> None:
    assert core.describe(number, code, address) == text


REPORT = Crash(
    guest="web",
    application="server",
    kind=Kind.PANIC,
    reason="oh no",
    time=1.5,
    traces=(
        Trace(
            "processor 0",
            (
                Place(0xFFFFFFFF81000000, "panic", 0x45, True),
                Place(0x400000, "checked", 0, False, "list.h", 7, True),
                Place(0x400000, "main", 0x10, False, "main.c", 3),
            ),
        ),
    ),
    images=Images(Path("/x/vmlinux"), 4096, None, Path("/src")),
    dump=Path("/x/dump.gz"),
)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    crash.write(REPORT, tmp_path)
    assert crash.read(tmp_path) == REPORT
    (tmp_path / crash.REPORT).write_text('{"version": 99}')
    assert crash.read(tmp_path) is None
    assert crash.read(tmp_path / "nowhere") is None


def test_a_report_as_text() -> None:
    said = [" ".join(line.split()) for line in crash.lines_about(REPORT)]
    assert said == [
        "oh no",
        "processor 0:",
        "#0 panic+0x45",
        "-- application --",
        "#1 checked (inlined) list.h:7",
        "#2 main+0x10 main.c:3",
        "dump: /x/dump.gz",
        "open it: ukl gdb web --dump",
    ]


def test_images_are_linked(tmp_path: Path) -> None:
    program = tmp_path / "vmlinux"
    program.write_bytes(b"kernel")
    report = tmp_path / "report"
    report.mkdir()
    kept = crash.link_images(Images(program, 7, tmp_path / "nothing"), report)
    assert kept == Images(report / "vmlinux", 7, None)
    program.unlink()
    assert kept.program.read_bytes() == b"kernel"


# --- the port ---------------------------------------------------------------------------


def stream(*pieces: bytes, header: str = "ukl-core 1 34 11 ffffffff8a000000 !ukl!a b") -> bytes:
    sent = [len(piece).to_bytes(4, "little") + piece for piece in pieces]
    return f"{header}\n".encode() + b"".join(sent)


def test_a_core_is_cut_into_pieces_wherever_it_breaks() -> None:
    data = stream(b"abc", b"d", b"") + stream(b"second", b"")
    wanted = [
        Header(34, 11, 0xFFFFFFFF8A000000, "/ukl/a b"),
        *(b"abc", b"d", b""),
        Header(34, 11, 0xFFFFFFFF8A000000, "/ukl/a b"),
        *(b"second", b""),
    ]
    decoder = Decoder()
    assert decoder.feed(data) == wanted
    decoder = Decoder()
    assert [each for byte in data for each in decoder.feed(bytes([byte]))] == wanted


def test_a_core_that_was_cut_short_is_followed_by_the_next() -> None:
    found = Decoder().feed(stream(b"abc") + stream(b"x", b""))
    assert [isinstance(each, Header) for each in found] == [True, False, True, False, False]


@pytest.mark.parametrize("data", [b"x" * 5000, b"hello\n", stream() + b"\xff\xff\xff\x7f"])
def test_what_is_no_core(data: bytes) -> None:
    with pytest.raises(Malformed):
        Decoder().feed(data)


def test_a_core_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "LIMIT", 6)
    path = tmp_path / "dump.gz"
    writer = Writer(path)
    for piece in (b"abc", b"def", b"more"):
        writer.write(piece)
    assert not path.exists()
    writer.done()
    assert gzip.decompress(path.read_bytes()) == b"abcdef"
    other = Writer(tmp_path / "other")
    other.drop()
    assert [each.name for each in tmp_path.iterdir()] == ["dump.gz"]


def test_an_uncompressed_copy_has_holes(tmp_path: Path) -> None:
    data = bytes(3 << 20) + b"end" + bytes(2 << 20)
    path = tmp_path / "dump.gz"
    path.write_bytes(gzip.compress(data, 1))
    with postmortem.decompressed(path) as copy:
        assert copy.read_bytes() == data
    assert not copy.exists()
