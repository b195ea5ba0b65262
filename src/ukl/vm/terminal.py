# SPDX-License-Identifier: GPL-2.0
"""The user's terminal as the terminal of a guest: in raw mode, and restored afterwards."""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field

QUIT = 0x1D
"""Ctrl-]"""

PREFIX = 0x01
"""Ctrl-A; x after it quits (as in QEMU), a second Ctrl-A sends one to the guest."""

HINT = "Ctrl-] or Ctrl-A x ends the guest"


@dataclass(slots=True)
class Keys:
    """Separates the guest's input from the keys that end the guest.

    Without `prefix` only Ctrl-] does: line editors need Ctrl-A.
    """

    quit: bool = False
    prefix: int | None = PREFIX
    _prefixed: bool = field(default=False)

    def feed(self, data: bytes) -> bytes:
        """Take typed bytes and return those for the guest; sets `quit` at the keys that end it."""
        out = bytearray()
        for byte in data:
            if self._prefixed:
                self._prefixed = False
                if byte in b"xX":
                    self.quit = True
                    break
                out += bytes([byte]) if byte == PREFIX else bytes([PREFIX, byte])
            elif byte == self.prefix:
                self._prefixed = True
            elif byte == QUIT:
                self.quit = True
                break
            else:
                out.append(byte)
        return bytes(out)


def is_foreground(descriptor: int) -> bool:
    """Tell whether this process is in a terminal's foreground; reading stops any other."""
    return os.tcgetpgrp(descriptor) == os.getpgrp()


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Set a terminal to raw mode for the block; does nothing with other descriptors."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        # TCSADRAIN, not TCSAFLUSH: the guest gets the keys that were typed ahead.
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int]:
    """Return rows and columns of a terminal, (0, 0) for other descriptors."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return (0, 0)
    return (found.lines, found.columns)
