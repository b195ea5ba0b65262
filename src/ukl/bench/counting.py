# SPDX-License-Identifier: GPL-2.0
"""Counts what an emulated guest executes: instructions, and events that cost a virtual machine.

A plugin (programs/counter.c) counts in QEMU, which writes the counts into a file when asked.
Everything else is computed from two copies of the counts: what was executed between them.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import MissingError, TimeoutExpired, UklError
from ukl.bench.suites import PROGRAMS
from ukl.host import exec as host_exec
from ukl.host.store import Store, digest

# programs/counter.c
_HEADER = struct.Struct("<4Q")
_RECORD = struct.Struct("<QIIQ")
_RECORDS = 1 << 19
SIZE = _HEADER.size + _RECORDS * _RECORD.size
"""Bytes of the file for the counts."""

_KIND = 1 << 31

ANSWER_TIMEOUT = 60.0
"""Seconds for QEMU to copy the counts."""

API_SINCE = {(9, 1): 3, (9, 0): 2, (4, 2): 1}
"""QEMU's version from which it has a version of the interface (include/qemu/qemu-plugin.h)."""

INSTRUCTIONS = "instructions"

KINDS = {
    "syscall": 1,
    "sysret": 2,
    "iret": 3,
    "swapgs": 4,
    "CR3 writes": 5,
    "TLB flushes": 6,
    "MSR writes": 7,
    "HLT": 8,
    "port accesses": 9,
}
"""Events that are instructions; TLB flushes are INVLPG and INVPCID. programs/counter.c"""

ENTRIES = {
    "kicks": ("vp_notify", "vp_notify_with_data"),
    "device interrupts": ("asm_common_interrupt",),
    "timer interrupts": ("asm_sysvec_apic_timer_interrupt",),
    "timer writes": ("lapic_next_event", "lapic_next_deadline"),
    "page faults": ("asm_exc_page_fault",),
    "context switches": ("__switch_to_asm",),
}
"""Events that are the begin of a function: drivers/virtio/virtio_pci_common.c,
arch/x86/include/asm/idtentry.h, arch/x86/kernel/apic/apic.c, arch/x86/entry/entry_64.S."""

EXITS = "exits"
LEAVING = ("kicks", "HLT", "timer writes")
"""Events that leave a virtual machine under KVM, whatever the processor can do for it. A device
accessed by its port does, too; an interrupt does unless the processor posts it."""

NAMES = (INSTRUCTIONS, EXITS, *ENTRIES, *KINDS)


@dataclass(frozen=True, slots=True)
class Counts:
    """Executions since the start of the machine.

    `blocks`: address and number of instructions of a block of code -> executions. `events`:
    kind (KINDS) of an instruction -> executions.
    """

    blocks: Mapping[tuple[int, int], int]
    events: Mapping[int, int]

    def __sub__(self, before: Counts) -> Counts:
        """Return what was executed since `before`."""
        return Counts(
            {
                key: count - before.blocks.get(key, 0)
                for key, count in self.blocks.items()
                if count != before.blocks.get(key, 0)
            },
            {kind: count - before.events.get(kind, 0) for kind, count in self.events.items()},
        )

    @property
    def instructions(self) -> dict[int, int]:
        """The instructions of each block of code, by its address."""
        found: Counter[int] = Counter()
        for (address, size), count in self.blocks.items():
            found[address] += size * count
        return found

    def named(self, symbols: Mapping[str, tuple[int, str]]) -> dict[str, int]:
        """Return name (NAMES) -> count; `symbols` are those of System.map."""
        starts: Counter[int] = Counter()
        for (address, _), count in self.blocks.items():
            starts[address] += count
        found = {INSTRUCTIONS: sum(size * count for (_, size), count in self.blocks.items())}
        found |= {name: self.events.get(kind, 0) for name, kind in KINDS.items()}
        for name, functions in ENTRIES.items():
            found[name] = sum(starts[symbols[each][0]] for each in functions if each in symbols)
        found[EXITS] = sum(found[name] for name in LEAVING)
        return {name: found[name] for name in NAMES}


def parse(data: bytes | mmap.mmap) -> Counts:
    """Return the counts that the plugin has copied. Raises UklError if it had no space."""
    _, _, used, lost = _HEADER.unpack_from(data)
    if lost:
        raise UklError(f"the guest executes more than {_RECORDS} blocks of code")
    end = _HEADER.size + used * _RECORD.size
    blocks: dict[tuple[int, int], int] = {}
    events: Counter[int] = Counter()
    for address, what, _, count in _RECORD.iter_unpack(data[_HEADER.size : end]):
        if what & _KIND:
            events[what & ~_KIND] += count
        elif count:
            blocks[address, what] = count
    return Counts(blocks, events)


def plugin(qemu: str, version: tuple[int, ...] | None, store: Store) -> Path:
    """Return the plugin for QEMU's version. Raises MissingError if QEMU takes none."""
    api = next((api for since, api in API_SINCE.items() if version and version >= since), None)
    if api is None or "-plugin" not in host_exec.run([qemu, "-help"]).stdout:
        raise MissingError(
            "this QEMU has no plugins, which count what a guest executes",
            where=qemu,
            remedy="use QEMU 4.2 or later, configured with --enable-plugins, as Debian's is",
        )
    source = PROGRAMS / "counter.c"
    argv = ["gcc", "-O2", f"-DAPI={api}", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden"]
    inputs = {"source": digest(source), "argv": argv, "compiler": host_exec.version("gcc")}

    def build(output: Path) -> None:
        log = output / "build.log"
        host_exec.run([*argv, str(source), "-o", str(output / "counter.so")], log=log)

    return store.make("counter", digest(inputs), inputs, build) / "counter.so"


class Meter:
    """The counts of a running guest, whose QEMU has the plugin with `file`."""

    def __init__(self, file: Path) -> None:
        with file.open("w+b") as stream:
            stream.truncate(SIZE)
            self._data = mmap.mmap(stream.fileno(), SIZE)
        self._asked = 0

    def read(self) -> Counts:
        """Return the counts of now. Raises TimeoutExpired if QEMU does not answer."""
        self._asked += 1
        struct.pack_into("<Q", self._data, 0, self._asked)
        end = time.monotonic() + ANSWER_TIMEOUT
        while struct.unpack_from("<Q", self._data, 8)[0] != self._asked:
            if time.monotonic() > end:
                raise TimeoutExpired("QEMU does not tell its counts")
            time.sleep(0.001)
        return parse(self._data)
