# SPDX-License-Identifier: GPL-2.0
"""The guest's console: filters its output, and reads the one number needed from it.

Whether a run succeeded is never read from the console, with one documented
exception: when the application is PID 1, no process is left in the guest to report, and
the kernel's panic about its end carries the exit code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

INIT_DIED = re.compile(
    rb"Kernel panic - not syncing: Attempted to kill init! exitcode=0x([0-9a-f]{8})"
)
PANIC = re.compile(rb"Kernel panic - not syncing: ([^\r\n]*)")

_UNPACKING = re.compile(rb"\] Initramfs unpacking failed: ([^\r\n]*)")
"""The kernel's init/initramfs.c, do_populate_rootfs()."""

_STAMPED_PANIC = re.compile(rb"\[ *\d+\.\d+\] " + INIT_DIED.pattern)
_MAYBE_PANIC = re.compile(rb"(?:\[ *[\d.]*|\[ *\d+\.\d+\][^\r\n]{0,120}|\r)\Z")


def last_lines(data: bytes, count: int = 15) -> str:
    """Return the last lines, without control characters and escape sequences."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    text = "".join(char for char in text if char.isprintable() or char in "\n\t")
    return "\n".join(text.rstrip().splitlines()[-count:])


def panic_lines(data: bytes, count: int = 15) -> str:
    """Return the first lines of the last panic's report: its cause, and part of the trace."""
    found = list(PANIC.finditer(data))
    if not found:
        return last_lines(data, count)
    # The cause (BUG:, the registers) is printed before the panic, the trace after it.
    begin = data.rfind(b"\n", 0, max(0, found[-1].start() - 400)) + 1
    return "\n".join(last_lines(data[begin:], 1 << 20).splitlines()[:count])


def init_exit(data: bytes) -> tuple[int | None, int | None] | None:
    """Return (exit status, None) or (None, signal) of the application that was PID 1.

    None if the console does not show that it ended. The kernel prints the status in the
    format of wait(2): the signal in the low 7 bits, or else the exit status in bits 8 to 15.
    """
    found = INIT_DIED.findall(data)
    if not found:
        return None
    value = int(found[-1], 16)
    signal = value & 0x7F
    return (None, signal) if signal else (value >> 8 & 0xFF, None)


def unpacking_error(data: bytes) -> str | None:
    """Return the kernel's reason for an initrd that is not unpacked, None if it is."""
    found = _UNPACKING.findall(data)
    return found[-1].decode("utf-8", "replace").strip() if found else None


def panic_reason(data: bytes) -> str | None:
    """Return the message of the kernel's panic, None if it did not panic."""
    found = PANIC.findall(data)
    return found[-1].decode("utf-8", "replace").strip() if found else None


@dataclass(slots=True)
class InitFilter:
    """Removes the panic that normally ends an application as PID 1 from the output.

    It also turns the terminal's CR LF into LF, which the guest's init otherwise switches
    off. Bytes that may begin the panic's line are held back.
    """

    _held: bytes = field(default=b"")
    _ended: bool = field(default=False)

    def feed(self, data: bytes) -> bytes:
        """Take console bytes and return those to show."""
        if self._ended:
            return b""
        data = self._held + data
        self._held = b""
        if match := _STAMPED_PANIC.search(data):
            self._ended = True
            return data[: match.start()].replace(b"\r\n", b"\n")
        if match := _MAYBE_PANIC.search(data):
            self._held = data[match.start() :]
            data = data[: match.start()]
        return data.replace(b"\r\n", b"\n")

    def flush(self) -> bytes:
        """Return the bytes held back, at the end of the output."""
        held, self._held = self._held, b""
        return held.replace(b"\r\n", b"\n")
