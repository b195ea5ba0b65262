# SPDX-License-Identifier: GPL-2.0
"""Why QEMU has not started: errors made of what it has written into its log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import Disk
from ukl.vm import log, storage
from ukl.vm.ports import PortBusy

BUSY = "Could not set up host forwarding rule"


def output(qemu_log: Path, qemu: str) -> str:
    """Return the end of QEMU's own messages."""
    tail = log.tail(qemu_log, 4096).decode("utf-8", "replace")
    lines = [line for line in tail.splitlines() if line and not line.startswith("$ ")]
    return "; ".join(line.removeprefix(f"{qemu}: ") for line in lines[-3:])


def error(qemu_log: Path, qemu: str, disks: Sequence[Disk]) -> UklError:
    """Return the error about a QEMU that has ended before it ran."""
    said = output(qemu_log, qemu)
    if BUSY in said:
        return port_busy(qemu_log)
    if "Failed to get" in said and "lock" in said:
        for disk in disks:
            if str(disk.file) in said:
                return storage.in_use(disk.file)
    return UklError(f"QEMU did not start: {said or 'no message'}", log=qemu_log)


def port_busy(qemu_log: Path) -> PortBusy:
    """Return the error about a port that was free before."""
    return PortBusy(
        "another program took a forwarded port while QEMU started",
        remedy="end that program, or forward another port with -p",
        log=qemu_log,
    )
