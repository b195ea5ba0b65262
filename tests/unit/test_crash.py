# SPDX-License-Identifier: GPL-2.0
"""What is made of a crash: registers, frames and lines, the port's stream, the report."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ukl.base.errors import InputError
from ukl.base.model import Mode
from ukl.debug import cfi, core, crash, gdb_script, lines, mapped
from ukl.debug.core import Core
from ukl.debug.crash import Crash, Images, Kind, Place, Trace
from ukl.debug.lines import Line
from ukl.debug.mapped import Row
from ukl.debug.orc import PT_REGS
from ukl.debug.unwind import Frame, Unreadable, words
from ukl.elf.reader import Elf, Segment
from ukl.host.store import Store
from ukl.observe import crashes
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


@pytest.mark.parametrize(
    ("kernel", "user", "right"),  # as QEMU writes the first two
    [
        (0xFFFF888000000000, 0xFFFF7FFC00001000, 0x00007FFC00001000),
        (0xFF6C603180003000, 0xFE007FFC00001000, 0x00007FFC00001000),  # five levels
        (0xFFFFFFFF81000000, 0xFEFF7FFC00001000, 0x00FF7FFC00001000),
    ],
)
def test_the_user_half_of_a_dump_is_put_right(kernel: int, user: int, right: int) -> None:
    table = 64
    headers = [struct.pack("<IIQQQQQQ", 1, 0, 0, at, 0, 0, 0, 0) for at in (0, kernel, user)]
    head = postmortem.canonical(bytes(64) + b"".join(headers), table, len(headers))
    found = [struct.unpack_from("<Q", head, table + 56 * number + 16)[0] for number in range(3)]
    assert found == [0, kernel, right]


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


TEXT, HEAP, STACK = 0x401000, 0x600000, 0x7FFE0000


def core_file(ip: int, code: int, address: int, heap: int) -> Core:
    """Return a core with text (R-X), stack (RW-) and other memory with the flags `heap`.

    The text is a page of a file, and the other memory is another.
    """

    def note(kind: int, content: bytes) -> bytes:
        return struct.pack("<III", 5, len(content), kind) + b"CORE\0\0\0\0" + content

    values = {"rip": ip, "rsp": STACK + 64}
    registers = [values.get(name, 0) for name in PT_REGS]
    status = bytes(112) + struct.pack(f"<{len(registers)}Q", *registers)
    info = struct.pack("<iiiiQ", 11, 0, code, 0, address)
    files = struct.pack("<8Q", 2, 4096, TEXT, TEXT + 4096, 1, HEAP, HEAP + 4096, 3)
    files += b"/usr/bin/a b\0/usr/bin/a b\0\0\0"  # notes are padded
    contents = {core.NT_PRSTATUS: status, core.NT_SIGINFO: info, core.NT_FILE: files}
    notes = b"".join(note(kind, content) for kind, content in contents.items())
    loads = [
        Segment("PT_LOAD", flags, 0, at, 0, 0, 4096, 1)
        for at, flags in ((TEXT, 5), (HEAP, heap), (STACK, 6))
    ]
    segments = [Segment("PT_NOTE", 0, 0, 0, 0, len(notes), 0, 4), *loads]
    return Core(cast(Elf, SimpleNamespace(segments=segments, data=notes)))


@pytest.mark.parametrize(
    ("ip", "code", "address", "heap", "ring0", "why"),
    [
        (HEAP, 2, HEAP, 5, True, core.NO_CODE),
        (HEAP, 2, HEAP, 6, True, core.NOT_EXECUTABLE),
        (HEAP, 2, HEAP, 6, False, core.NOT_EXECUTABLE),
        (STACK, 2, STACK, 6, True, core.NO_STACK),
        (STACK, 2, STACK, 6, False, core.NOT_EXECUTABLE),
        (STACK, -6, 0, 6, True, core.NO_STACK),  # raised again by a handler
        (HEAP, -6, 0, 5, True, ""),
        (TEXT, 2, TEXT, 6, False, "access is not permitted"),
        (HEAP, 2, TEXT, 7, True, "access is not permitted"),  # allowed code writes to text
        (HEAP, 1, 8, 5, True, "nothing is mapped there"),
        (0, 1, 0, 6, True, "nothing is mapped there"),
    ],
)
def test_code_that_is_not_executed(
    ip: int, code: int, address: int, heap: int, *, ring0: bool, why: str
) -> None:
    at = f" at address {address:#x}" if code > 0 else ""
    said = core_file(ip, code, address, heap).reason(11, ring0=ring0)
    assert said == f"SIGSEGV{at}" + (f": {why}" if why else "")


def test_the_files_of_a_core() -> None:
    found = core_file(0, 0, 0, 6)
    assert found.files() == [
        (TEXT, TEXT + 4096, 4096, "/usr/bin/a b"),
        (HEAP, HEAP + 4096, 3 * 4096, "/usr/bin/a b"),
    ]
    assert found.maps() == "401000-402000 r-xp 1000 00:00 0 /usr/bin/a b"
    assert mapped.rows(found.maps()) == [Row(TEXT, TEXT + 4096, 4096, "/usr/bin/a b")]


@pytest.mark.parametrize(
    ("flags", "offset", "size", "path", "same"),
    [
        (5, 4096, 4096, "/usr/bin/a b", True),
        (5, 4096 + 16, 100, "/usr/bin/a b", True),
        (5, 4096, 4097, "/usr/bin/a b", False),
        (5, 0, 4096, "/usr/bin/a b", False),
        (5, 4096, 4096, "/usr/bin/b", False),
        (4, 4096, 4096, "/usr/bin/a b", False),
    ],
)
def test_a_file_of_a_core(flags: int, offset: int, size: int, path: str, *, same: bool) -> None:
    segments = [Segment("PT_LOAD", flags, offset, 0, 0, size, size, 4096)]
    file = cast(Elf, SimpleNamespace(segments=segments))
    assert core_file(0, 0, 0, 6).has(file, path) == same


def test_what_a_guest_names_is_opened_only_if_it_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("text")
    opened = mapped.opener(core_file(0, 0, 0, 6), "/usr/bin/a b", tmp_path / "gone")
    for name in (tmp_path / "fifo", tmp_path / "text", tmp_path, "/usr/bin/a b", "", "/dev/zero"):
        assert opened(str(name)) is None


def test_the_symbols_of_files_that_were_moved() -> None:
    files = {Path("/x/a b"): 0x1000, Path("/x/c"): 0}
    assert gdb_script.script_of_files(Path("/tmp/core"), files).splitlines() == [
        "set confirm off",
        "core-file /tmp/core",
        'add-symbol-file "/x/a b" -o 0x1000',
        'add-symbol-file "/x/c" -o 0x0',
    ]


def test_a_process_is_named_with_its_mode() -> None:
    as_is = {"/usr/bin/perl": Mode.UNIKERNEL}
    subject = postmortem.Subject("web", "server", Path("vmlinux"), as_is=as_is)
    assert [
        postmortem.whose(Header(7, 11, 0, path), subject)
        for path in ("/ukl/server", "/user/server", "/usr/bin/perl", "/bin/sh", "")
    ] == [
        "process 7 (/ukl/server, unikernel)",
        "process 7 (/user/server, process)",
        "process 7 (/usr/bin/perl, unikernel)",
        "process 7 (/bin/sh)",
        "process 7 (server)",
    ]


def test_each_crash_of_a_run_has_a_name(store: Store) -> None:
    run = store.own("runs") / "web-1"
    for number in (1, 2):
        directory = run / f"crash-{number}"
        directory.mkdir(parents=True)
        report = replace(REPORT, time=float(number), dump=directory / "dump.gz")
        crash.write(report, directory)
        assert (
            crash.lines_about(report)[-1].strip() == f"open it: ukl gdb web/crash-{number} --dump"
        )
        [found] = crashes.of(store, f"web/crash-{number}")
        assert found.report == report
    assert [each.report.time for each in crashes.of(store, "web")] == [2, 1]
    with pytest.raises(InputError):
        crashes.of(store, "web/crash-3")


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
