# SPDX-License-Identifier: GPL-2.0
"""Volumes and disks of a guest: QEMU's arguments, and checks for errors.

A volume is a directory of the host, shared by 9p, which QEMU serves without a further
program. Its files belong to the user who runs `ukl`: QEMU acts on them with its own
privileges (`security_model=none`; changes of owner that need root are ignored). The other
models store the guest's owners and modes in extended attributes, which only other guests
understand.

A disk is a raw file with ext4. `fsync()` in the guest flushes the virtio device, and that
calls fdatasync() on the file: after it QEMU may be killed at any time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import stat
import struct
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ukl.base.errors import InputError, MissingError, UklError
from ukl.base.model import AppSpec, Disk, Volume
from ukl.guest.mounts import disk_serial, mounts, volume_tag
from ukl.host import exec as host_exec
from ukl.host.programs import clean_environment, find
from ukl.host.requirements import install_command
from ukl.host.store import is_no_space
from ukl.vm import ext4, volume_locks

PROC = Path("/proc")

QEMU_LOCKS = (100, 300)
"""The range of bytes that QEMU locks in an image: from RAW_LOCK_PERM_BASE to the end of
RAW_LOCK_SHARED_BASE's range in QEMU's block/file-posix.c."""

F_OFD_GETLK = 36
"""From <linux/fcntl.h>; Python's fcntl has it only since 3.12, and if libc defines it."""

MKE2FS = "mke2fs"
MKE2FS_OPTIONS = ("-q", "-F", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0,lazy_itable_init=1")
_SBIN = "/usr/sbin:/sbin"
"""Where mke2fs is; often not in a user's PATH."""

GRACE = 10.0
"""Seconds that a program with a volume or disk has to end after SIGTERM, so that databases
can save their data. Containers have the same time."""


# --- QEMU's arguments; pure ----------------------------------------------------


def qemu_words(volumes: Sequence[Volume], disks: Sequence[Disk]) -> list[str]:
    """Return QEMU's arguments. Pure."""
    words = []
    for number, volume in enumerate(volumes):
        access = ",readonly=on" if volume.read_only else ""
        # remap: several file systems below one directory must not show equal inode numbers.
        words += [
            "-fsdev",
            f"local,id=volume{number},path={escaped(volume.source)},security_model=none,"
            f"multidevs=remap{access}",
            "-device",
            f"virtio-9p-pci,fsdev=volume{number},mount_tag={volume_tag(number)}",
        ]
    for number, disk in enumerate(disks):
        device = (
            f"virtio-blk-pci,drive=disk{number},serial={disk_serial(number)},"
            "write-cache=on,werror=report,rerror=report"
        )
        if disk.offset is not None:
            # QEMU puts a temporary file over it, without a name.
            part = f"driver=raw,offset={disk.offset},size={disk.size},snapshot=on"
            place = f"file.driver=file,file.filename={escaped(disk.file)},file.locking=off"
            words += ["-drive", f"if=none,id=disk{number},{part},{place}", "-device", device]
            continue
        file: dict[str, object]
        file = {"driver": "file", "filename": str(disk.file), "locking": "on", "discard": "unmap"}
        drive: dict[str, object]
        drive = {"driver": "raw", "node-name": f"disk{number}", "file": file, "discard": "unmap"}
        if disk.is_root:  # in the cache, where several guests read it
            file["read-only"] = True
            drive["read-only"] = True
        # The guest gets EIO for an error of the file; the default stops the machine on ENOSPC.
        words += [
            "-blockdev",
            json.dumps(drive),
            "-device",
            device,
        ]
    return words


def escaped(path: Path) -> str:
    """Return a path for QEMU's option lists, in which commas are doubled."""
    return str(path).replace(",", ",,")


# --- checks, before anything is built ------------------------------------------


def check(spec: AppSpec) -> None:
    """Raise an error for the first volume or disk that cannot be used; changes nothing."""
    targets = Counter(mount.target for mount in mounts(spec))
    target, times = max(targets.items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise InputError(
            f"{times} volumes or disks have the mount point {target}",
            remedy="give each a different path",
        )
    for file in spec.files:
        for target in targets:
            if file == target or file.startswith(f"{target}/"):
                raise InputError(
                    f"the volume or disk on {target} would hide the manifest's file {file}",
                    where=spec.origin,
                    remedy="mount it elsewhere, or remove the file from [run] files",
                )
    for volume in spec.volumes:
        _check_volume(volume)
    volume_locks.check(spec.volumes)
    files = Counter(disk.file for disk in spec.disks)
    for disk in spec.disks:
        if disk.is_root:
            continue
        if files[disk.file] > 1:
            raise InputError(
                "two disks use the same file", where=disk.file, remedy="omit one of them"
            )
        _check_disk(disk)


def _check_volume(volume: Volume) -> None:
    source = volume.source
    if not source.is_dir():
        if source.exists():
            raise InputError(
                "a volume must be a directory",
                where=source,
                remedy="name a directory; use --disk for a file with ext4",
            )
        raise InputError(
            "the volume's directory does not exist",
            where=source,
            remedy=f"mkdir -p {shlex.quote(str(source))}",
        )
    needed = os.R_OK | os.X_OK | (0 if volume.read_only else os.W_OK)
    if not os.access(source, needed):
        raise UklError(
            "no permission to read and write the volume's directory"
            if needed & os.W_OK
            else "no permission to read the volume's directory",
            where=source,
            remedy="change its owner or mode"
            + (", or make the volume read-only (:ro)" if needed & os.W_OK else ""),
        )


def _check_disk(disk: Disk) -> None:
    try:
        status = disk.file.stat()
    except FileNotFoundError:
        _check_parent(disk.file)
        find_mke2fs()
        return
    except OSError as error:
        raise UklError(f"cannot access the disk: {error.strerror}", where=disk.file) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            "a disk must be a regular file",
            where=disk.file,
            remedy="name a file; use -v DIR:/path for a directory",
        )
    try:
        with disk.file.open("r+b") as stream:
            superblock = _superblock(stream)
            locked = _is_locked(stream.fileno())
    except OSError as error:
        raise UklError(
            f"cannot read and write the disk: {error.strerror}",
            where=disk.file,
            remedy="change its owner or mode",
        ) from error
    if locked:
        raise in_use(disk.file)
    if not ext4.is_ext4(superblock):
        raise InputError(
            "this file is not a disk with ext4",
            where=disk.file,
            remedy=f"name a new file, which is then made, or run "
            f"mke2fs -t ext4 {shlex.quote(str(disk.file))}",
        )
    if missing := ext4.unsupported(superblock):
        raise InputError(
            f"the guest's kernel does not support the ext4 feature {missing[0]} of this disk",
            where=disk.file,
            remedy="make a file system without it, for example by naming a new file",
        )


def _superblock(stream: BinaryIO) -> bytes:
    stream.seek(ext4.SUPERBLOCK)
    return stream.read(ext4.SUPERBLOCK)


def optional_features(disk: Disk) -> list[str]:
    """Return the ext4 features of a disk that need options of the kernel (ext4.OPTIONS)."""
    try:
        with disk.file.open("rb") as stream:
            superblock = _superblock(stream)
    except OSError:  # is made later, without such features; or check() reports it
        return []
    return ext4.optional(superblock) if ext4.is_ext4(superblock) else []


def _check_parent(file: Path) -> None:
    if not file.parent.is_dir():
        raise InputError(
            "the directory for the disk's file does not exist",
            where=file,
            remedy=f"mkdir -p {shlex.quote(str(file.parent))}",
        )
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UklError(
            "no permission to make the disk's file",
            where=file,
            remedy="name a file in a directory that you may write to",
        )


def _is_locked(descriptor: int) -> bool:
    """Tell whether a QEMU uses the image: it locks bytes of it as long as it runs."""
    first, end = QEMU_LOCKS
    # struct flock of 64-bit Linux: type, whence, start, length, process.
    query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, first, end - first, 0)
    try:
        answer = fcntl.fcntl(descriptor, F_OFD_GETLK, query)
    except OSError:  # a file system without locks: QEMU does not lock either
        return False
    kind: int = struct.unpack("hhqqi4x", answer)[0]
    return kind != fcntl.F_UNLCK


