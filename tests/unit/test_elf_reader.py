# SPDX-License-Identifier: GPL-2.0
"""The ELF reader on files made byte by byte, and on bytes that are no ELF file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.elf import archive, reader
from ukl.elf.reader import Elf

BUILD_ID = bytes(range(20))


def table(names: list[str]) -> tuple[bytes, dict[str, int]]:
    data, offsets = b"\0", {"": 0}
    for name in names:
        offsets[name] = len(data)
        data += name.encode() + b"\0"
    return data, offsets


def make_elf(symbols: list[tuple[str, int, int, int, int]]) -> bytes:
    """Return an executable with `symbols` (name, info, section, value, size) and a build id."""
    strings, where = table([name for name, *_ in symbols])
    entries = bytes(24) + b"".join(
        struct.pack("<IBBHQQ", where[name], info, 0, section, value, size)
        for name, info, section, value, size in symbols
    )
    note = struct.pack("<III4s", 4, 20, 3, b"GNU") + BUILD_ID
    contents = [
        (".text", 1, 6, b"\x90" * 16, 0, 0),
        (".note.gnu.build-id", 7, 2, note, 0, 0),
        (".symtab", 2, 0, entries, 4, 24),
        (".strtab", 3, 0, strings, 0, 0),
        (".shstrtab", 3, 0, b"", 0, 0),
        (".bss", 8, 3, b"", 0, 0),
    ]
    names, name_at = table([row[0] for row in contents])
    contents[4] = (".shstrtab", 3, 0, names, 0, 0)
    body, headers, offset = b"", bytes(64), 64 + 56
    for name, kind, flags, content, link, entry in contents:
        size = 4096 if name == ".bss" else len(content)
        headers += struct.pack(
            "<IIQQQQIIQQ",
            name_at[name],
            kind,
            flags,
            0,
            offset + len(body),
            size,
            link,
            1,
            8,
            entry,
        )
        body += content
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x1000, 0x100, 0x200, 0x1000)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1",
        2,
        62,
        1,
        0x400078,
        64,
        offset + len(body),
        0,
        64,
        56,
        1,
        64,
        len(contents) + 1,
        5,
    )
    return header + segment + body + headers


GLOBAL, WEAK, LOCAL = 0x10, 0x20, 0x00

SYMBOLS = [
    ("count", LOCAL | 1, 1, 0x10, 4),
    ("main", GLOBAL | 2, 1, 0x20, 8),
    ("count", GLOBAL | 1, 1, 0x30, 4),
    ("remain", GLOBAL | 2, 1, 0x40, 8),
    ("lost", GLOBAL, 0, 0, 0),
    ("perhaps", WEAK, 0, 0, 0),
]


@pytest.fixture
def elf_file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(make_elf(SYMBOLS))
    return path


def test_sections_and_segments(elf_file: Path) -> None:
    elf = Elf.open(elf_file)
    assert elf.machine == "EM_X86_64"
    assert elf.entry == 0x400078
    text, bss = elf.section(".text"), elf.section(".bss")
    assert text is not None
    assert bss is not None
    assert elf.content(text) == b"\x90" * 16
    assert elf.content(bss) == b""
    assert bss.size == 4096
    (segment,) = reader.segments(elf_file)
    assert (segment.kind, segment.flags, segment.address) == ("PT_LOAD", 5, 0x400000)
    assert (segment.file_size, segment.memory_size, segment.physical) == (0x100, 0x200, 0x1000)


def test_build_id(elf_file: Path) -> None:
    assert reader.build_id(elf_file) == BUILD_ID


def test_symbols(elf_file: Path) -> None:
    symbols = Elf.open(elf_file).symbols
    assert [s.name for s in symbols] == [name for name, *_ in SYMBOLS]
    assert [s.name for s in symbols if s.undefined] == ["lost", "perhaps"]


def test_addresses_of_names(elf_file: Path) -> None:
    # Global wins over local; "main" is a tail of "remain"; undefined is not there.
    assert reader.symbols(elf_file, ["count", "main", "lost", "absent"]) == {
        "count": 0x30,
        "main": 0x20,
    }


def test_a_name_stored_as_the_tail_of_another(tmp_path: Path) -> None:
    """Linkers share the string of `main` with that of `remain`."""
    data = bytearray(make_elf(SYMBOLS))
    entry = data.index(struct.pack("<BBHQQ", GLOBAL | 2, 0, 1, 0x20, 8)) - 4
    other = data.index(struct.pack("<BBHQQ", GLOBAL | 2, 0, 1, 0x40, 8)) - 4
    (remain,) = struct.unpack_from("<I", data, other)
    struct.pack_into("<I", data, entry, remain + 2)
    path = tmp_path / "file"
    path.write_bytes(bytes(data))
    assert reader.symbols(path, ["main", "remain"]) == {"main": 0x20, "remain": 0x40}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n",
        b"\x7fELF" + bytes(100),
        make_elf([])[:100],
        make_elf([])[:-30],
        b"\x7fELF\1\1\1" + make_elf([])[7:],
    ],
)
def test_what_is_no_elf_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        _ = Elf.open(path).symbols
    assert caught.value.where == str(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Elf.open(tmp_path / "absent")


def test_index_of_an_archive(tmp_path: Path) -> None:
    names = b"sin\0cos\0"
    index = struct.pack(">III", 2, 100, 100) + names
    header = b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (b"/", 0, 0, 0, 0, len(index))
    path = tmp_path / "libx.a"
    path.write_bytes(archive.MAGIC + header + index)
    assert archive.defined(path) == {"sin", "cos"}


@pytest.mark.parametrize("data", [b"", b"GROUP ( libm-2.36.a )", archive.MAGIC, b"!<arch>\n/ "])
def test_what_has_no_index(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "libx.a"
    path.write_bytes(data)
    assert archive.defined(path) == frozenset()
