# SPDX-License-Identifier: GPL-2.0
"""Makes an application of PROG.ukl.o, the partially linked object of a program.

The compiler wrapper (ukl-cc) writes it, with debug information, beside the program.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ukl.app import compile as plan
from ukl.app import link, link_commands, linking, populated, toolchain
from ukl.app.build import compile_unit
from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import AppObject, AppSpec
from ukl.base.progress import Progress
from ukl.elf.reader import SHT_NOBITS, Elf
from ukl.host.store import Command, Store, digest

FORMAT = 1
"""Format of PROG.ukl.json."""

OBJECT_SUFFIX = ".ukl.o"
FACTS_SUFFIX = ".ukl.json"

PROCEDURE = 11
"""Part of the key. Raise it when the result changes but the argument lists do not."""


def object_path(program: Path) -> Path:
    """Return where the partially linked object of `program` is."""
    return program.with_name(program.name + OBJECT_SUFFIX)


def facts_path(program: Path) -> Path:
    """Return the file with the facts about that object, or the reason why it is missing."""
    return program.with_name(program.name + FACTS_SUFFIX)


def find(program: Path, store: Store) -> Path:
    """Return the object of `program`: beside it, or where it was linked; or `program` itself.

    cargo, go and `make install` move what they linked; the cache records where it was.
    Raises InputError with the wrapper's reason when there is no object.
    """
    if is_application(program):
        return program
    content = content_digest(program)
    linked = store.place("linked", content)
    for path, facts_file in (
        (object_path(program), facts_path(program)),
        (linked / "ukl.o", linked / "ukl.json"),
    ):
        recorded = _read(facts_file)
        if recorded.get("content") != content:
            continue
        reason = recorded.get("error")
        if isinstance(reason, dict):
            raise InputError(
                f"this program has no unikernel form: {reason.get('message')}",
                where=reason.get("where") or program,
                remedy=reason.get("remedy"),
                log=facts_file,
            )
        if path.is_file():
            return path
    remedy = (
        "build it with: ukl wrap -- make (or its own build command). If that was done, the build "
        "calls a compiler by its path, or one that is not of gcc's or clang's family: have it link "
        "by ukl-cc. If the name looks like a configure script's probe, set UKL_WRAP_ALL=1"
    )
    path = object_path(program)
    if path.exists():
        text = f"the program and {path.name} come from different links"
    else:
        text = f"the program was not linked by ukl-cc: no {path.name} beside it"
    raise InputError(text, where=program, remedy=remedy)


_LATE = ".go.fipsinfo"
"""Section with a checksum that `go build` writes into the program after the link."""

_GO_BUILD_ID = re.compile(rb'\xff Go build ID: "[^"\n]*"\n \xff')
"""At the start of .text; `go build` writes it into the program after the link."""


def content_digest(program: Path) -> str:
    """Return a digest of code and data, which identifies the link and survives strip(1)."""
    elf = Elf.open(program)
    return digest(
        [
            [section.name, section.address, _GO_BUILD_ID.sub(b"", elf.content(section))]
            for section in elf.sections
            if section.allocated
            and section.kind not in {SHT_NOBITS, "SHT_NOTE"}
            and section.name != _LATE
        ]
    )


def remember(program: Path, content: str, store: Store, *, copy: bool) -> None:
    """Record in the cache where the object of `program` is; `copy` it if it will be deleted.

    Only the name of `program` is used: the object may be elsewhere than the program.
    """
    files = {"ukl.o": object_path(program), "ukl.json": facts_path(program)}

    def put(file: Path, at: Path) -> None:
        if copy and file.exists():
            shutil.copyfile(file, at)
        else:
            at.symlink_to(file)

    def work(directory: Path) -> None:
        for name, file in files.items():
            put(file, directory / name)

    place = store.make("linked", content, {"program": program}, work)
    known = place / "ukl.json"
    # The same program was linked elsewhere earlier. A copy stays valid; a symlink may dangle.
    stale = not known.exists() if copy else known.resolve() != facts_path(program).resolve()
    if stale:
        for name, file in files.items():
            fresh = place / f".{name}.{os.getpid()}"
            put(file, fresh)
            fresh.replace(place / name)


def bring(program: Path, store: Store) -> None:
    """Copy the object of `program` beside it if the build linked it under another name.

    The cache's symlinks point into a directory that the build of a recipe renames later.
    Without an object this does nothing; find() reports it.
    """
    linked = store.place("linked", content_digest(program))
    files = {object_path(program): linked / "ukl.o", facts_path(program): linked / "ukl.json"}
    for target, source in files.items():
        if source.is_file() and not target.exists():
            shutil.copyfile(source, target)


def is_known(program: Path, store: Store) -> bool:
    """Whether ukl-cc linked `program`, be it without success, or it is an object itself."""
    if is_application(program) or facts_path(program).exists():
        return True
    return (store.place("linked", content_digest(program)) / "ukl.json").exists()


def is_application(path: Path) -> bool:
    """Whether the file is a partially linked application."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    elf = Elf.open(path)
    return elf.kind == "ET_REL" and bool(elf.addresses([link.ENTRY]))


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _debug(spec: AppSpec) -> bool:
    """Whether the program keeps its debug information: not if it is a recipe's, as in packages."""
    return spec.build is None


def build(spec: AppSpec, store: Store, progress: Progress) -> AppObject:
    """Return the object of `spec.program` and the normal executable made from it."""
    assert spec.program is not None
    source = find(spec.program, store)
    tools = toolchain.find()
    scripts = resources.path(linking.SCRIPTS)
    with progress.stage(f"take {spec.program.name}") as stage:
        syscall, *populate = (
            compile_unit(plan.unit(file, file.parent, (), tools.cc, tools.cxx), store, [])
            for file in (scripts / "syscall.S", *populated.sources(spec))
        )
        out = Path("out")
        key = digest(
            "captured",
            PROCEDURE,
            spec.rewriting,
            _debug(spec),
            tools.identity,
            link.strip_argv(tools.objcopy, out, out),
            link.user_argv(tools.ld, out, out, out, out),
            [source, syscall, scripts / "user.lds"],
            *populate,
            *populated.argvs(tools.ld, tools.objcopy, out, [out] * len(populate)),
        )
        if store.get("app", key) is not None:
            stage.cached()

        def work(directory: Path) -> None:
            (directory / "app.debug.o").write_bytes(source.read_bytes())
            populated.join(tools.ld, tools.objcopy, directory, populate)
            linking.finish(
                tools.ld,
                tools.objcopy,
                directory,
                syscall,
                scripts,
                level=spec.rewriting,
                debug=_debug(spec),
            )

        summary = {"name": spec.name, "program": spec.program, "object": source}

        def commands(directory: Path) -> list[Command]:
            ld, objcopy = tools.ld, tools.objcopy
            return link_commands.finish(ld, objcopy, directory, syscall, scripts, populate=populate)

        directory = store.make("app", key, summary, work, commands)
        found = linking.read_facts(directory)
        stage.result(linking.summary(found))
    return AppObject(spec.name, directory / "app.o", directory / "user", found, key)