def in_use(file: Path, proc: Path = PROC) -> UklError:
    """Return the error about a disk that another guest uses."""
    owner = _owner(file, proc)
    by = f" by {owner[1]} (process {owner[0]})" if owner else ""
    return UklError(
        f"the disk is in use{by}: two guests would corrupt it",
        where=file,
        remedy="end the other guest, or use another disk",
    )


def _owner(file: Path, proc: Path) -> tuple[int, str] | None:
    with contextlib.suppress(OSError):
        wanted = file.stat()
        for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
            with contextlib.suppress(OSError):  # another user's, or has ended
                name = (process / "comm").read_text().strip()
                if name.startswith("qemu") and any(
                    os.path.samestat(link.stat(), wanted) for link in (process / "fd").iterdir()
                ):
                    return int(process.name), name
    return None


# --- making a disk --------------------------------------------------------------


def prepare(spec: AppSpec) -> None:
    """Make missing disks. A disk's file exists only when it is complete."""
    for disk in spec.disks:
        if not disk.file.exists():
            _make(disk)


def find_mke2fs() -> str:
    """Return the path of mke2fs; raises MissingError with its package."""
    path = f"{clean_environment()['PATH']}:{_SBIN}"
    try:
        return find(MKE2FS, {"PATH": path})
    except MissingError:
        raise MissingError(
            "mke2fs, which makes disks, is not installed",
            where="PATH",
            remedy=install_command("e2fsprogs"),
        ) from None


def _make(disk: Disk) -> None:
    program = find_mke2fs()
    try:
        handle, name = tempfile.mkstemp(".tmp", f".{disk.file.name}.", disk.file.parent)
        beside = Path(name)
        try:
            os.truncate(handle, disk.size)
            os.close(handle)
            host_exec.run([program, *MKE2FS_OPTIONS, beside], timeout=300)
            _put(beside, disk.file)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, host_exec.CommandFailed) as error:
        raise _explain(disk, error) from error


def _put(beside: Path, file: Path) -> None:
    """Give a finished disk its name, unless another `ukl` has made it meanwhile."""
    try:
        os.link(beside, file)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not file.exists():
            beside.rename(file)


def _explain(disk: Disk, error: OSError | host_exec.CommandFailed) -> UklError:
    if is_no_space(error):
        return UklError(
            "no space left to make the disk",
            where=disk.file,
            remedy="free some space, or name a file elsewhere",
        )
    if isinstance(error, UklError):
        return error
    too_large = error.errno in {errno.EFBIG, errno.EINVAL}
    return UklError(
        f"cannot make the disk: {error.strerror}",
        where=disk.file,
        remedy="its file system does not allow files of this size; use a smaller one"
        if too_large
        else None,
    )
