# SPDX-License-Identifier: GPL-2.0
"""Volumes and disks of a guest: what QEMU gives it, and what may be wrong.

A volume is a directory of this machine by 9p, which every QEMU serves by itself. The
files belong to who runs `ukl`: QEMU does what the guest asks with its own rights
(`security_model=none`: owners that cannot be set are ignored, as without root they
cannot be). The other models write the guest's owners and modes into extended
attributes, and nobody but another guest reads the directory as it is meant.

A disk is a raw file with ext4. `fsync()` in the guest is a flush of the virtio device,
and that is fdatasync() of the file: QEMU may be killed at any time after it.
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

from ukl.base.errors import InputError, MissingError, UklError
from ukl.base.model import AppSpec, Disk, Volume
from ukl.guest.mounts import disk_serial, mounts, volume_tag
from ukl.host import exec as host_exec
from ukl.host.programs import clean_environment, find
from ukl.host.requirements import install_command
from ukl.host.store import is_no_space

PROC = Path("/proc")

EXT4_MAGIC = (0x438, b"\x53\xef")
"""Offset and value of s_magic: Documentation/filesystems/ext4/super.rst, 1024 + 0x38."""

QEMU_LOCKS = (100, 300)
"""Bytes of an image that QEMU locks: RAW_LOCK_PERM_BASE and the end of the range of
RAW_LOCK_SHARED_BASE in QEMU's block/file-posix.c."""

F_OFD_GETLK = 36
"""Of <linux/fcntl.h>; Python's fcntl has it from 3.12 on only where libc says so."""

MKE2FS = "mke2fs"
MKE2FS_OPTIONS = ("-q", "-F", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0,lazy_itable_init=1")
_SBIN = "/usr/sbin:/sbin"
"""Not in everybody's PATH, and mke2fs is there."""

GRACE = 10.0
"""Seconds a program with a volume or disk has to end by itself once it is asked to:
databases save what they have. As long as containers have."""


# --- what QEMU is told; pure ---------------------------------------------------


def qemu_words(volumes: Sequence[Volume], disks: Sequence[Disk]) -> list[str]:
    """Return QEMU's arguments. Pure."""
    words = []
    for number, volume in enumerate(volumes):
        access = ",readonly=on" if volume.read_only else ""
        # remap: several file systems below one directory must not show equal inode numbers.
        words += [
            "-fsdev",
            f"local,id=volume{number},path={_escaped(volume.source)},security_model=none,"
            f"multidevs=remap{access}",
            "-device",
            f"virtio-9p-pci,fsdev=volume{number},mount_tag={volume_tag(number)}",
        ]
    for number, disk in enumerate(disks):
        file = {"driver": "file", "filename": str(disk.file), "locking": "on", "discard": "unmap"}
        drive = {"driver": "raw", "node-name": f"disk{number}", "file": file, "discard": "unmap"}
        # An error of the file is the guest's EIO; the default would stop the machine on ENOSPC.
        words += [
            "-blockdev",
            json.dumps(drive),
            "-device",
            f"virtio-blk-pci,drive=disk{number},serial={disk_serial(number)},"
            "write-cache=on,werror=report,rerror=report",
        ]
    return words


def _escaped(path: Path) -> str:
    """Return a path as QEMU's option lists take it: a comma is doubled."""
    return str(path).replace(",", ",,")


# --- what may be wrong, asked before anything is built -------------------------


def check(spec: AppSpec) -> None:
    """Raise an error for the first volume or disk that cannot be had; changes nothing."""
    targets = Counter(mount.target for mount in mounts(spec))
    target, times = max(targets.items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise InputError(
            f"{times} volumes or disks want to be mounted on {target}",
            remedy="give each a path of its own",
        )
    for file in spec.files:
        for target in targets:
            if file == target or file.startswith(f"{target}/"):
                raise InputError(
                    f"the volume or disk on {target} would hide the manifest's file {file}",
                    where=spec.origin,
                    remedy="mount it elsewhere, or leave the file out of [run] files",
                )
    for volume in spec.volumes:
        _check_volume(volume)
    files = Counter(disk.file for disk in spec.disks)
    for disk in spec.disks:
        if files[disk.file] > 1:
            raise InputError(
                "the same file is two disks", where=disk.file, remedy="leave one of them out"
            )
        _check_disk(disk)


def _check_volume(volume: Volume) -> None:
    source = volume.source
    if not source.is_dir():
        if source.exists():
            raise InputError(
                "a volume is a directory, and this is none",
                where=source,
                remedy="name a directory; a file of ext4 is given with --disk",
            )
        raise InputError(
            "the volume's directory is not there",
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
            + (", or give it to the guest read-only (:ro)" if needed & os.W_OK else ""),
        )


def _check_disk(disk: Disk) -> None:
    try:
        status = disk.file.stat()
    except FileNotFoundError:
        _check_parent(disk.file)
        find_mke2fs()
        return
    except OSError as error:
        raise UklError(f"cannot be looked at: {error.strerror}", where=disk.file) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            "a disk is a file, and this is none",
            where=disk.file,
            remedy="name a file; a directory is given with -v DIR:/path",
        )
    try:
        with disk.file.open("r+b") as stream:
            offset, magic = EXT4_MAGIC
            stream.seek(offset)
            is_ext4 = stream.read(len(magic)) == magic
            locked = _is_locked(stream.fileno())
    except OSError as error:
        raise UklError(
            f"cannot read and write the disk: {error.strerror}",
            where=disk.file,
            remedy="change its owner or mode",
        ) from error
    if locked:
        raise in_use(disk.file)
    if not is_ext4:
        raise InputError(
            "this file is not a disk with ext4",
            where=disk.file,
            remedy=f"name a file that is not there yet (it is made), or: "
            f"mke2fs -t ext4 {shlex.quote(str(disk.file))}",
        )


def _check_parent(file: Path) -> None:
    if not file.parent.is_dir():
        raise InputError(
            "the directory for the disk's file is not there",
            where=file,
            remedy=f"mkdir -p {shlex.quote(str(file.parent))}",
        )
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UklError(
            "no permission to make the disk's file",
            where=file,
            remedy="name a file in a directory of yours",
        )


def _is_locked(descriptor: int) -> bool:
    """Tell whether a QEMU has the image; it locks bytes of it for as long as it runs."""
    first, end = QEMU_LOCKS
    # struct flock of 64-bit Linux: type, whence, start, length, process.
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, first, end - first, 0)
    try:
        answer = fcntl.fcntl(descriptor, F_OFD_GETLK, asked)
    except OSError:  # a file system without locks: QEMU does without them too
        return False
    kind: int = struct.unpack("hhqqi4x", answer)[0]
    return kind != fcntl.F_UNLCK


