# SPDX-License-Identifier: GPL-2.0
"""Locks that keep a second guest from writing to a volume.

9p answers every lock with success, so programs in two guests do not exclude each other, and two
guests that write to one database destroy it. As long as a guest runs, `ukl` holds a flock() of
each directory that the guest may write to: exclusive, or shared for a volume with `:shared`.
Readers (`:ro`) take none. A file system without locks for directories (NFS) has no such
protection.

flock() knows only this one directory. Directories above and below it are found through
/proc/locks, after this process has its own lock: of two guests that start at once, at least one
sees the other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.base.model import Volume

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Lock:
    """A flock() of a directory, held by process `pid`."""

    pid: int
    directory: Path
    shared: bool


def check(volumes: Sequence[Volume]) -> None:
    """Raise an error if another guest writes to one of the volumes, or two of them overlap."""
    written = [volume for volume in volumes if not volume.read_only]
    for one, other in combinations(written, 2):
        if _overlap(one.source.resolve(), other.source.resolve()) and not (
            one.shared and other.shared
        ):
            raise InputError(
                f"the volumes on {one.target} and {other.target} share files: locks of a program "
                "in one do not exclude those in the other",
                where=other.source,
                remedy="omit one of them, or make one read-only (:ro) or both :shared",
            )
    with held(volumes):
        pass


@contextlib.contextmanager
def held(volumes: Sequence[Volume], proc: Path = PROC) -> Iterator[None]:
    """Hold the locks of a guest's volumes in the block; raises UklError if another has them."""
    with contextlib.ExitStack() as stack:
        for volume in volumes:
            if not volume.read_only:
                _lock(volume, stack, proc)
        yield


def _lock(volume: Volume, stack: contextlib.ExitStack, proc: Path) -> None:
    descriptor = os.open(volume.source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    real = volume.source.resolve()
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if volume.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            holder = next((each for each in locks(proc) if each.directory == real), None)
            raise _in_use(volume, holder) from error
        return  # a file system without locks
    for lock in locks(proc):
        is_nested = lock.directory != real and _overlap(lock.directory, real)
        if is_nested and lock.pid != os.getpid() and not (lock.shared and volume.shared):
            raise _in_use(volume, lock)


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def locks(proc: Path = PROC) -> Iterator[Lock]:
    """Yield the locks of directories that `ukl` processes of this user hold.

    Formats: man 5 proc_locks, and "lock:" of man 5 proc_pid_fdinfo.
    """
    try:
        lines = (proc / "locks").read_text().splitlines()
    except OSError:
        return
    fields = [line.split() for line in lines]
    holders = {each[4] for each in fields if len(each) > 5 and each[1] == "FLOCK"}
    for pid in sorted(holders):
        with contextlib.suppress(OSError):  # another user's, or has ended
            if b"ukl" in (proc / pid / "cmdline").read_bytes():
                yield from _of_process(proc / pid)


def _of_process(process: Path) -> Iterator[Lock]:
    for link in (process / "fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            text = (process / "fdinfo" / link.name).read_text()
            if "FLOCK" in text and link.is_dir():
                yield Lock(int(process.name), link.readlink(), " READ " in text)


def _in_use(volume: Volume, lock: Lock | None) -> UklError:
    by = f" by process {lock.pid}" if lock else ""
    through = f", through {lock.directory}" if lock and lock.directory != volume.source else ""
    return UklError(
        f"another guest may write to this volume (locked{by}{through}): "
        "their programs' locks would not exclude each other, which destroys databases",
        where=volume.source,
        remedy="end the other guest (`ukl ps`), mount it read-only here (:ro), or, if the programs "
        "never write to the same files, end both volumes with :shared",
    )
