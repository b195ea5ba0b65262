# SPDX-License-Identifier: GPL-2.0
"""Programs of this machine: where they are, and what environment they get."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from ukl.base.errors import MissingError
from ukl.host.requirements import PACKAGE_OF, install_command

Arg: TypeAlias = str | os.PathLike[str]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment children get: nothing of ours but PATH, HOME and TMPDIR."""
    env = {
        "PATH": os.environ.get("PATH") or "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": os.environ.get("HOME") or "/",
        "LANG": "C.UTF-8",
    }
    if "TMPDIR" in os.environ:
        env["TMPDIR"] = os.environ["TMPDIR"]
    env.update(extra or {})
    return env


def find(program: Arg, env: Mapping[str, str] | None = None) -> str:
    """Return the path of `program`; MissingError names the package that has it."""
    name = os.fspath(program)
    found = shutil.which(name, path=(env or clean_environment())["PATH"])
    if found is not None:
        return str(Path(found).absolute())  # cwd= must not move it
    package = PACKAGE_OF.get(Path(name).name)
    remedy = install_command(package) if package else f"install {name}, or put it into PATH"
    where = "PATH" if os.sep not in name else name
    raise MissingError(f"the program `{name}` is not on this machine", where=where, remedy=remedy)
