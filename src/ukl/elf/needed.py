# SPDX-License-Identifier: GPL-2.0
"""Finds the files that a program loads when it starts. Nothing is executed.

They are the interpreter that it names (PT_INTERP), the shared objects that it and these name
(DT_NEEDED), and the dynamic loader's cache, which says where the objects are. What a program
opens by dlopen() is not known from its file.

Source for the search: ld.so(8); System V ABI, gABI, "Shared Object Dependencies".
"""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from ukl.base.errors import InputError
from ukl.elf import segment
from ukl.elf.reader import Elf

CACHE = "/etc/ld.so.cache"

DIRECTORIES = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
)
"""Directories that loaders search by default: glibc of Debian and of Fedora, musl."""

_INTERPRETER = "PT_INTERP"
_READ = (_INTERPRETER, "PT_DYNAMIC")
"""Segments that are read to load a file, beside those that are loaded."""


OPENED = {"libc.so.6": "libgcc_s.so.1"}
"""What shared objects open by themselves: glibc at pthread_exit() and pthread_cancel(), and it
aborts the program where that fails."""


class NotFound(InputError):
    """A file that a program loads is not there; `name` is its path, or the object's name."""

    def __init__(self, message: str, *, where: Path, name: str) -> None:
        super().__init__(
            message,
            where=where,
            remedy=f"install the package that has it (`apt-file search {name}` finds it)",
        )
        self.name = name


def interpreter(elf: Elf) -> str | None:
    """Return the path of the dynamic loader that the program names; None: it is static."""
    for each in elf.segments:
        if each.kind == _INTERPRETER:
            content = bytes(elf.data[each.offset : each.offset + each.file_size])
            return content.rstrip(b"\0").decode(errors="replace")
    return None


def needed(
    program: Path,
    cached: Mapping[str, str],
    root: Path = Path("/"),
    *,
    strict: bool = True,
    given: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, Path]:
    """Return path in the file system `root` -> file, of all that `program` loads.

    `strict` is False for a plug-in: what is not found may come with the program that loads it.
    `given` are objects that are there in any case: path -> file. They replace those of `root`.

    `cached` is the loader's cache: name of an object -> path. The program itself is not in the
    result. Raises InputError for a program of another architecture, and for an object that is
    not found, with the name of the one that needs it.
    """
    elf = _opened(program)
    if strict:
        _check(elf, program)
    names = {posixpath.basename(path) for path in given}
    found: dict[str, Path] = {}
    loader = interpreter(elf)
    if loader is not None:
        found[loader] = given.get(loader) or _existing(root, loader, program)
    waiting: deque[tuple[Path, Elf, tuple[str, ...]]] = deque([(program, elf, ())])
    seen: set[str] = set()
    while waiting:
        file, elf, inherited = waiting.popleft()
        dynamic = elf.dynamic()
        own = () if "DT_RUNPATH" in dynamic else _paths(dynamic.get("DT_RPATH", ()), file)
        inherited = (*own, *inherited)
        wanted = dynamic.get("DT_NEEDED", [])
        later = [OPENED[name] for name in wanted if name in OPENED]
        for name in (*wanted, *later):
            if name in seen:
                continue
            path = _searched(
                name,
                [*inherited, *_paths(dynamic.get("DT_RUNPATH", ()), file)],
                cached,
                root,
                given,
            )
            if path is None and name in later:
                continue
            seen.add(name)
            if path is None and (not strict or name in names):  # LD_LIBRARY_PATH may lead there
                continue
            if path is None:
                raise NotFound(
                    f"it needs {name}, which is not on this machine", where=file, name=name
                )
            found[path] = given.get(path) or _resolved(root, path)
            other = _opened(found[path])
            _check(other, found[path])
            waiting.append((found[path], other, inherited))
    cache = root / CACHE.lstrip("/")
    if loader is not None and cache.is_file():
        found[CACHE] = cache
    return found


def parse_cache(listing: str) -> dict[str, str]:
    """Return name -> path from the output of `ldconfig -p`, for this architecture. Pure."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        name, arrow, path = line.strip().partition(" => ")
        if arrow and "x86-64" in name:
            # The first one wins, as for the loader: it is for the most capable processor.
            found.setdefault(name.split(" ")[0], path)
    return found


def _opened(file: Path) -> Elf:
    elf = Elf.open(file)
    if elf.machine != "EM_X86_64":
        raise InputError(
            f"a file for another architecture ({elf.machine})",
            where=file,
            remedy="name a program for x86-64",
        )
    return elf


def _check(elf: Elf, file: Path) -> None:
    """Raise InputError if the kernel or the dynamic loader could not load the file."""
    try:
        segment.loaded(elf)
        for each in elf.segments:
            if each.kind in _READ and each.offset + each.file_size > len(elf.data):
                raise segment.Unsuitable(f"its {each.kind} is outside of the file")
    except segment.Unsuitable as error:
        raise InputError(
            f"the program headers are damaged: {error}",
            where=file,
            remedy="build or copy the file again",
        ) from error


def _searched(
    name: str,
    paths: list[str],
    cached: Mapping[str, str],
    root: Path,
    given: Mapping[str, Path],
) -> str | None:
    if "/" in name:
        places = [name]
    else:
        places = [f"{path}/{name}" for path in paths]
        places += [cached[name]] if name in cached else []
        places += [f"{directory}/{name}" for directory in DIRECTORIES]
    for path in places:
        file = given.get(path) or root / path.lstrip("/")
        if file.is_file() and fits(file):
            return path
    return None


def fits(file: Path) -> bool:
    """Whether the file is a 64-bit ELF file for x86-64."""
    with file.open("rb") as stream:
        head = stream.read(20)
    return head[:5] == b"\x7fELF\x02" and head[18:20] == b"\x3e\0"  # EI_CLASS, e_machine


def objects(given: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield path in the guest and file, of the ELF files for x86-64, also those in directories."""
    for guest, top in given.items():
        for file in sorted(top.rglob("*")) if top.is_dir() else (top,):
            if file.is_file() and fits(file):
                yield guest if file is top else posixpath.join(guest, file.relative_to(top)), file


def _paths(texts: Iterable[str], file: Path) -> tuple[str, ...]:
    """Return the directories of DT_RPATH or DT_RUNPATH, with $ORIGIN replaced."""
    origin = str(file.parent)
    return tuple(
        posixpath.normpath(path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))
        for text in texts
        for path in text.split(":")
        if path
    )


def _existing(root: Path, path: str, program: Path) -> Path:
    file = root / path.lstrip("/")
    if not file.is_file():
        raise NotFound(f"its interpreter {path} is not on this machine", where=program, name=path)
    return _resolved(root, path)


def _resolved(root: Path, path: str) -> Path:
    return (root / path.lstrip("/")).resolve()
