# SPDX-License-Identifier: GPL-2.0
"""Puts programs and shared objects into the guest whose system calls are calls of stubs.

The cache has them by the digest of the original. A file that is not understood, and one without
system calls, is put there as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ukl.base.errors import InputError
from ukl.elf import needed
from ukl.elf.reader import Elf
from ukl.elf.segment import Unsuitable
from ukl.host.store import Store, digest

PROCEDURE = 2
"""Part of the key. Raise it when the result changes."""

LINKED = frozenset({"ET_EXEC", "ET_DYN"})
"""Kinds of ELF files that can be executed or loaded."""

LOADER = "ld-linux"
"""How the name of glibc's dynamic loader begins. It makes its calls while a program starts, and
glibc takes its end in memory from its symbols, not from its segments."""


def files(given: Mapping[str, Path], store: Store) -> dict[str, Path]:
    """Return path in the guest -> file, of those among `given` that have another form."""
    made: dict[str, Path] = {}
    named = {*given.values()}
    for path, file in needed.objects(given):
        if file.is_symlink() and file not in named:
            continue  # what it leads to has the other form
        rewritten = _rewritten(file, store)
        if rewritten is not None:
            made[path] = rewritten
    return made


def _rewritten(file: Path, store: Store) -> Path | None:
    """Return the file with calls, None if nothing in it changes."""
    if file.name.startswith(LOADER):
        return None
    inputs = _inputs(file)
    kept = store.make("fast", digest(inputs), inputs, lambda out: _write(out, file)) / "file"
    return kept if kept.exists() else None


def _inputs(file: Path) -> dict[str, object]:
    return {"content": digest([file]), "procedure": PROCEDURE}


def forms(file: Path, store: Store) -> list[Path]:
    """Return the forms in which a guest can have a file: as it is, and with calls."""
    entry = store.get("fast", digest(_inputs(file)))
    return [file, entry / "file"] if entry is not None else [file]


def _write(directory: Path, file: Path) -> None:
    from ukl.syscalls import rewrite_loaded  # noqa: PLC0415 - capstone takes 40 ms

    try:
        elf = Elf.open(file)
        data = rewrite_loaded.rewrite(elf).data if elf.kind in LINKED else None
    except (InputError, Unsuitable) as error:
        (directory / "reason").write_text(f"{error}\n")
        return
    if data is not None:
        made = directory / "file"
        made.write_bytes(data)
        shutil.copymode(file, made)
