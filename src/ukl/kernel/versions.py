# SPDX-License-Identifier: GPL-2.0
"""Which kernels a patch series applies to: `kernel/*/base.toml`.

Only these files hold the ranges of versions; this module reads and compares them. A
version is what the top Makefile of a kernel tree says, such as 6.12.117 or 6.13-rc4
(which sorts before 6.13).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base import resources
from ukl.base.errors import InputError, UklError

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-rc(\d+))?")

_FINAL = 1 << 20
"""Stands for "no -rc": a release sorts after all its candidates."""

_FIELDS = {"from", "below", "tested", "package", "suites", "download", "sha256"}


def is_version(text: str) -> bool:
    """Whether `text` has the form of a kernel version."""
    return _VERSION.fullmatch(text) is not None


def order(version: str) -> tuple[int, int, int, int]:
    """Return a sort key of a version, without its suffix (-ukl, +deb12)."""
    match = _VERSION.match(version)
    if match is None:
        raise InputError(f"not a kernel version: {version!r}", remedy="write it as in 6.12.30")
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), int(patch or 0), int(candidate) if candidate else _FINAL


@dataclass(frozen=True, slots=True)
class Base:
    """The content of one `base.toml`: the series' directory and the kernels it is for."""

    directory: Path
    first: str
    below: str
    tested: tuple[str, ...]
    package: str | None
    suites: tuple[str, ...]
    download: str | None
    sha256: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the series, such as 6.12."""
        return self.directory.name

    @property
    def series(self) -> Path:
        """The file that lists the patches in order."""
        return self.directory / "series"

    def covers(self, version: str) -> bool:
        """Whether the series is for this version."""
        # A release candidate of the first version sorts before it, and is not covered.
        return order(self.first) <= order(version) < (*order(self.below)[:3], 0)

    def range(self) -> str:
        """Return the range as text, for messages."""
        return f"{self.first} <= version < {self.below}"


def load(file: Path) -> Base:
    """Read a `base.toml`; raises UklError if it is malformed."""
    try:
        data = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UklError(f"cannot read this file: {error}", where=file) from error
    unknown = sorted(set(data) - _FIELDS)
    if unknown:
        raise UklError(f"unknown key {unknown[0]!r}", where=file)
    try:
        return Base(
            directory=file.parent,
            first=data["from"],
            below=data["below"],
            tested=tuple(data.get("tested", ())),
            package=data.get("package"),
            suites=tuple(data.get("suites", ())),
            download=data.get("download"),
            sha256=dict(data.get("sha256", {})),
        )
    except KeyError as error:
        raise UklError(f"key {error} is missing", where=file) from error


def bases(root: Path | None = None) -> tuple[Base, ...]:
    """Return all series, the newest kernel first; `root` is the `kernel` directory."""
    top = root or resources.path("kernel")
    found = (load(file) for file in top.glob("*/base.toml"))
    return tuple(sorted(found, key=lambda base: order(base.first), reverse=True))


def named(name: str, known: tuple[Base, ...]) -> Base:
    """Return the series of that name, such as 7.3; raises InputError if there is none."""
    for base in known:
        if base.name == name:
            return base
    raise InputError(
        f"there is no series for Linux {name}",
        remedy=f"the series are: {', '.join(base.name for base in known)}; an exact version is "
        "named with --kernel-source",
    )


def every(base: Base, package: str | None = None) -> Base:
    """Return `base` with a range that covers every kernel, and another package. Pure."""
    return replace(base, first="2.6", below="1000.0", tested=(), package=package, download=None)


def base_for(version: str, known: tuple[Base, ...], where: str | Path | None = None) -> Base:
    """Return the series for a version; raises InputError if none covers it."""
    for base in known:
        if base.covers(version):
            return base
    ranges = "; ".join(base.range() for base in known)
    tested = ", ".join(version for base in known for version in base.tested)
    raise InputError(
        f"no patch series is for Linux {version} (supported: {ranges})",
        where=where,
        remedy=f"use a supported version (tested: {tested}), or omit --kernel-source",
    )


def tree_version(tree: Path) -> str:
    """Return the version of a kernel tree from its top Makefile, such as 6.12.117."""
    makefile = tree / "Makefile"
    try:
        head = makefile.read_text(errors="replace")[:2000]
    except OSError:
        head = ""
    pattern = r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *=[ \t]*(\S*)"
    found: dict[str, str] = dict(re.findall(pattern, head, re.M))
    if not all(found.get(name) for name in ("VERSION", "PATCHLEVEL")):
        raise InputError(
            "not the top of a Linux source tree: its Makefile has no version",
            where=tree,
            remedy="name the directory that holds MAINTAINERS, Kconfig and Makefile",
        )
    version = f"{found['VERSION']}.{found['PATCHLEVEL']}"
    if found.get("SUBLEVEL"):
        version += f".{found['SUBLEVEL']}"
    return version + found.get("EXTRAVERSION", "")
