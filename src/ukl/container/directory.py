# SPDX-License-Identifier: GPL-2.0
"""A directory of this machine as a root file system."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ukl.base.errors import InputError
from ukl.container.tree import Inode, Tree
from ukl.host.store import digest


def scan(top: Path) -> Tree:
    """Return the files below `top`, on its file system alone. Sockets are left out.

    Files of the user who runs `ukl`, unless that is root, become root's: such a user cannot make
    files of others, and meant them to be the guest's. Raises InputError for what cannot be read.
    """
    tree = Tree()
    device = top.stat().st_dev
    known: dict[tuple[int, int], Inode] = {}
    waiting = [(top, tree.root)]
    while waiting:
        directory, inode = waiting.pop()
        for entry in _entries(directory):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISSOCK(status.st_mode):
                continue
            path = Path(entry.path)
            number = (status.st_dev, status.st_ino)
            inner = known.get(number) or _inode(path, status)
            if status.st_nlink > 1 and not inner.is_directory:
                known[number] = inner
            inode.children[entry.name] = inner
            if inner.is_directory and status.st_dev == device:
                waiting.append((path, inner))
    return tree


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except PermissionError as error:
        raise _unreadable(directory, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot read a file of the root file system: {error.strerror}",
        where=path,
        remedy="change its owner or mode, or make an archive as root and name that",
    )


def _inode(path: Path, status: os.stat_result) -> Inode:
    user = os.geteuid()
    regular = stat.S_ISREG(status.st_mode)
    inode = Inode(
        status.st_mode,
        0 if status.st_uid == user else status.st_uid,
        0 if status.st_gid == os.getegid() and user else status.st_gid,
        int(status.st_mtime),
        status.st_size if regular else 0,
        str(path.readlink()) if stat.S_ISLNK(status.st_mode) else "",
        (os.major(status.st_rdev), os.minor(status.st_rdev)),
    )
    if regular:
        inode.content = _opener(path)
        for name in os.listxattr(path, follow_symlinks=False):
            if name.startswith("user.") or name == "security.capability":
                inode.xattrs[name] = os.getxattr(path, name, follow_symlinks=False)
    return inode


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        try:
            return path.open("rb")
        except OSError as error:
            raise _unreadable(path, error) from error

    return opened


def key(top: Path) -> str:
    """Return a digest of what `ls -lc` shows of the files, which changes when a file does."""
    rows = []
    for above, directories, files in os.walk(top, onerror=_raise):
        directories.sort()
        for name in sorted(files) + directories:
            path = f"{above}/{name}"
            status = os.lstat(path)
            rows.append(
                f"{path} {status.st_mode} {status.st_uid} {status.st_gid} {status.st_size} "
                f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
            )
    return digest(str(top.resolve()), os.geteuid(), rows)


def _raise(error: OSError) -> None:
    raise _unreadable(Path(error.filename), error) from error
