# SPDX-License-Identifier: GPL-2.0
"""Python programs: a script and its packages, run by the example `python`.

The interpreter is examples/python. This module adds the arguments and variables that make it
run the user's script; recipe/python.py adds the files.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ukl.base.model import AppSpec, PythonSpec

EXAMPLE = "python"
DIRECTORY = "/app"
"""Directory of the script in the guest."""

VENV = "pyvenv.cfg"
"""The file in the top directory of a virtual environment."""

LINKED, INSTALLED = "linked", "installed"
"""The interpreters: the one of the example, and one of this machine as it is."""


def guest_script(script: Path) -> str:
    """Return the path of a script in the guest."""
    return f"{DIRECTORY}/{script.name}"


def guest_path(number: int) -> str:
    """Return the path in the guest of the `number`th directory of packages."""
    return f"{DIRECTORY}/path/{number}"


def applied(interpreter: AppSpec, python: PythonSpec, spec: AppSpec) -> AppSpec:
    """Return `spec` with the interpreter as its program, which runs the script.

    The rest of the interpreter's specification is a default; settings in `spec` override it.
    """
    return replace(
        spec,
        build=interpreter.build,
        sources=(),
        python=python,
        command=(guest_script(python.script),),
        env={**interpreter.env, **_path(python), **spec.env},
        files={**interpreter.files, **spec.files},
        kernel_options={**interpreter.kernel_options, **spec.kernel_options},
    )


def _path(python: PythonSpec) -> dict[str, str]:
    directories = ":".join(guest_path(number) for number in range(len(python.path)))
    return {"PYTHONPATH": directories} if directories else {}


def with_venv(spec: AppSpec, venv: Path) -> AppSpec:
    """Return the specification of a script with the packages of a virtual environment."""
    assert spec.python is not None
    python = replace(spec.python, path=(*spec.python.path, packages_of(venv)))
    kept = {
        key: value
        for key, value in spec.env.items()
        if (key, value) not in _path(spec.python).items()
    }
    return replace(spec, python=python, env={**_path(python), **kept})


def packages_of(venv: Path) -> Path:
    """Return the directory of packages of a virtual environment; ValueError if it has none."""
    found = sorted(venv.glob("lib/python3*/site-packages"))
    if not (venv / VENV).is_file() or not found:
        raise ValueError(f"{str(venv)!r} is not a virtual environment")
    return found[0]
