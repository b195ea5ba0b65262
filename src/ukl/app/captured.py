# SPDX-License-Identifier: GPL-2.0
"""Takes the partially linked object of a program that ukl-cc linked: PROG.ukl.o.

The compiler wrapper writes it beside the program, with its debug information; here
it becomes an application like one that we compiled ourselves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ukl.app import compile as plan
from ukl.app import link, linking, planned, populated, toolchain
from ukl.app.build import compile_unit
from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import AppObject, AppSpec
from ukl.base.progress import Progress
from ukl.elf.reader import SHT_NOBITS, Elf
from ukl.host.store import Command, Store, digest

FORMAT = 1
"""Of PROG.ukl.json."""

OBJECT_SUFFIX = ".ukl.o"
FACTS_SUFFIX = ".ukl.json"

PROCEDURE = 6
"""Part of the key: raised when the result changes and the argument lists do not."""


def object_path(program: Path) -> Path:
    """Return where the partially linked object of `program` is."""
    return program.with_name(program.name + OBJECT_SUFFIX)


def facts_path(program: Path) -> Path:
    """Return where the facts about it are, or the reason why there is none."""
    return program.with_name(program.name + FACTS_SUFFIX)


def find(program: Path, store: Store) -> Path:
    """Return the object of `program`: beside it, or where it was linked; or itself.

    cargo, go and `make install` move what they linked: the cache remembers from where.
    Raises InputError with the wrapper's own reason when there is no object.
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
        "build it by: ukl wrap -- make (or what builds it); a name that is taken for "
        "a configure script's probe is linked with UKL_WRAP_ALL=1"
    )
    path = object_path(program)
    if path.exists():
        text = f"it is of another link than {path.name}"
    else:
        text = f"it was not linked by ukl-cc: there is no {path.name} beside it"
    raise InputError(text, where=program, remedy=remedy)


_GO_BUILD_ID = re.compile(rb'\xff Go build ID: "[^"\n]*"\n \xff')
"""At the begin of the text; `go build` writes it into the program after the link."""


def content_digest(program: Path) -> str:
    """Return what tells links apart: a digest of code and data, which strip(1) leaves alone."""
    elf = Elf.open(program)
    return digest(
        [
            [section.name, section.address, _GO_BUILD_ID.sub(b"", elf.content(section))]
            for section in elf.sections
            if section.allocated and section.kind not in {SHT_NOBITS, "SHT_NOTE"}
        ]
    )


def remember(program: Path, content: str, store: Store, *, copy: bool) -> None:
    """Note in the cache where the object of `program` is; `copy` it if it will vanish."""
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
    # The same program was linked elsewhere before. A copy stays good; a link may lead nowhere.
    stale = not known.exists() if copy else known.resolve() != facts_path(program).resolve()
    if stale:
        for name, file in files.items():
            fresh = place / f".{name}.{os.getpid()}"
            put(file, fresh)
            fresh.replace(place / name)


def bring(program: Path, store: Store) -> None:
    """Put the object of `program` beside it, where a build linked it under another name.

    Links that the cache remembers lead into a directory that a recipe's build renames.
    Nothing happens where there is no object: whoever wants it says so.
    """
    linked = store.place("linked", content_digest(program))
    files = {object_path(program): linked / "ukl.o", facts_path(program): linked / "ukl.json"}
    for target, source in files.items():
        if source.is_file() and not target.exists():
            shutil.copyfile(source, target)


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


def build(spec: AppSpec, store: Store, progress: Progress) -> AppObject:
    """Return the object of `spec.program`, and the normal executable of the very same."""
    assert spec.program is not None
    source = find(spec.program, store)
    tools = toolchain.find()
    scripts = resources.path(linking.SCRIPTS)
    with progress.stage(f"take {spec.program.name}") as stage:
        syscall, *populate = (
            compile_unit(plan.unit(ours, ours.parent, (), tools.cc, tools.cxx), store, [])
            for ours in (scripts / "syscall.S", *populated.sources(spec))
        )
        out = Path("out")
        key = digest(
            "captured",
            PROCEDURE,
            spec.rewriting,
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
            )

        summary = {"name": spec.name, "program": spec.program, "object": source}

        def commands(directory: Path) -> list[Command]:
            ld, objcopy = tools.ld, tools.objcopy
            return planned.ending(ld, objcopy, directory, syscall, scripts, populate=populate)

        directory = store.make("app", key, summary, work, commands)
        found = linking.known(directory)
        stage.result(linking.summary(found))
    return AppObject(spec.name, directory / "app.o", directory / "user", found, key)
