# SPDX-License-Identifier: GPL-2.0
"""Which of the required packages are not there, and installing them (Debian, Ubuntu)."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ukl.base.errors import MissingError
from ukl.host import exec as host_exec
from ukl.host import process
from ukl.host.programs import clean_environment
from ukl.host.requirements import REQUIREMENTS, Requirement, install_command

LISTS = Path("/var/lib/apt/lists")
LISTS_FRESH = 7 * 86400.0
"""Seconds after which `apt-get update` comes before an installation."""


def is_there(row: Requirement) -> bool:
    """Tell whether the tool (or file) of `row` is on this machine and usable."""
    if row.file is None:
        return shutil.which(row.tool, path=clean_environment()["PATH"]) is not None
    file = Path(row.file)
    if not file.is_file():
        return False
    return row.tool != "busybox" or is_static(file)


def is_static(program: Path) -> bool:
    """Tell whether an ELF program runs without a dynamic linker, as in an initrd it must."""
    with program.open("rb") as stream:
        return b"ld-linux" not in stream.read(1024)


def missing(*, optional: bool = False) -> list[Requirement]:
    """Return what is required (with `optional`: also what would be nice) and not there."""
    return [row for row in REQUIREMENTS if row.optional <= optional and not is_there(row)]


def require(*tools: str) -> None:
    """Raise MissingError, with the command that installs them, unless all `tools` are there."""
    absent = [row for row in REQUIREMENTS if row.tool in tools and not is_there(row)]
    if absent:
        raise MissingError(
            "not on this machine: " + ", ".join(f"{row.tool} ({row.purpose})" for row in absent),
            remedy=install_command(*(row.package for row in absent)),
        )


def owners(files: Iterable[str]) -> dict[str, str | None]:
    """Return file -> Debian package it came with; None for one that no package has."""
    found: dict[str, str | None] = dict.fromkeys(files)
    if not found or not _has_dpkg():
        return found
    # dpkg knows a file by the name its package has: /lib and /usr/lib are one directory.
    names = {name: other for other in found for name in _merged(other)}
    result = host_exec.run_apart(["dpkg-query", "-S", *names], check=False)
    for line in result.stdout.splitlines():
        package, _, name = line.partition(": ")
        if name in names:
            found[names[name]] = package.partition(":")[0].partition(",")[0]
    return found


def files(package: str) -> tuple[str, ...]:
    """Return the files of an installed Debian package; none if there is no such."""
    if not _has_dpkg():
        return ()
    result = host_exec.run_apart(["dpkg-query", "-L", package], check=False)
    return tuple(result.stdout.splitlines()) if result.returncode == 0 else ()


def _has_dpkg() -> bool:
    return shutil.which("dpkg-query", path=clean_environment()["PATH"]) is not None


def _merged(name: str) -> tuple[str, ...]:
    real = os.path.realpath(name)
    names = {name, os.path.normpath(name), real}
    return tuple(names | {each.removeprefix("/usr") for each in names if each[:9] == "/usr/lib/"})


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the Debian packages that are installed."""
    names = list(packages)
    if not names or shutil.which("dpkg-query") is None:
        return {}
    argv = ["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version}\\n", *names]
    rows = [line.split() for line in host_exec.run(argv, check=False).stdout.splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}


def is_installed(package: str) -> bool:
    """Tell whether a Debian package is installed; where there is no dpkg, nobody knows: yes."""
    return shutil.which("dpkg-query") is None or package in versions([package])


def install(packages: Iterable[str]) -> None:
    """Install Debian packages, talking to the person at the terminal (sudo may ask).

    Raises MissingError with the command to give to an administrator when this
    user may not, and CommandFailed when apt-get fails.
    """
    names = list(dict.fromkeys(packages))
    if not names:
        return
    manual = install_command(*names)
    if shutil.which("apt-get") is None:
        raise MissingError(
            f"this is not a Debian or Ubuntu system (no apt-get); needed: {' '.join(names)}",
            remedy="install what these packages contain with the system's own package manager",
        )
    prefix: list[str] = []
    if os.geteuid() != 0:
        if shutil.which("sudo") is None or not _sudo_possible():
            raise MissingError(
                f"this user may not install packages: {' '.join(names)}",
                remedy=f"as an administrator: {manual}",
            )
        prefix = ["sudo"]
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    if not _lists_fresh():
        _foreground([*apt, "update"], manual)
    _foreground([*apt, "--no-install-recommends", "install", *names], manual)


def _sudo_possible() -> bool:
    """Tell whether sudo would work: without a password, or with somebody there to type it."""
    return sys.stdin.isatty() or host_exec.run(["sudo", "-n", "true"], check=False).returncode == 0


def _lists_fresh() -> bool:
    files = [file for file in LISTS.glob("*_Packages*") if file.is_file()]
    return bool(files) and time.time() - LISTS.stat().st_mtime < LISTS_FRESH


def _foreground(argv: list[str], manual: str) -> None:
    status = process.in_foreground(argv, stdout=sys.stderr.fileno())
    if status != 0:
        raise host_exec.CommandFailed(argv, status, "", remedy=f"try it by hand: {manual}")
