# SPDX-License-Identifier: GPL-2.0
"""The guest's files by which the C library finds names: services, time zones, a locale."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import AppSpec
from ukl.base.resources import path as resource
from ukl.host.requirements import install_command
from ukl.image import cpio

ZONES = Path("/usr/share/zoneinfo")
LOCAL_TIME = Path("/etc/localtime")
TERMINFO = tuple(map(Path, ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo")))
HOST = "host"
"""The value of the setting `timezone` for the host's zone."""

LOCALES = Path("/usr/lib/locale")
LOCALE = "C.utf8"
"""The directory of the locale C.UTF-8: glibc has a part of it in files, musl has it built in."""


def services() -> dict[str, cpio.Entry]:
    """Return the names of services and protocols."""
    directory = resource("guest") / "etc"
    return {
        f"/etc/{name}": cpio.regular((directory / name).read_bytes())
        for name in ("protocols", "services")
    }


def locale(directory: Path = LOCALES) -> dict[str, cpio.Entry]:
    """Return the locale C.UTF-8 of this machine's glibc, with which programs are linked."""
    top = directory / LOCALE
    return {
        str(LOCALES / LOCALE / path.relative_to(top)): cpio.regular(path.read_bytes())
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def terminal(name: str, directories: Sequence[Path] = TERMINFO) -> dict[str, cpio.Entry]:
    """Return the description of a terminal for programs that edit lines or draw (terminfo(5))."""
    for directory in directories if re.fullmatch(r"\w[\w+.-]*", name) else ():
        file = directory / name[0] / name
        if file.is_file():
            return {f"/etc/terminfo/{name[0]}/{name}": cpio.regular(file.read_bytes())}
    return {}


def zones(
    spec: AppSpec, directory: Path = ZONES, local_time: Path = LOCAL_TIME
) -> dict[str, cpio.Entry]:
    """Return the zone that the variable TZ names, and that of the setting `timezone`.

    Raises InputError for a setting without a file, and for a zone on a machine without zones.
    As in the C library, a TZ that names no file may be a rule, like `CET-1CEST`, or is UTC.
    """
    entries = {}
    name = spec.env.get("TZ", "").removeprefix(":")
    if "/" in name and not directory.is_dir():
        raise _missing(name)
    if ".." not in name and not name.startswith("/") and (directory / name).is_file():
        entries[str(ZONES / name)] = cpio.regular((directory / name).read_bytes())
    if spec.timezone:
        source = local_time if spec.timezone == HOST else directory / spec.timezone
        if not directory.is_dir() and spec.timezone != HOST:
            raise _missing(spec.timezone)
        if not source.is_file():
            raise InputError(
                f"there is no time zone {spec.timezone!r}: {source} does not exist",
                remedy=f"use a name like Europe/Berlin, of a file in {directory}",
            )
        entries[str(LOCAL_TIME)] = cpio.regular(source.read_bytes())
    return entries


def _missing(name: str) -> InputError:
    return InputError(
        f"the time zone {name} is not on this machine", remedy=install_command("tzdata")
    )
