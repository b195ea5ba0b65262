# SPDX-License-Identifier: GPL-2.0
"""The files of a root file system: names, owners, modes, links. Contents stay where they are."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

LINKS_MAX = 40
"""Symbolic links that Linux follows in one path (MAXSYMLINKS)."""


class Outside(Exception):
    """A path leads out of the root, or its symbolic links form a loop."""


@dataclass(slots=True, eq=False)
class Inode:
    """A file, which several names may have; `mode` has its type.

    `target` is a symbolic link's, `device` the numbers of a device node. `content` opens the bytes
    of a regular file. `head` says what an executable file is (programs.py).
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    content: Callable[[], IO[bytes]] | None = None
    head: str = ""
    children: dict[str, Inode] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_executable(self) -> bool:
        """Whether someone may execute it."""
        return self.is_file and bool(self.mode & 0o111)


def directory(mode: int = 0o755) -> Inode:
    """Return an empty directory."""
    return Inode(stat.S_IFDIR | mode)


def split(name: str) -> list[str]:
    """Return the components of a path without empty ones and `.`; `..` stays."""
    return [part for part in name.split("/") if part not in {"", "."}]


class Tree:
    """A root file system."""

    def __init__(self) -> None:
        self.root = directory()

    def find(self, path: str, *, follow: bool = True) -> tuple[str, Inode] | None:
        """Return the real path of a file and the file, as Linux finds it in a guest.

        None if there is no such file. `follow`: if it is a symbolic link, what that leads to.
        """
        try:
            return self._find(path, follow=follow, strict=False)
        except Outside:  # a loop
            return None

    def parent(self, parts: list[str]) -> Inode:
        """Return the directory `parts`; make what is missing of it.

        Symbolic links are followed inside the root. Raises Outside, and NotADirectoryError.
        """
        path = ""
        here = self.root
        for part in parts:
            path = f"{path}/{part}"
            found = self._find(path, follow=True, strict=True)
            if found is None:
                if part in here.children:  # a dangling symbolic link
                    raise NotADirectoryError(path)
                here.children[part] = directory()
                here = here.children[part]
            else:
                path, here = found
                if not here.is_directory:
                    raise NotADirectoryError(path)
        return here

    def lower(self, parts: list[str]) -> Inode | None:
        """Return the existing directory `parts`; None if there is none. Raises Outside."""
        found = self._find("/".join(parts), follow=True, strict=True)
        return found[1] if found is not None and found[1].is_directory else None

    def linked(self, parts: list[str]) -> Inode | None:
        """Return the file that a hard link names. Raises Outside."""
        found = self._find("/".join(parts), follow=False, strict=True)
        return found[1] if found is not None else None

    def _find(self, path: str, *, follow: bool, strict: bool) -> tuple[str, Inode] | None:
        above = [self.root]
        names: list[str] = []
        left = split(path)[::-1]
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                if len(above) > 1:
                    above.pop()
                    names.pop()
                elif strict:
                    raise Outside(path)
                continue
            found = above[-1].children.get(part)
            if found is None:
                return None
            if found.is_link and (left or follow):
                links += 1
                if links > LINKS_MAX:
                    raise Outside(path)
                if found.target.startswith("/"):
                    above, names = above[:1], []
                left += split(found.target)[::-1]
                continue
            if left and not found.is_directory:
                return None
            above.append(found)
            names.append(part)
        return f"/{'/'.join(names)}", above[-1]

    def walk(self) -> Iterator[tuple[str, Inode]]:
        """Yield path and file of all but the root, directories before what they contain."""
        waiting = [("", self.root)]
        while waiting:
            above, inode = waiting.pop()
            inner = [(f"{above}/{name}", inode.children[name]) for name in sorted(inode.children)]
            yield from inner
            waiting += [each for each in reversed(inner) if each[1].is_directory]

    def dump(self) -> list[list[Any]]:
        """Return what `load` reads: enough to find out what to start."""
        return [
            [path, inode.mode, inode.uid, inode.gid, inode.target, inode.head]
            for path, inode in self.walk()
        ]

    @classmethod
    def load(cls, rows: Iterable[list[Any]]) -> Tree:
        """Return the tree of `dump`, without contents."""
        tree = cls()
        known = {"": tree.root}
        for path, mode, uid, gid, target, head in rows:
            above, _, name = path.rpartition("/")
            known[path] = Inode(mode, uid, gid, target=target, head=head)
            known[above].children[name] = known[path]
        return tree
