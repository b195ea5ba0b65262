# SPDX-License-Identifier: GPL-2.0
"""Finds missing packages, and installs them (Debian, Ubuntu)."""

from __future__ import annotations

import os
import re
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
"""Seconds after which an installation runs `apt-get update` first."""


def is_there(row: Requirement) -> bool:
    """Tell whether the tool (or file) of `row` is installed and usable."""
    if row.file is None:
        return shutil.which(row.tool, path=clean_environment()["PATH"]) is not None
    file = Path(row.file)
    if not file.is_file():
        return False
    return row.tool != "busybox" or is_static(file)


def is_static(program: Path) -> bool:
    """Tell whether an ELF program needs no dynamic linker: an initrd has none."""
    with program.open("rb") as stream:
        return b"ld-linux" not in stream.read(1024)


def missing(*, optional: bool = False) -> list[Requirement]:
    """Return the required tools that are missing; with `optional` also the optional ones."""
    return [row for row in REQUIREMENTS if row.optional <= optional and not is_there(row)]


def require(*tools: str) -> None:
    """Raise MissingError, with the command to install them, if any of `tools` is missing."""
    absent = [row for row in REQUIREMENTS if row.tool in tools and not is_there(row)]
    if absent:
        raise MissingError(
            "not installed: " + ", ".join(f"{row.tool} ({row.purpose})" for row in absent),
            remedy=install_command(*(row.package for row in absent)),
        )


def owners(files: Iterable[str]) -> dict[str, str | None]:
    """Return file -> Debian package that contains it, or None."""
    found: dict[str, str | None] = dict.fromkeys(files)
    if not found or not _has_dpkg():
        return found
    # dpkg knows a file by its name in the package; /lib and /usr/lib may be one directory.
    names = {name: other for other in found for name in _merged(other)}
    result = host_exec.run_apart(["dpkg-query", "-S", *names], check=False)
    for line in result.stdout.splitlines():
        package, _, name = line.partition(": ")
        if name in names:
            found[names[name]] = package.partition(":")[0].partition(",")[0]
    return found


def files(package: str) -> tuple[str, ...]:
    """Return the files of a Debian package; none if it is not installed."""
    if not _has_dpkg():
        return ()
    result = host_exec.run_apart(["dpkg-query", "-L", package], check=False)
    return tuple(result.stdout.splitlines()) if result.returncode == 0 else ()


def of_object(name: str) -> str | None:
    """Return the Debian package of a shared object that is not installed; None if not known.

    It has the object's name, by Debian Policy 8.1; apt's lists say whether there is one.
    """
    match = re.fullmatch(r"(lib[\w.+-]+)\.so\.(\d[\w.]*)", name)
    if match is None or shutil.which("apt-cache") is None:
        return None
    stem, version = match[1].lower().replace("_", "-"), match[2]
    package = f"{stem}{'-' if stem[-1].isdigit() else ''}{version}"
    words = ["apt-cache", "show", "--no-all-versions", package, f"{package}t64"]
    listed = host_exec.run(words, check=False, timeout=20).stdout
    found = re.search(r"(?m)^Package: (\S+)$", listed)
    return found[1] if found else None


def _has_dpkg() -> bool:
    return shutil.which("dpkg-query", path=clean_environment()["PATH"]) is not None


def _merged(name: str) -> tuple[str, ...]:
    real = os.path.realpath(name)
    names = {name, os.path.normpath(name), real}
    return tuple(names | {each.removeprefix("/usr") for each in names if each[:9] == "/usr/lib/"})


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the Debian packages that are installed."""
    names = list(packages)
    if not names or shutil.which("dpkg-query") is None:
        return {}
    argv = ["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version}\\n", *names]
    rows = [line.split() for line in host_exec.run(argv, check=False).stdout.splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}


def is_installed(package: str) -> bool:
    """Tell whether a Debian package is installed; True on a system without dpkg."""
    return shutil.which("dpkg-query") is None or package in versions([package])


def install(packages: Iterable[str]) -> None:
    """Install Debian packages in the foreground, after saying how much that is.

    sudo may ask for a password.

    Raises MissingError with the command for an administrator if this user may not install
    packages, and CommandFailed if apt-get fails.
    """
    names = list(dict.fromkeys(packages))
    if not names:
        return
    manual = install_command(*names)
    if shutil.which("apt-get") is None:
        raise MissingError(
            f"this is not a Debian or Ubuntu system (no apt-get); needed: {' '.join(names)}",
            remedy="install the content of these packages with the system's package manager",
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
    update, add = [*apt, "update"], [*apt, "--no-install-recommends", "install", *names]
    if not _lists_fresh():
        _foreground(update, manual)
    size = amount(_planned(names))
    sys.stderr.write(f"ukl: installing {' '.join(names)}\n" + (f"ukl: {size}\n" if size else ""))
    sys.stderr.flush()
    try:
        _foreground(add, manual)
    except host_exec.CommandFailed:
        _foreground(update, manual)  # a mirror deletes what its newest lists do not name
        _foreground(add, manual)


def is_gone(text: str) -> bool:
    """Tell whether apt-get says that a mirror lacks a file that its list names. Pure."""
    return re.search(r"(?m)^(Err:.*\n? *|E: .*)\b404 ", text) is not None


def amount(text: str) -> str:
    """Return the sentences of `apt-get install` that say how much it will install. Pure."""
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line.startswith(("Need to get", "After this ope")))


def _planned(names: list[str]) -> str:
    argv = ["apt-get", "-y", "--print-uris", "--no-install-recommends", "install", *names]
    return host_exec.run(argv, check=False).stdout


def _sudo_possible() -> bool:
    """Tell whether sudo can work: without a password, or with a terminal to enter it."""
    return sys.stdin.isatty() or host_exec.run(["sudo", "-n", "true"], check=False).returncode == 0


def _lists_fresh() -> bool:
    files = [file for file in LISTS.glob("*_Packages*") if file.is_file()]
    return bool(files) and time.time() - LISTS.stat().st_mtime < LISTS_FRESH


def _foreground(argv: list[str], manual: str) -> None:
    status = process.in_foreground(argv, stdout=sys.stderr.fileno())
    if status != 0:
        raise host_exec.CommandFailed(argv, status, "", remedy=f"run it by hand: {manual}")
