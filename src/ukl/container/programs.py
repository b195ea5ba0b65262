# SPDX-License-Identifier: GPL-2.0
"""What an executable file is, by its first bytes: a script, or a program and its interpreter."""

from __future__ import annotations

import struct
from typing import IO

LINE_MAX = 255
"""Bytes of the first line of a script that Linux reads (BINPRM_BUF_SIZE - 1)."""

NATIVE = "x86-64"

_ELF = b"\x7fELF"
_CLASS64 = b"\x02\x01"  # EI_CLASS, EI_DATA: 64 bits, little endian
_MACHINES = {3: "i386", 40: "arm", 62: NATIVE, 183: "aarch64", 243: "riscv"}  # e_machine
_PT_INTERP = 3
_PATH_MAX = 4096


def head(stream: IO[bytes]) -> str:
    """Return `#!…` for a script, `elf MACHINE INTERPRETER` for a program, or nothing."""
    start = stream.read(LINE_MAX)
    if start.startswith(b"#!"):
        return start.partition(b"\n")[0].decode("utf-8", "surrogateescape")
    if not start.startswith(_ELF) or len(start) < 64:
        return ""
    machine = struct.unpack_from("<H", start, 18)[0]
    name = _MACHINES.get(machine, f"machine-{machine}")
    if start[4:6] != _CLASS64:
        name = "x32" if name == NATIVE else name
    if name != NATIVE:
        return f"elf {name} "
    return f"elf {name} {_interpreter(stream, start)}"


def _interpreter(stream: IO[bytes], start: bytes) -> str:
    """Return PT_INTERP of an ELF file of 64 bits; nothing if it is static."""
    offset = struct.unpack_from("<Q", start, 32)[0]  # e_phoff
    size, count = struct.unpack_from("<HH", start, 54)  # e_phentsize, e_phnum
    stream.seek(offset)
    table = stream.read(size * count)
    for at in range(0, len(table) - 55, size or 56):
        kind, _, where, _, _, length = struct.unpack_from("<IIQQQQ", table, at)
        if kind == _PT_INTERP and length <= _PATH_MAX:
            stream.seek(where)
            return stream.read(length).rstrip(b"\0").decode("utf-8", "surrogateescape")
    return ""


def script(line: str) -> tuple[str, ...]:
    """Return the words of a script's first line: interpreter, and at most one argument. Pure.

    Source: the kernel's fs/binfmt_script.c.
    """
    return tuple(line[2:].strip(" \t").split(None, 1)) if line.startswith("#!") else ()
