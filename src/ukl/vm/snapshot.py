# SPDX-License-Identifier: GPL-2.0
"""The file of a snapshot: a guest's memory, its devices and its disks, and what they belong to.

memory          as the guest has it, so that QEMU maps it; sparse
devices         QEMU's migration stream without the memory (vm/migration.py)
disks           those that the guest may write to, each at a multiple of BLOCK; sparse
description     JSON
its size        8 bytes, little-endian, then MAGIC
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ukl.base.errors import InputError, UklError
from ukl.base.model import (
    Accelerator,
    Disk,
    Machine,
    Network,
    NetworkKind,
    PortForward,
    Protocol,
)
from ukl.vm import registry
from ukl.vm.registry import Record

MAGIC = b"ukl snapshot 1\n\0"
BLOCK = 4096

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Host:
    """What has to be the same for a copy. `features` are the processor's, for KVM only."""

    qemu: str
    accelerator: Accelerator
    cpu: str
    features: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot, apart from the bytes of memory, devices and disks.

    `record` is the original's. `machine` has no kernel: that is in the memory. `devices` is
    where the state of the devices is: offset and size. `nonce` to `stop_grace` are settings of
    the original's session; `streams` are the kinds of the program's streams, `rest` is the
    beginning of a frame of these (vm/agent.py).
    """

    host: Host
    record: Record
    machine: Machine
    devices: tuple[int, int]
    nonce: str
    companion: bool
    agent: bool
    cores: bool
    streams: str
    rest: bytes
    stop_grace: float


def this_host(qemu: str, accelerator: Accelerator, cpuinfo: Path = CPUINFO) -> Host:
    """Return what a snapshot of this machine belongs to."""
    values: dict[str, str] = {}
    for line in cpuinfo.read_text().split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        values[key.strip()] = value.strip()
    features = " ".join(sorted(values.get("flags", "").split()))
    return Host(
        qemu,
        accelerator,
        values.get("model name", "unknown"),
        features if accelerator is Accelerator.KVM else "",
    )


def check(theirs: Host, ours: Host, file: Path) -> None:
    """Raise InputError, with the reason, for a snapshot of another kind of machine. Pure."""
    differences = (
        ("QEMU", theirs.qemu, ours.qemu),
        ("accelerator", theirs.accelerator.value, ours.accelerator.value),
        ("processor", theirs.cpu, ours.cpu),
    )
    for what, then, now in differences:
        if then != now:
            raise InputError(
                f"the snapshot was taken with another {what}: {then}, this machine has {now}",
                where=file,
                remedy="take it here: ukl run -d, then ukl snapshot",
            )
    missing = set(theirs.features.split()) ^ set(ours.features.split())
    if missing:
        raise InputError(
            f"the snapshot's processor differs in {', '.join(sorted(missing)[:4])}",
            where=file,
            remedy="take it here: ukl run -d, then ukl snapshot",
        )


# --- the description -------------------------------------------------------------


def encode(snapshot: Snapshot) -> bytes:
    """Return the end of the file. Pure."""
    values = {
        each.name: getattr(snapshot, each.name)
        for each in dataclasses.fields(snapshot)
        if each.name not in {"record", "rest"}
    }
    values["record"] = json.loads(registry.encode(snapshot.record))
    values["rest"] = snapshot.rest.hex()
    text = json.dumps(values, default=_plain, indent=1).encode()
    return text + len(text).to_bytes(8, "little") + MAGIC


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(value)


def decode(text: bytes) -> Snapshot:
    """Return a snapshot by its description; raises ValueError, KeyError, TypeError. Pure."""
    values = json.loads(text)
    host = values["host"]
    values["host"] = Host(**{**host, "accelerator": Accelerator(host["accelerator"])})
    values["record"] = registry.decode(json.dumps(values["record"]).encode())
    values["machine"] = _machine(values["machine"])
    values["rest"] = bytes.fromhex(values["rest"])
    values["devices"] = tuple(values["devices"])
    return Snapshot(**values)


def _machine(value: dict[str, Any]) -> Machine:
    network = value["network"]
    return Machine(
        kernel=Path(value["kernel"]),
        initrd=Path(value["initrd"]),
        cmdline="",
        memory=value["memory"],
        cpus=value["cpus"],
        accelerator=Accelerator(value["accelerator"]),
        ports=tuple(
            PortForward(**{**each, "protocol": Protocol(each["protocol"])})
            for each in value["ports"]
        ),
        disks=tuple(Disk(**{**each, "file": Path(each["file"])}) for each in value["disks"]),
        network=Network(NetworkKind(network["kind"]), network["name"]),
        stop_on_crash=value["stop_on_crash"],
        firmware=Path(value["firmware"]) if value["firmware"] else None,
    )


# --- reading ------------------------------------------------------------------------


def opened(file: Path) -> tuple[int, Snapshot]:
    """Open a snapshot; return the descriptor, which maps also when the file is deleted."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise UklError(
            "no permission to read and write the snapshot: QEMU opens it so, and changes nothing",
            where=file,
            remedy="make a copy of it: cp --sparse=always",
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot read the snapshot: {error.strerror}",
            where=file,
            remedy="take one with ukl snapshot NAME",
        ) from error
    try:
        return descriptor, _read(descriptor, file)
    except BaseException:
        os.close(descriptor)
        raise


def _read(descriptor: int, file: Path) -> Snapshot:
    status = os.fstat(descriptor)
    tail = 8 + len(MAGIC)
    end = os.pread(descriptor, tail, max(0, status.st_size - tail))
    if not stat.S_ISREG(status.st_mode) or end[8:] != MAGIC:
        raise InputError(
            "this is not a snapshot, or not a complete one, or one of another version of ukl",
            where=file,
            remedy="take one with ukl snapshot NAME",
        )
    size = int.from_bytes(end[:8], "little")
    try:
        found = decode(os.pread(descriptor, size, status.st_size - tail - size))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the snapshot's description cannot be read: {error}",
            where=file,
            remedy="take it again with this version of ukl",
        ) from error
    for disk in found.machine.disks:
        if disk.is_root and not disk.file.exists():
            raise InputError(
                "the root file system of the snapshot's guest does not exist any more",
                where=disk.file,
                remedy="run the container image again, and take the snapshot again",
            )
    return found
