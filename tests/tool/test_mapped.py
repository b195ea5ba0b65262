# SPDX-License-Identifier: GPL-2.0
"""Names of functions in the files that a process has mapped: here those of this test's process."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from ukl.debug.mapped import Row, Space, rows
from ukl.debug.unwind import Program
from ukl.elf.reader import Elf

pytestmark = pytest.mark.tool

MAPS = """\
55d0a0000000-55d0a0001000 r--p 00000000 fe:00 12 /usr/bin/prog
55d0a0001000-55d0a0002000 r-xp 00001000 fe:00 12 /usr/bin/prog
7f0000000000-7f0000001000 r-xp 00000000 fe:00 13                         /lib/a b.so
7f0000001000-7f0000002000 r-xp 00000000 fe:00 14                         /lib/gone.so (deleted)
7f0000003000-7f0000004000 rwxp 00000000 00:00 0
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0                          [vdso]
"""


def test_executable_mappings_of_files() -> None:
    assert rows(MAPS) == [
        Row(0x55D0A0001000, 0x55D0A0002000, 0x1000, "/usr/bin/prog"),
        Row(0x7F0000000000, 0x7F0000001000, 0, "/lib/a b.so"),
    ]


def test_a_function_of_a_shared_object() -> None:
    maps = Path("/proc/self/maps").read_text()
    address = ctypes.cast(ctypes.CDLL(None).qsort, ctypes.c_void_p).value
    assert address is not None
    nothing = Program(Elf.open(Path("/bin/busybox")))
    space = Space(maps, lambda path: Elf.open(Path(path)), nothing)
    assert space.name(address + 3) == ("qsort", 3)
    assert space.is_kernel(address) is False
    # Its frame is described, also in a file without symbols.
    frame = space.step({"rip": address, "rsp": 0x1000}, lambda at: 0x1234, called=False)
    assert frame is not None
    assert (frame[0]["rip"], frame[0]["rsp"]) == (0x1234, 0x1008)
    unknown = Space(maps, lambda path: None, nothing)
    assert unknown.name(address) == ("", 0)
    assert unknown.is_kernel(address) is None
