# SPDX-License-Identifier: GPL-2.0
"""Python programs: a script and its packages, run by the example `python`. Pure.

The example is the interpreter (examples/python); here it gets the arguments and variables
that make it the application that a person named. recipe/python.py gives it the files.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ukl.base.model import AppSpec, PythonSpec

EXAMPLE = "python"
DIRECTORY = "/app"
"""Where the script is in the guest."""


def guest_script(script: Path) -> str:
    """Return where a script is in the guest."""
    return f"{DIRECTORY}/{script.name}"


def guest_path(number: int) -> str:
    """Return where the `number`th directory of packages is in the guest."""
    return f"{DIRECTORY}/path/{number}"


def applied(interpreter: AppSpec, python: PythonSpec, spec: AppSpec) -> AppSpec:
    """Return `spec` as the interpreter that runs its script.

    What the interpreter needs comes from its own specification; what is said in
    `spec` goes before that.
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
