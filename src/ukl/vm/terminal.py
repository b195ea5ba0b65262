# SPDX-License-Identifier: GPL-2.0
"""The terminal of the person, as the terminal of a guest: raw, and restored afterwards."""

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
"""Ctrl-A; then x quits (as in QEMU), and Ctrl-A is Ctrl-A itself."""

HINT = "Ctrl-] or Ctrl-A x ends the guest"


@dataclass(slots=True)
class Keys:
    """Tells what is for the guest from the keys that end it."""

    quit: bool = False
    _prefixed: bool = field(default=False)

    def feed(self, data: bytes) -> bytes:
        """Take what was typed and return what the guest gets; `quit` is then set or not."""
        out = bytearray()
        for byte in data:
            if self._prefixed:
                self._prefixed = False
                if byte in b"xX":
                    self.quit = True
                    break
                out += bytes([byte]) if byte == PREFIX else bytes([PREFIX, byte])
            elif byte == PREFIX:
                self._prefixed = True
            elif byte == QUIT:
                self.quit = True
                break
            else:
                out.append(byte)
        return bytes(out)


def is_ours(descriptor: int) -> bool:
    """Say whether we are in the foreground of a terminal; reading from it stops others."""
    return os.tcgetpgrp(descriptor) == os.getpgrp()


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Set a terminal to raw mode for the block; does nothing with what is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        # TCSADRAIN, not FLUSH: what is typed ahead is for the guest.
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int]:
    """Return rows and columns of a terminal, (0, 0) of what is none."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return (0, 0)
    return (found.lines, found.columns)
