# SPDX-License-Identifier: GPL-2.0
"""ELF files that describe an executable: its symbols and debug information without its code.

The marker file of an application is one, so that what a program looks for in its own
executable is there: symbolizers look for symbols and lines, others for what was appended.
"""

from __future__ import annotations

import struct

from ukl.elf.reader import EHDR, PHDR, SHDR, SHF_ALLOC, Elf

NOTE_AT = 64
"""Where the marker's note is: directly after the ELF header (struct ukl_marker_note)."""

_ET_DYN = 3
_PT_LOAD, _PT_INTERP, _PT_NOTE = 1, 3, 4
_SHT_NOTE, _SHT_NOBITS = 7, 8
_READ, _EXECUTE = 4, 1
_PAGE = 4096
_INTERPRETER = b"\0"
"""Makes execve() fail with ENOEXEC where the kernel does not take it for its marker file: the size
of this segment has to be 2 or more (fs/binfmt_elf.c, load_elf_binary())."""


def described(elf: Elf, text: str, note: bytes) -> bytes:
    """Return an ELF file with `note`, and with all of `elf` but code and data.

    Its type is ET_DYN: the addresses of the section `text` are relative to where it is loaded.
    Its other sections keep theirs, which mean nothing in an application.
    """
    code = elf.section(text)
    assert code is not None
    # readelf shows either the notes of sections or those of segments.
    for section in elf.sections:
        if section.kind == "SHT_NOTE":
            note += elf.content(section)
    headers_at = NOTE_AT + len(note)
    interpreter_at = headers_at + 3 * PHDR.size
    data = bytearray(interpreter_at) + _INTERPRETER
    rows = []
    for row in elf.raw_sections():
        name, kind, flags, address, offset, size, link, info, align, entry = row
        if kind == _SHT_NOTE:
            offset, size = NOTE_AT, len(note)
        elif flags & SHF_ALLOC:
            kind = _SHT_NOBITS
        elif kind not in {0, _SHT_NOBITS}:
            data += bytes(-len(data) % max(1, align))
            content = elf.data[offset : offset + size]
            offset = len(data)
            data += content
        rows.append(SHDR.pack(name, kind, flags, address, offset, size, link, info, align, entry))
    data += bytes(-len(data) % 8)
    sections_at = len(data)
    data += b"".join(rows)
    segments = (
        (_PT_NOTE, _READ, NOTE_AT, 0, 0, len(note), len(note), 4),
        (_PT_INTERP, _READ, interpreter_at, 0, 0, len(_INTERPRETER), len(_INTERPRETER), 1),
        (_PT_LOAD, _READ | _EXECUTE, 0, code.address, code.address, 0, code.size, _PAGE),
    )
    data[headers_at:interpreter_at] = b"".join(PHDR.pack(*each) for each in segments)
    header = list(EHDR.unpack_from(elf.data, 16))
    header[0] = _ET_DYN
    header[4:6] = headers_at, sections_at
    header[9] = len(segments)
    data[:NOTE_AT] = bytes(elf.data[:16]) + EHDR.pack(*header)
    data[NOTE_AT:headers_at] = note
    return bytes(data)


def appended(elf: Elf) -> tuple[int, bytes]:
    """Return what follows the ELF file in its file, and at which offset: data of the program."""
    raw = elf.raw_sections()
    first, count, size = elf.section_headers
    ends = [each.offset + each.file_size for each in elf.segments]
    ends += [offset + size for _, kind, _, _, offset, size, *_ in raw if kind != _SHT_NOBITS]
    end = max([NOTE_AT, first + count * size, *ends])
    return end, bytes(elf.data[end:])


def with_appended(content: bytes, end: int, data: bytes) -> bytes:
    """Return `content` followed by `data`: at the offset `end` of the program, where possible."""
    return content + bytes(max(0, end - len(content))) + data if data else content


def note(owner: bytes, kind: int, content: bytes) -> bytes:
    """Return an ELF note; the sizes of `owner` and `content` are multiples of 4."""
    return struct.pack("<III", len(owner), len(content), kind) + owner + content
