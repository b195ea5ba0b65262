# SPDX-License-Identifier: GPL-2.0
"""Python programs: a script and its packages, run by the example `python`. Pure.

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
    directories = ":".join(guest_path(number) for number in range(len(python.path)))
    path = {"PYTHONPATH": directories} if directories else {}
    return replace(
        spec,
        build=interpreter.build,
        sources=(),
        python=python,
        command=(guest_script(python.script),),
        env={**interpreter.env, **path, **spec.env},
        files={**interpreter.files, **spec.files},
        kernel_options={**interpreter.kernel_options, **spec.kernel_options},
    )
