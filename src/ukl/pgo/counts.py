# SPDX-License-Identifier: GPL-2.0
"""The file with the branch counts of a training run: a zip archive.

    manifest.json       what was trained: application, kernel, compiler
    kernel/PATH.gcda    counts of the kernel's object PATH.o
    app/NAME/PATH.gcda  counts of the source PATH of an application that `ukl` compiles
    tree/PATH.gcda      counts of the object PATH.o in the tree of a recipe

The same counts give the same bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from ukl.base.errors import InputError
from ukl.host.store import Store, digest
from ukl.pgo.flags import ROOT, SUFFIX

FORMAT = 1
MANIFEST = "manifest.json"
KERNEL, APP, TREE = "kernel", "app", "tree"

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that zip can represent."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What was trained. Versions are as the programs print them."""

    application: str
    kernel: str
    compiler: str
    format: int = FORMAT


def write(file: Path, trained: Trained, members: Mapping[str, bytes]) -> None:
    """Write the archive."""
    content = {MANIFEST: json.dumps(asdict(trained), indent=1).encode() + b"\n", **members}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content[name])


def read(file: Path) -> tuple[Trained, dict[str, bytes]]:
    """Read an archive. Raises InputError if it is missing, damaged, or of another format."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        trained = Trained(**json.loads(members.pop(MANIFEST)))
    except FileNotFoundError:
        raise InputError(
            "no such file of branch counts",
            where=file,
            remedy="make it with `ukl build --pgo FILE`",
        ) from None
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"not a file of branch counts: {error}",
            where=file,
            remedy="make one with `ukl build --pgo FILE`",
        ) from error
    if trained.format != FORMAT:
        raise InputError(
            f"branch counts of format {trained.format}; this ukl reads format {FORMAT}",
            where=file,
            remedy="delete the file, and train again with `ukl build --pgo FILE`",
        )
    return trained, {name: data for name, data in members.items() if _is_sound(name)}


def _is_sound(name: str) -> bool:
    """Whether a member is a file of counts whose path stays within the archive."""
    path = PurePosixPath(name)
    return path.suffix == SUFFIX and ".." not in path.parts and not path.is_absolute()


def unpacked(file: Path, part: str, store: Store) -> Path:
    """Return a directory of the cache with the counts below `part` of an archive.

    Its name depends on these counts only: new counts of an application do not change the kernel.
    """
    _, members = read(file)
    found = {
        name.removeprefix(f"{part}/"): data
        for name, data in members.items()
        if name.startswith(f"{part}/")
    }

    def work(directory: Path) -> None:
        for name, data in found.items():
            path = directory / "counts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (directory / "counts").mkdir(exist_ok=True)

    key = digest("counts", sorted(found.items()))
    return store.make("counts", key, {"file": file, "part": part}, work) / "counts"


def member(path: str) -> str | None:
    """Return the member name for the path of a file of counts in a program or kernel. Pure.

    Objects are compiled in cache directories whose names change, so the name is made of the
    path below `objects` (the kernel's) or `tree` (a recipe's). None: the path has neither.
    """
    if not path.endswith(SUFFIX):
        return None
    if path.startswith(ROOT):
        return f"{APP}/{path.removeprefix(ROOT)}"
    # The outermost one: a source may have a directory of the same name.
    parts = path.split("/")
    for number, part in enumerate(parts[:-1]):
        # A kernel is compiled in `.KEY.objects`, beside its tree, or in a store's entry.
        if number and parts[number - 1].endswith((".tmp", ".objects")):
            kind = {"objects": KERNEL, "tree": TREE}.get(part)
            if kind is not None:
                return "/".join([kind, *parts[number + 1 :]])
    return None
