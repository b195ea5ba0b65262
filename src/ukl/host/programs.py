# SPDX-License-Identifier: GPL-2.0
"""Programs of the host: their paths and their environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from ukl.base.errors import MissingError
from ukl.host.requirements import PACKAGE_OF, install_command

Arg: TypeAlias = str | os.PathLike[str]

SYSTEM = ("/usr/sbin", "/sbin")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of children: PATH, HOME and TMPDIR, LANG, and `extra`.

    PATH ends in the directories of mke2fs and others, which Debian gives to root only.
    """
    path = (os.environ.get("PATH") or "/usr/bin:/bin").split(":")
    env = {
        "PATH": ":".join([*path, *(each for each in SYSTEM if each not in path)]),
        "HOME": os.environ.get("HOME") or "/",
        "LANG": "C.UTF-8",
    }
    if "TMPDIR" in os.environ:
        env["TMPDIR"] = os.environ["TMPDIR"]
    env.update(extra or {})
    return env


def find(program: Arg, env: Mapping[str, str] | None = None) -> str:
    """Return the path of `program`; raises MissingError with the package that contains it."""
    name = os.fspath(program)
    found = shutil.which(name, path=(env or clean_environment())["PATH"])
    if found is not None:
        return str(Path(found).absolute())  # so that it does not depend on cwd=
    package = PACKAGE_OF.get(Path(name).name)
    remedy = install_command(package) if package else f"install {name}, or add it to PATH"
    where = "PATH" if os.sep not in name else name
    raise MissingError(f"the program `{name}` is not installed", where=where, remedy=remedy)
