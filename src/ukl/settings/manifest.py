# SPDX-License-Identifier: GPL-2.0
"""`ukl.toml` -> AppSpec. An error names file, line, key and what to write instead."""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, create_model

from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import AppSpec, PythonSpec
from ukl.settings import models, python, recipe, roots, table
from ukl.settings.explain import explained, read, renamed
from ukl.settings.setting import Setting
from ukl.settings.table import Overrides, overridden
from ukl.settings.values import COMPILED, expanded, name_of, parse_name

FILENAME = "ukl.toml"
DOCUMENT = "ukl-toml.md"


_COMPILER = frozenset({"cflags", "libraries", "sources", "objects"})
"""Settings for compiling and linking sources."""


# --- the schema ------------------------------------------------------------------


def rows_of(name: str) -> tuple[Setting, ...]:
    """Return the rows that are keys of the table `name`."""
    return tuple(row for row in table.APPLICATION if row.key.startswith(f"{name}."))


def _model() -> type[BaseModel]:
    """Return the model of the file: tables made of rows, and those of recipe.py."""
    tables: dict[str, Any] = {
        name: (models.model(f"_{name}", rows_of(name)) | None, Field(None, description=text))
        for name, text in table.TABLES.items()
    }
    by_hand: dict[str, Any] = {
        "build": (recipe.BuildTable, "A program that its own build system builds."),
        "python": (recipe.PythonTable, "A Python program, instead of `sources`."),
        "test": (recipe.TestTable, "The program's own tests: see `ukl compare`."),
    }
    for name, (kind, text) in by_hand.items():
        tables[name] = (kind | None, Field(None, description=text))
    order = ("app", "build", "python", "test", *list(table.TABLES)[1:])
    return create_model("Manifest", __base__=models.Table, **{name: tables[name] for name in order})


MODEL = _model()
"""The model that checks the file and gives its JSON schema."""


# --- loading -----------------------------------------------------------------


def load(path: Path, *, alone: bool = False) -> AppSpec:
    """Return the specification in `path`: a `ukl.toml`, its directory, a source file,
    a Python script or a program.

    `alone` leaves out the further applications of its kernel. Raises InputError if `path`
    does not exist or has an error.
    """
    if path.is_dir():
        if not (path / FILENAME).is_file():
            raise InputError(
                f"the directory has no {FILENAME}",
                where=path,
                remedy=f'create one; the minimum is:\n[app]\nsources = ["{path.name}.c"]',
            )
        path = path / FILENAME
    if not path.is_file():
        raise InputError(
            "there is no such file",
            where=path,
            remedy=f"name a directory with a {FILENAME}, a C file, a Python script, or an example "
            f"({', '.join(example_names()) or 'none installed'})",
        )
    path = path.absolute()
    if path.suffix in COMPILED:
        return AppSpec(name_of(path.stem), path, path.parent, sources=(path,))
    if path.suffix == ".py":
        # One name for all scripts: they share the kernel with the interpreter.
        spec = AppSpec(python.EXAMPLE, path, path.parent)
        return _with_python(spec, PythonSpec(path), {})
    if path.suffix != ".toml":
        return _load_program(path)
    return _load_toml(path, alone=alone)


def _with_python(spec: AppSpec, script: PythonSpec, settings: Overrides) -> AppSpec:
    """Return `spec` as the interpreter that runs the script."""
    interpreter = load(resources.root() / "examples" / python.EXAMPLE)
    spec = python.applied(interpreter, script, spec)
    return spec if "memory" in settings else replace(spec, memory=interpreter.memory)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _load_program(path: Path) -> AppSpec:
    """Return the specification of a program that ukl-cc linked, or of its object."""
    hidden = path.parent / ".libs" / path.name
    if not _is_elf(path) and hidden.is_file():
        path = hidden  # libtool replaces the program by a script
    if not _is_elf(path):
        raise InputError(
            f"`{path.suffix or path.name}` is neither a {FILENAME} nor a C file, nor a program, "
            "nor a Python script that ends in .py",
            where=path,
            remedy=f"name a directory with a {FILENAME}, a file that ends in .c, or a program "
            "that ukl-cc linked",
        )
    name = name_of(path.name.removesuffix(".o").removesuffix(".ukl"))
    return AppSpec(name, path, path.parent, program=path)


def find_example(name: str) -> Path | None:
    """Return the directory of the shipped example `name`; None if there is no such example."""
    directory = resources.root() / "examples" / name
    return directory if "/" not in name and (directory / FILENAME).is_file() else None


def example_names() -> list[str]:
    """Return the names of the shipped examples."""
    return sorted(file.parent.name for file in resources.root().glob(f"examples/*/{FILENAME}"))


def resolve(target: str, *, alone: bool = False) -> AppSpec:
    """Return the specification of `target`: the name of an example, a directory or a file.

    A name without a slash is first looked up as an example; `./NAME` is always a path.
    Raises InputError.
    """
    example = find_example(target)
    if example is not None:
        return load(example, alone=alone)
    path = expanded(target)
    if path.exists() or "/" in target or path.suffix in {*COMPILED, ".py", ".toml"}:
        return load(path, alone=alone)
    names = example_names()
    near = difflib.get_close_matches(target, names, 1)
    raise InputError(
        f"there is no example, file or directory `{target}`"
        + (f"; did you mean `{near[0]}`?" if near else ""),
        remedy=f"name a directory with a {FILENAME}, a C file, a Python script, "
        f"or one of the examples: {', '.join(names)}",
    )


