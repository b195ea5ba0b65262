# SPDX-License-Identifier: GPL-2.0
"""Writes a tree as one squashfs file, through a tar stream into sqfstar. It needs no root.

LZ4 is what costs a guest least to unpack, above all an emulated one; its code in the kernel is
small. The root directory's own owner and mode do not matter: the overlay above it has others.
"""

from __future__ import annotations

import contextlib
import stat
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from ukl.base.errors import InputError
from ukl.container.tree import Inode, Tree
from ukl.host import exec as host_exec
from ukl.host.process import PIPE, STDOUT, spawn

SQFSTAR = "sqfstar"
OPTIONS = ("-comp", "lz4", "-root-mode", "0755", "-no-progress", "-quiet")

_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


class _Pipe:
    """What tarfile needs of a file that it writes from its start to its end."""

    def __init__(self, out: IO[bytes]) -> None:
        self.write = out.write

    def tell(self) -> int:
        """Return where the archive begins."""
        return 0


def write(tree: Tree, file: Path, report: Callable[[int, int], None]) -> None:
    """Write the tree into `file`. `report` gets the bytes done, and of all files."""
    argv = (SQFSTAR, *OPTIONS, str(file))
    with spawn(argv, stdin=PIPE, stdout=PIPE, stderr=STDOUT) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        said: list[bytes] = []
        stdout = child.stdout
        reader = threading.Thread(target=lambda: said.append(stdout.read()))
        reader.start()
        # sqfstar has ended early: its own message says why.
        with contextlib.suppress(BrokenPipeError):
            _stream(tree, child.stdin, report)
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        status = child.wait()
        reader.join()
    if status != 0:
        raise host_exec.CommandFailed(argv, status, b"".join(said).decode(errors="replace"))


def _stream(tree: Tree, out: IO[bytes], report: Callable[[int, int], None]) -> None:
    total = sum(inode.size for _, inode in tree.walk())
    names: dict[Inode, str] = {}
    done = 0
    # Not as a context manager: after an error nothing more can be written.
    archive = tarfile.open(  # noqa: SIM115
        fileobj=cast(IO[bytes], _Pipe(out)),
        mode="w",
        format=tarfile.PAX_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    )
    for path, inode in tree.walk():
        name = path.lstrip("/")
        _add(archive, name, inode, names.get(inode))
        names.setdefault(inode, name)
        done += inode.size
        report(done, total)
    archive.close()


def _add(archive: tarfile.TarFile, name: str, inode: Inode, first: str | None) -> None:
    """Add a file, or a hard link to its `first` name."""
    member = tarfile.TarInfo(name)
    member.mode, member.uid, member.gid = stat.S_IMODE(inode.mode), inode.uid, inode.gid
    member.mtime = inode.mtime
    if first is not None and not inode.is_directory:
        member.type, member.linkname = tarfile.LNKTYPE, first
        archive.addfile(member)
        return
    member.type, member.linkname = _TYPES[stat.S_IFMT(inode.mode)], inode.target
    member.devmajor, member.devminor = inode.device
    member.pax_headers = {
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
        for key, value in inode.xattrs.items()
    }
    if inode.content is None:
        archive.addfile(member)
        return
    member.size = inode.size
    try:
        with inode.content() as content:
            archive.addfile(member, content)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise InputError(
            f"cannot read it to its end: {error}",
            where=f"/{name}",
            remedy="do not change the files meanwhile, or copy the image again",
        ) from error