def in_use(file: Path, proc: Path = PROC) -> UklError:
    """Return the error about a disk that another guest has."""
    owner = _owner(file, proc)
    by = f" by {owner[1]} (process {owner[0]})" if owner else ""
    return UklError(
        f"the disk is in use{by}: two guests on one disk would destroy it",
        where=file,
        remedy="end the other guest, or give this one a disk of its own",
    )


def _owner(file: Path, proc: Path) -> tuple[int, str] | None:
    with contextlib.suppress(OSError):
        wanted = file.stat()
        for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
            with contextlib.suppress(OSError):  # another user's, or gone meanwhile
                name = (process / "comm").read_text().strip()
                if name.startswith("qemu") and any(
                    os.path.samestat(link.stat(), wanted) for link in (process / "fd").iterdir()
                ):
                    return int(process.name), name
    return None


# --- making a disk --------------------------------------------------------------


def prepare(spec: AppSpec) -> None:
    """Make the disks that are not there yet: whole, or not at all."""
    for disk in spec.disks:
        if not disk.file.exists():
            _make(disk)


def find_mke2fs() -> str:
    """Return the path of mke2fs; MissingError names its package."""
    path = f"{clean_environment()['PATH']}:{_SBIN}"
    try:
        return find(MKE2FS, {"PATH": path})
    except MissingError:
        raise MissingError(
            "mke2fs, which makes disks, is not on this machine",
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
    """Give a finished disk its name; one that another `ukl` made meanwhile stays."""
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
        remedy="its file system has no files that large; name a smaller size"
        if too_large
        else None,
    )
