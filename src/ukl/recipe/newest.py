# SPDX-License-Identifier: GPL-2.0
"""Finds the version in the name of a source package, such as `python3.*`.

`*` in the name stands for digits. The same digits replace it in the names of packages and files
that the recipe has. apt's lists know the binary package of the same name.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import AppSpec
from ukl.host import exec as host_exec

STAR = "*"
TIMEOUT = 60.0


def named(spec: AppSpec) -> AppSpec:
    """Return `spec` with the newest source package that its recipe's pattern matches.

    Raises InputError if the distribution has none.
    """
    build = spec.build
    if build is None or (pattern := build.source.debian) is None or STAR not in pattern:
        return spec
    digits = newest(pattern, _packages(pattern))
    if digits is None:
        raise InputError(
            f"the distribution has no package {pattern}",
            where=spec.origin,
            remedy="update apt's package lists (apt-get update), or name another source",
        )

    def text(value: str) -> str:
        return value.replace(STAR, digits)

    def texts(values: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(text, values))

    def files(values: Mapping[str, str]) -> dict[str, str]:
        return {text(guest): text(name) for guest, name in values.items()}

    build = replace(
        build,
        source=replace(build.source, debian=text(pattern)),
        packages=texts(build.packages),
        files=files(build.files),
    )
    suite = spec.suite
    if suite is not None:
        host = {text(guest): Path(text(str(path))) for guest, path in suite.files.items()}
        suite = replace(suite, packages=texts(suite.packages), files=host)
    return replace(spec, build=build, suite=suite)


def newest(pattern: str, names: Iterable[str]) -> str | None:
    """Return the highest digits that `*` stands for in the matching `names`. Pure."""
    before, _, after = pattern.partition(STAR)
    expression = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    found = [match[1] for name in names if (match := expression.fullmatch(name))]
    return max(found, key=int, default=None)


def _packages(pattern: str) -> list[str]:
    """Return the packages whose names begin like `pattern`."""
    if shutil.which("apt-cache") is None:
        return []
    before = re.escape(pattern.partition(STAR)[0])
    argv = ["apt-cache", "search", "--names-only", f"^{before}"]
    lines = host_exec.run(argv, check=False, timeout=TIMEOUT).stdout.splitlines()
    return [line.partition(" ")[0] for line in lines]
