# SPDX-License-Identifier: GPL-2.0
"""Facts about a linked kernel: System.map, build id, and the limit of an application's data."""

from __future__ import annotations

import struct
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.base.model import Code, Returns
from ukl.elf import described
from ukl.elf.reader import Elf

KERNEL_BASE = 0xFFFFFFFF80000000
"""The start of x86-64's kernel text mapping (__START_KERNEL_map)."""

DATA_BASE = 0x400000
"""The address at which the application's data is linked, in the user half."""

TEXT_START = "__ukl_text_start"
"""The linker script's symbol at which the application's text begins."""

_MAGIC, _RELOCATABLE = 0x202, 0x234
"""Offsets of `HdrS` and `relocatable_kernel` in a bzImage."""

FILE_TEXT = 0x401000
"""Where user.lds puts an application's text, as crt.S knows."""

_START = "ukl_app___executable_start"

NT_GNU_BUILD_ID = 3
_PT_NOTE = 4
MARKER_MAGIC = b"\177UKL"
MARKER_VERSION = 1
MARKER_RET = 1
MARKER_TREE = 0x10
PROGRAM_MAGIC = b"\177UKP"
PATH_SIZE = 240
_NOTE_OWNER, _NOTE_KIND = b"UKL\0", 1
_FLAGS_AT, _PROGRAM_FLAGS_AT, _ELF_FLAGS_AT = 60, 8, described.NOTE_AT + 16 + 60
CODE_FLAGS = {Code.NONE: 0, Code.FILES: 0x2, Code.JIT: 0x6, Code.WX: 0xE}
"""The kernel's include/uapi/linux/ukl.h."""


def read_map(file: Path) -> dict[str, tuple[int, str]]:
    """Return name -> (address, type letter) of a System.map; of local duplicates the last."""
    symbols = {}
    for line in file.read_text().splitlines():
        address, kind, name = line.split(" ", 2)
        symbols[name] = (int(address, 16), kind)
    return symbols


def _address(system_map: bytes, name: str) -> int | None:
    """Return the address of a symbol of a System.map; None if it has no such symbol."""
    # Faster than read_map(): every `ukl` command looks up one of 40,000 lines.
    end = system_map.find(f" {name}\n".encode())
    if end < 0:
        return None
    return int(system_map[system_map.rfind(b"\n", 0, end) + 1 : end].split()[0], 16)


def physical_start(system_map: Path) -> int:
    """Return the kernel's CONFIG_PHYSICAL_START, at which its text is linked."""
    address = _address(system_map.read_bytes(), "_text")
    if address is None:
        raise UklError("this System.map has no symbol _text", where=system_map)
    return address - KERNEL_BASE


def data_limit(system_map: Path) -> int:
    """Return how many bytes the application's data may take from its base on.

    Text at the address T can refer to data below T - KERNEL_BASE (a displacement of
    32 bits, sign-extended). 0 for a kernel without CONFIG_UKL.
    """
    address = _address(system_map.read_bytes(), TEXT_START)
    return 0 if address is None else max(0, address - KERNEL_BASE - DATA_BASE)


def is_relocatable(bzimage: Path) -> bool:
    """Tell whether the decompressor may relocate the kernel (`relocatable_kernel`).

    Source: the kernel's Documentation/arch/x86/boot.rst.
    """
    with bzimage.open("rb") as stream:
        head = stream.read(_RELOCATABLE + 1)
    return head[_MAGIC : _MAGIC + 4] != b"HdrS" or head[_RELOCATABLE] != 0


def build_id(vmlinux: Path) -> bytes:
    """Return the GNU build id (20 bytes) from a program header of type PT_NOTE."""
    with vmlinux.open("rb") as stream:
        head = stream.read(64)
        if head[:6] != b"\177ELF\2\1":
            raise UklError("not a little-endian 64-bit ELF file", where=vmlinux)
        offset, size, count = (
            struct.unpack_from("<Q", head, 32)[0],
            *struct.unpack_from("<HH", head, 54),
        )
        stream.seek(offset)
        table = stream.read(size * count)
        for index in range(count):
            kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", table, index * size)
            if kind != _PT_NOTE:
                continue
            stream.seek(start)
            found = _note(stream.read(length))
            if found is not None:
                return found
    raise UklError("this vmlinux has no build id", where=vmlinux)


def _note(notes: bytes) -> bytes | None:
    place = 0
    while place + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, place)
        name = notes[place + 12 : place + 12 + name_size]
        place += 12 + (name_size + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and name == b"GNU\0":
            return notes[place : place + size]
        place += size + 3 & ~3
    return None


def marker(name: str, identity: bytes) -> bytes:
    """Return the marker file (64 bytes) whose execve() starts the application `name`.

    `identity` is the build id of the kernel. The flags are 0; `with_flags` sets them.
    """
    encoded = name.encode("ascii")
    if not 0 < len(encoded) < 32 or len(identity) != 20:
        raise UklError(
            f"no marker for {name!r}: a name has 1 to 31 characters, a build id 20 bytes"
        )
    return struct.pack("<4sI32s20s4x", MARKER_MAGIC, MARKER_VERSION, encoded, identity)


def elf_marker(name: str, identity: bytes, program: Path) -> bytes:
    """Return that marker file as an ELF file that describes the executable `program`.

    Or as a plain one if the text of `program` is not where crt.S assumes it.
    """
    plain = marker(name, identity)
    elf = Elf.open(program)
    if elf.addresses([_START]).get(_START) != FILE_TEXT:
        return plain
    return described.described(elf, ".ukl.text", described.note(_NOTE_OWNER, _NOTE_KIND, plain))


def program_marker(path: str) -> bytes:
    """Return the marker file (252 bytes) whose execve() starts the program at `path` in ring 0.

    Raises InputError for a path that it cannot hold. `with_flags` sets the flags.
    """
    encoded = path.encode("utf-8", "surrogateescape")
    if len(encoded) >= PATH_SIZE or not encoded.startswith(b"/"):
        raise InputError(
            f"the path of the program must be absolute and shorter than {PATH_SIZE} bytes: {path}"
        )
    return struct.pack(f"<4sII{PATH_SIZE}s", PROGRAM_MAGIC, MARKER_VERSION, 0, encoded)


def with_flags(
    marker_bytes: bytes, returns: Returns, code: Code = Code.NONE, *, tree: bool = False
) -> bytes:
    """Return the marker with the flags for returns, and for what may be executed.

    `tree`: what the program executes is in application mode, too.
    """
    flags = MARKER_RET if returns is Returns.RET else 0
    at = _FLAGS_AT
    if marker_bytes.startswith(PROGRAM_MAGIC):
        at = _PROGRAM_FLAGS_AT
        code = Code.FILES if code is Code.NONE else code
    elif not marker_bytes.startswith(MARKER_MAGIC):
        at = _ELF_FLAGS_AT
    flags |= CODE_FLAGS[code] | (MARKER_TREE if tree else 0)
    return marker_bytes[:at] + struct.pack("<I", flags) + marker_bytes[at + 4 :]