def specified(target: str, overrides: Overrides) -> AppSpec:
    """Return the specification of `target` with `overrides` applied. Raises InputError.

    `overrides` names further applications as targets.
    """
    if roots.image(target) is not None:
        raise InputError(
            f"{target} is an image of files, which only `ukl run`, `ukl package` and `ukl compose` "
            "take",
            remedy="use one of them, or name a program",
        )
    return _specified(resolve(target), overrides)


def runnable(target: str, overrides: Overrides, rootfs: str = "") -> AppSpec:
    """Return what `specified` returns; the target may also be a container image.

    With `rootfs`, a directory or archive of files, the target is a program in it.
    """
    if rootfs:
        spec = roots.files(rootfs, target)
        args = ((target,) if target else ()) + tuple(overrides.get("args", ()))
        overrides = {**overrides, "args": args}
    else:
        spec = roots.image(target) or resolve(target)
    if spec.root is not None:
        roots.check(spec, overrides)
    elif overrides.get("ring0"):
        raise InputError(
            "--ring0 names a program in a container image, and there is none",
            where=spec.origin,
            remedy="leave it out: the program runs in ring 0",
        )
    return _specified(spec, overrides)


def _specified(spec: AppSpec, overrides: Overrides) -> AppSpec:
    """Return the specification with overrides applied."""
    if "with_" in overrides:
        others = tuple(resolve(each) for each in overrides["with_"])
        overrides = {**overrides, "with_": others}
    if "venv" in overrides:
        if spec.python is None:
            raise InputError(
                f"{spec.name} is not a Python script: --venv is for those",
                where=spec.origin,
                remedy="leave --venv out",
            )
        spec = python.with_venv(spec, overrides["venv"])
    if _COMPILER & set(overrides) and not spec.sources:
        raise InputError(
            f"{spec.name} is not compiled from sources: it takes no compiler options",
            where=spec.origin,
            remedy="leave them out, or add them to its own build",
        )
    return overridden(spec, overrides)


def _load_toml(path: Path, *, alone: bool) -> AppSpec:
    text, data = read(path)
    for old, new in table.OLD_KEYS.items():
        renamed(path, text, data, old, new)
    try:
        content = MODEL.model_validate(data, context={"directory": path.parent})
    except ValidationError as error:
        raise explained(path, text, error, MODEL, DOCUMENT) from error
    settings: dict[str, Any] = {}
    for name in table.TABLES:
        if (part := getattr(content, name)) is not None:
            settings |= models.assigned(rows_of(name), part)
    build, script, suite = (getattr(content, name) for name in ("build", "python", "test"))
    _check(path, settings, has_build=build is not None, has_script=script is not None)
    directory = path.parent
    if "name" not in settings:
        settings["name"] = _directory_name(path)
    others = settings.pop("with_", ())
    spec = AppSpec(
        origin=path,
        directory=directory,
        build=recipe.build_spec(build, directory) if build is not None else None,
        suite=recipe.suite_spec(suite, directory) if suite is not None else None,
        with_=() if alone else tuple(_other(path, each) for each in others),
        **settings,
    )
    return spec if script is None else _with_python(spec, recipe.python_spec(script), settings)


def _directory_name(path: Path) -> str:
    try:
        return parse_name(path.parent.name)
    except ValueError as error:
        raise InputError(
            f"the directory's name is not a valid application name: {error}",
            where=path,
            remedy='add to [app]: name = "..."',
        ) from error


def _check(path: Path, settings: Overrides, *, has_build: bool, has_script: bool) -> None:
    """Raise InputError for keys that exclude each other."""
    sources, objects, program = (
        bool(settings.get(key)) for key in ("sources", "objects", "program")
    )
    wrong, remedy = "", ""
    if has_build and (program or sources or objects):
        wrong = "[build] builds the program: it excludes [app] sources, program and [link] objects"
        remedy = "add them to the source's own build system, or leave [build] out"
    elif program and (sources or objects):
        wrong = "[app] program is already linked: it excludes sources and [link] objects"
        remedy = "name either the program or its sources and objects"
    elif has_script and (has_build or program or sources or objects):
        wrong = (
            "[python] runs a script with the interpreter: it excludes [build], [app] sources "
            "and program, and [link] objects"
        )
        remedy = "leave them out, or leave [python] out"
    elif settings.get("imports") and not sources:
        wrong = "[kernel] imports makes a header for [app] sources, but there are no sources"
        remedy = "name sources, or use UKL_IMPORT() and ukl_call_function() of ukl.h"
    elif settings.get("kernel_sources") and not sources:
        wrong = "[kernel] sources are kernel code for [app] sources, but there are no such sources"
        remedy = "name the sources that call it"
    elif not (has_script or has_build or program or sources or objects):
        wrong = "nothing to build: there are no [app] sources, no [link] objects and no [build]"
        remedy = 'add to [app]: sources = ["main.c"]'
    if wrong:
        raise InputError(wrong, where=path, remedy=remedy)


def _other(path: Path, target: str) -> AppSpec:
    """Return a further application that the manifest `path` names for its kernel.

    The applications that `target` names in turn are ignored, so there are no cycles.
    """
    if find_example(target) is None:
        target = os.path.normpath(path.parent / target)
    return resolve(target, alone=True)


def schema() -> dict[str, Any]:
    """Return the JSON schema of `ukl.toml`."""
    return models.schema(MODEL, FILENAME)
