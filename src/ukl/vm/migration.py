# SPDX-License-Identifier: GPL-2.0
"""QEMU's migration stream: takes the guest's memory out of it. Pure, but for its functions.

What is left has the state of all devices, and a QEMU whose memory is a file loads it. The
stream is documented in QEMU's docs/devel/migration/main.rst; the records of memory are those of
migration/ram.c. Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ukl.base.errors import UklError

MAGIC: Final = b"QEVM\0\0\0\3"

START, PART, END, CONFIGURATION, FOOTER = 1, 2, 3, 7, 0x7E
"""The types of sections, as far as they come before the devices."""

ZERO, SIZES, PAGE, LAST, CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
"""Flags of a record, in the low bits of its address."""

PAGE_SIZE: Final = 4096

RAM: Final = "pc.ram"
"""The block with the guest's memory."""

BOOT: Final = "/rom@genroms/"
"""Blocks with code that has started the kernel; a machine without a kernel has none."""

Read = Callable[[int], bytes]
Write = Callable[[bytes], object]
Put = Callable[[int, bytes], object]


class Malformed(UklError):
    """The stream is not as described."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"QEMU's migration stream has {what}, which ukl does not know",
            remedy="use a QEMU that the documentation names (docs/supported.md)",
        )


class Splitter:
    """Reads a stream by `read`, writes what is left by `write`, and memory by `put`.

    `read` returns as many bytes as asked for, fewer at the end. `put` gets the offset in the
    memory, and a page that is not all zeros.
    """

    def __init__(self, read: Read, write: Write, put: Put) -> None:
        self._read = read
        self._write = write
        self._put = put
        self._block = ""

    def run(self) -> None:
        """Read the whole stream; raises Malformed for one that is not as described."""
        if (magic := self._exactly(8)) != MAGIC:
            raise Malformed(f"the header {magic.hex()}")
        self._write(magic)
        while (kind := self._exactly(1)[0]) != END:
            self._write(bytes([kind]))
            if kind == CONFIGURATION:
                self._copy(self._copied(4))
            elif kind == START:
                self._copied(4)
                if (name := self._name()) != "ram":
                    raise Malformed(f"a section {name}")
                self._copied(8)
                self._section()
            elif kind == PART:
                self._copied(4)
                self._section()
            else:
                raise Malformed(f"a section of the type {kind}")
        self._write(bytes([END]))
        self._copied(4)
        self._section()
        while data := self._read(1 << 16):  # the devices
            self._write(data)

    def _section(self) -> None:
        while True:
            word = self._exactly(8)
            number = int.from_bytes(word, "big")
            address, flags = number & -PAGE_SIZE, number & (PAGE_SIZE - 1)
            if flags == SIZES:
                self._sizes(address)
            elif flags == LAST:
                self._write(word)
                break
            elif flags & ~CONTINUE in {ZERO, PAGE}:
                self._page(word, address, flags)
            else:
                raise Malformed(f"a record with the flags {flags:#x}")
        if (footer := self._exactly(5))[0] != FOOTER:
            raise Malformed(f"no end of a section but {footer.hex()}")
        self._write(footer)

    def _sizes(self, total: int) -> None:
        kept, size = b"", 0
        while total > 0:
            length = self._exactly(1)
            name = self._exactly(length[0])
            used = self._exactly(8)
            total -= int.from_bytes(used, "big")
            if not name.decode().startswith(BOOT):
                kept += length + name + used
                size += int.from_bytes(used, "big")
        self._write((size | SIZES).to_bytes(8, "big") + kept)

    def _page(self, word: bytes, address: int, flags: int) -> None:
        head = word
        if not flags & CONTINUE:
            length = self._exactly(1)
            name = self._exactly(length[0])
            self._block = name.decode()
            head += length + name
        data = self._exactly(1 if flags & ZERO else PAGE_SIZE)
        if self._block == RAM:
            if flags & PAGE:
                self._put(address, data)
            elif data != b"\0":
                self._put(address, data * PAGE_SIZE)
        elif not self._block.startswith(BOOT):
            self._write(head + data)

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) < size:
            raise Malformed("an early end")
        return data

    def _copied(self, size: int) -> bytes:
        data = self._exactly(size)
        self._write(data)
        return data

    def _copy(self, size: bytes) -> None:
        self._copied(int.from_bytes(size, "big"))

    def _name(self) -> str:
        return self._copied(self._copied(1)[0]).decode()
