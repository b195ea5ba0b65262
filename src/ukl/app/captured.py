# SPDX-License-Identifier: GPL-2.0
"""Takes the partially linked object of a program that ukl-cc linked: PROG.ukl.o.

The compiler wrapper writes it beside the program, with its debug information; here
it becomes an application like one that we compiled ourselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ukl import resources
from ukl.app import compile as plan
from ukl.app import link, linking, toolchain
from ukl.app.build import compile_unit
from ukl.elf.reader import Elf, facts
from ukl.errors import InputError
from ukl.host.store import Store, digest
from ukl.model import AppObject, AppSpec
from ukl.progress import Progress

FORMAT = 1
"""Of PROG.ukl.json."""

OBJECT_SUFFIX = ".ukl.o"
FACTS_SUFFIX = ".ukl.json"

PROCEDURE = 1
"""Part of the key: raised when the result changes and the argument lists do not."""


def object_path(program: Path) -> Path:
    """Return where the partially linked object of `program` is."""
    return program.with_name(program.name + OBJECT_SUFFIX)


def facts_path(program: Path) -> Path:
    """Return where the facts about it are, or the reason why there is none."""
    return program.with_name(program.name + FACTS_SUFFIX)


def find(program: Path) -> Path:
    """Return the object of `program`: an executable with PROG.ukl.o beside it, or the object.

    Raises InputError with the wrapper's own reason when there is no object.
    """
    if is_application(program):
        return program
    path = object_path(program)
    recorded = _recorded(program)
    reason = recorded.get("error")
    if isinstance(reason, dict):
        raise InputError(
            f"this program has no unikernel form: {reason.get('message')}",
            where=reason.get("where") or program,
            remedy=reason.get("remedy"),
            log=facts_path(program),
        )
    if not path.is_file():
        raise InputError(
            f"it was not linked by ukl-cc: there is no {path.name} beside it",
            where=program,
            remedy="build it by: ukl wrap -- make (or what builds it); a name that is "
            "taken for a configure script's probe is linked with UKL_WRAP_ALL=1",
        )
    if recorded.get("text") not in {None, text_digest(program)}:
        raise InputError(
            f"it is of another link than {path.name}",
            where=program,
            remedy="link it with ukl-cc again",
        )
    return path


def text_digest(program: Path) -> str | None:
    """Return what tells links apart and strip(1) leaves alone: a digest of the code."""
    elf = Elf.open(program)
    section = elf.section(".text")
    return None if section is None else digest(elf.content(section))


def is_application(path: Path) -> bool:
    """Whether the file is a partially linked application."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    elf = Elf.open(path)
    return elf.kind == "ET_REL" and bool(elf.addresses([link.ENTRY]))


def _recorded(program: Path) -> dict[str, Any]:
    try:
        content = json.loads(facts_path(program).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def build(spec: AppSpec, store: Store, progress: Progress) -> AppObject:
    """Return the object of `spec.program`, and the normal executable of the very same."""
    assert spec.program is not None
    source = find(spec.program)
    tools = toolchain.find()
    scripts = resources.path(linking.SCRIPTS)
    with progress.stage(f"take {source.name}") as stage:
        unit = plan.unit(scripts / "syscall.S", scripts, (), tools.cc, tools.cxx)
        syscall = compile_unit(unit, store, [])
        out = Path("out")
        key = digest(
            "captured",
            PROCEDURE,
            tools.identity,
            link.strip_argv(tools.objcopy, out, out),
            link.user_argv(tools.ld, out, out, out, out),
            [source, syscall, scripts / "user.lds"],
        )
        if store.get("app", key) is not None:
            stage.cached()

        def work(directory: Path) -> None:
            (directory / "app.debug.o").write_bytes(source.read_bytes())
            linking.finish(tools.ld, tools.objcopy, directory, syscall, scripts)

        summary = {"name": spec.name, "program": spec.program, "object": source}
        directory = store.make("app", key, summary, work)
    path = directory / "app.o"
    return AppObject(spec.name, path, directory / "user", facts(path), key)
