# SPDX-License-Identifier: GPL-2.0
"""Puts the layers of an image on top of each other.

A layer is a tar archive of what it changes. `.wh.NAME` deletes NAME of the layers below, and
`.wh..wh..opq` in a directory hides all that they have in it. Source: the OCI image format
specification 1.1, "Image Layer Filesystem Changeset".

Nothing is unpacked, so no name in an archive can reach a file of this machine. A name that would
leave the root all the same is an error: such an image is broken, or an attack.
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from ukl.base.errors import InputError
from ukl.container import programs
from ukl.container.tree import Inode, Outside, Tree, split

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
"""Other names of AUFS, which are not files of the image."""

_XATTR = "SCHILY.xattr."
_KEPT = ("user.", "security.capability")
"""Extended attributes that mean the same in a guest. Overlays and labels of a host do not."""

_KINDS = {
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def apply(tree: Tree, archive: tarfile.TarFile, where: str) -> None:
    """Change `tree` as the layer says; `archive` must stay open as long as contents are read.

    Raises InputError for an archive that is damaged or leaves the root.
    """
    try:
        members = archive.getmembers()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(
            f"not a readable tar archive: {error}", where=where, remedy="copy the image again"
        ) from error
    # Whiteouts concern the layers below alone, wherever they are in the archive.
    for member in members:
        *above, name = _parts(member.name, where) or [""]
        if name.startswith(WHITEOUT):
            _within(member.name, where, lambda: _hide(tree, above, name))  # noqa: B023
    for member in members:
        parts = _parts(member.name, where)
        if parts and not parts[-1].startswith(WHITEOUT):
            _within(member.name, where, lambda: _put(tree, parts, member, archive, where))  # noqa: B023
        elif not parts and member.isdir():
            _update(tree.root, _inode(member, archive, where))


def _within(name: str, where: str, work: Callable[[], None]) -> None:
    """Do the work; explain why `name` cannot be in the root."""
    try:
        work()
    except Outside as error:
        raise InputError(
            f"the layer climbs out of the root: {name!r} goes through symbolic links that leave it",
            where=where,
            remedy="do not trust this image; make it again from its sources",
        ) from error
    except NotADirectoryError as error:
        raise InputError(
            f"{name!r} cannot be in the root: {error} is not a directory",
            where=where,
            remedy="make the image again",
        ) from error


def _parts(name: str, where: str) -> list[str]:
    parts = split(name)
    if ".." in parts:
        raise InputError(
            f"the layer climbs out of the root: {name!r} has `..`",
            where=where,
            remedy="do not trust this image; make it again from its sources",
        )
    return parts


def _hide(tree: Tree, above: list[str], name: str) -> None:
    directory = tree.lower(above)
    if directory is None:
        return
    if name == OPAQUE:
        directory.children.clear()
    elif not name.startswith(_RESERVED):
        directory.children.pop(name.removeprefix(WHITEOUT), None)


def _put(
    tree: Tree, parts: list[str], member: tarfile.TarInfo, archive: tarfile.TarFile, where: str
) -> None:
    above = tree.parent(parts[:-1])
    if member.islnk():
        found = tree.linked(_parts(member.linkname, where))
        if found is None or found.is_directory:
            raise InputError(
                f"{member.name!r} is a hard link to {member.linkname!r}, which is not there",
                where=where,
                remedy="copy or make the image again",
            )
        above.children[parts[-1]] = found
        return
    inode = _inode(member, archive, where)
    old = above.children.get(parts[-1])
    if old is not None and old.is_directory and inode.is_directory:
        _update(old, inode)
    else:
        above.children[parts[-1]] = inode


def _update(directory: Inode, new: Inode) -> None:
    directory.mode, directory.uid, directory.gid = new.mode, new.uid, new.gid
    directory.mtime, directory.xattrs = new.mtime, new.xattrs


def _inode(member: tarfile.TarInfo, archive: tarfile.TarFile, where: str) -> Inode:
    kind = stat.S_IFREG if member.isreg() else _KINDS.get(member.type, 0)
    if not kind:
        raise InputError(
            f"{member.name!r} is of a kind that no file system has ({member.type!r})",
            where=where,
            remedy="make the image again",
        )
    inode = Inode(
        kind | (member.mode & 0o7777),
        member.uid,
        member.gid,
        int(member.mtime),
        member.size if member.isreg() else 0,
        member.linkname if member.issym() else "",
        (member.devmajor, member.devminor) if member.ischr() or member.isblk() else (0, 0),
        dict(_xattrs(member)),
    )
    if member.isreg():
        inode.content = lambda: cast(IO[bytes], archive.extractfile(member))
    return inode


def _xattrs(member: tarfile.TarInfo) -> Iterator[tuple[str, bytes]]:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name != key and name.startswith(_KEPT):
            yield name, value.encode("utf-8", "surrogateescape")


def is_complete(file: Path, archive: tarfile.TarFile) -> bool:
    """Tell whether a tar archive has its end; tarfile ignores that it is cut off."""
    members = archive.getmembers()
    end = 0
    if members:
        last = members[-1]
        if last.issparse():  # its size is not that in the archive
            return True
        end = last.offset_data + -(-(last.size if last.isreg() else 0) // 512) * 512
    with file.open("rb") as stream:
        stream.seek(end)
        return stream.read(512) == bytes(512)


def note_programs(tree: Tree) -> None:
    """Find out what the executable files are."""
    for _, inode in tree.walk():
        if inode.is_executable and inode.content is not None and inode.size:
            with inode.content() as stream:
                inode.head = programs.head(stream)
