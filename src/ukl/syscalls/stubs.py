# SPDX-License-Identifier: GPL-2.0
"""The stubs that the `syscall` instructions of a finished file become calls of.

In ring 0 a stub jumps to an entry of the kernel, whose address it finds at a fixed place that
only ring 0 can read (UKL_ENTRIES). Elsewhere it executes `syscall`. In front of it is a word
that says where the kernel repeats the system call after a signal (UKL_STUB_MARK).

Source: include/uapi/linux/ukl.h and Documentation/arch/x86/ukl.rst of the patched kernel;
Intel SDM, volume 2, for the encodings.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ukl.syscalls import frames

ENTRIES = -0x600000
"""UKL_ENTRIES, as a displacement of 32 bits."""

ANY = 512
"""UKL_ENTRY_ANY: the entry for the number in rax, which keeps all registers but rcx and r11."""

MARK = 0x4C4B5500
"""UKL_STUB_MARK."""

NEW_STACK = (56, 58, 435)
"""clone, vfork and clone3: a child uses the same stack, or returns on another one."""

_ALIGN = 16
_LEVEL = bytes.fromhex("8cc9 f6c103 75")  # mov %cs,%ecx; test $3,%cl; jnz ...
_ENTER = bytes.fromhex("ff2425")  # jmp *...
_CALL = b"\xe8"
_NUMBER = b"\xb8"  # mov $...,%eax
_SYSCALL, _RET, _JMP = b"\x0f\x05", b"\xc3", b"\xe9"
_POP = bytes.fromhex("488d642408")  # lea 8(%rsp),%rsp
_INT3 = b"\xcc"


@dataclass(slots=True)
class Stubs:
    """The stubs' code, from the address `base` on.

    `popped` are the bounds, in `code`, of instructions with the return address below the stack
    pointer. `shared` are the stubs that several sites can call.
    """

    base: int
    code: bytearray = field(default_factory=bytearray)
    popped: list[tuple[int, int]] = field(default_factory=list)
    shared: dict[tuple[bytes, int, int | None], int] = field(default_factory=dict)

    def add(self, before: bytes, entry: int, number: int | None, back: int | None) -> int:
        """Return the address of a stub that executes `before` and jumps to an entry.

        `number` is what it loads into rax itself outside of ring 0; None: rax has it already.
        With `back`, the address after the site, it is not known which system call this is. A
        child that uses the same stack, or another one, does not use what the call has pushed.
        """
        key = before, entry, number
        if back is None and key in self.shared:
            return self.shared[key]
        self.code += _INT3 * (-(len(self.code) + 4) % _ALIGN)
        mark = len(self.code)
        start = mark + 4
        code = before + _LEVEL + bytes([len(_ENTER) + 4]) + _ENTER
        code += struct.pack("<i", ENTRIES + 8 * entry)
        if number is not None:
            code += _NUMBER + struct.pack("<I", number)
        if back is not None:
            code += _unless_child(_SYSCALL + _RET)
        again = len(code)
        if again > 0xFF:
            raise ValueError("the stub is too long")
        code += _SYSCALL + _RET
        self.code += struct.pack("<I", MARK | again) + code
        if back is not None:
            self._child(b"", back)
        if back is None:
            self.shared[key] = self.base + start
        return self.base + start

    def add_around(
        self, before: bytes, after: bytes, entry: int, back: int, *, certain: bool
    ) -> int:
        """Return the address of a stub that calls another one, between `before` and `after`.

        `back` is the address after the site; `certain`: it is known which system call this is.
        """
        inner = self.add(b"", entry, None, None)
        self.code += _INT3 * (-len(self.code) % _ALIGN)
        start = len(self.code)
        self.code += before
        rest = _CALL + bytes(4) + after + _RET
        if not certain:
            self.code += _unless_child(rest)
        place = self.base + len(self.code) + len(_CALL) + 4
        self.code += _CALL + struct.pack("<i", inner - place) + after + _RET
        if not certain:
            self._child(after, back)
        return self.base + start

    def _child(self, after: bytes, back: int) -> None:
        """Add what makes the system call without the return address, and goes to `back`."""
        self.code += _POP
        begin = len(self.code)
        self.code += _SYSCALL + after + _JMP
        self.code += struct.pack("<i", back - (self.base + len(self.code) + 4))
        self.popped.append((begin, len(self.code)))

    def rows(self) -> frames.Rows:
        """Return the call frame instructions for all stubs together."""
        rows, at = b"", 0
        for begin, end in self.popped:
            rows += frames.popped(begin - at, end - begin)
            at = end
        return rows


def _unless_child(rest: bytes) -> bytes:
    """Return code that jumps over `rest`, which follows it, for the numbers in NEW_STACK."""
    code = b""
    for child in reversed(NEW_STACK):
        over = len(code) + len(rest)
        if over > 0x7F:
            raise ValueError("the stub is too long")
        code = b"\x3d" + struct.pack("<I", child) + b"\x74" + bytes([over]) + code
    return code
