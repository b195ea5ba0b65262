# SPDX-License-Identifier: GPL-2.0
"""Downloads source packages of the distribution, verified by apt.

Most machines have no `deb-src` entries, and their configuration stays unchanged. This
module writes each `deb` entry, with its keys and options, as `deb-src` to a separate
directory, with separate package lists.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cmp_to_key
from pathlib import Path
from tempfile import TemporaryDirectory

from ukl.base.errors import InputError, MissingError, UklError
from ukl.host import exec as host_exec
from ukl.host import packages
from ukl.host.apt import DOWNLOAD_TIMEOUT, ONLINE_REMEDY, Apt, Target, machine_targets


class Unavailable(UklError):
    """The network or the mirror failed, so the package could not be downloaded."""


def source_files(targets: Iterable[Target], distribution: str) -> list[str]:
    """Return the files that name the distribution's own archives. Pure.

    Other archives seldom have sources and may be unreachable. Before the first
    `apt-get update` no origin is known, and the result is all files.
    """
    targets = list(targets)
    own = [row.file for row in targets if row.origin.lower() == distribution.lower()]
    return list(dict.fromkeys(own or [row.file for row in targets]))


def as_sources(name: str, text: str) -> str:
    """Return apt's file `name` with `deb-src` for each `deb`. Pure. See sources.list(5)."""
    if name.endswith(".sources"):
        return re.sub(r"(?mi)^Types:.*$", "Types: deb-src", text)
    lines = [line for line in text.splitlines() if re.match(r"\s*deb\s", line)]
    return "".join(re.sub(r"^\s*deb\s", "deb-src ", line) + "\n" for line in lines)


def distribution() -> str:
    """Return the name of the running distribution, such as debian."""
    try:
        return platform.freedesktop_os_release().get("ID", "")
    except OSError:
        return ""


def release() -> str:
    """Return distribution and code name, for keys: `debian bookworm`."""
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        return ""
    return f"{found.get('ID', '')} {found.get('VERSION_CODENAME', '')}"


def _sources() -> dict[str, str]:
    """Return the files for apt's sources.list.d: name -> content."""
    files = source_files(machine_targets(), distribution())
    if not files:
        raise MissingError(
            "apt has no package sources",
            where="/etc/apt/sources.list.d",
            remedy="add the distribution's package sources, and run apt-get update",
        )
    return {
        f"{number}-{Path(file).name}": as_sources(file, Path(file).read_text())
        for number, file in enumerate(files)
    }


def _versions(apt: Apt, package: str) -> list[str]:
    """Return the listed versions of a source package, newest first."""
    shown = apt.cache("showsrc", "--only-source", package)
    found = dict.fromkeys(re.findall(r"(?m)^Version: *(\S+)$", shown))
    return sorted(found, key=cmp_to_key(_compare), reverse=True)


def _compare(one: str, other: str) -> int:
    argv = ["dpkg", "--compare-versions", one, "gt", other]
    return 1 if host_exec.run(argv, check=False).returncode == 0 else -1


def download(
    package: str, versions: Sequence[str], directory: Path, note: Callable[[str], None]
) -> str:
    """Download a source package into `directory` and return its version.

    The package's version, without its epoch, must begin with one of `versions`. If the archive
    lacks the newest version that it lists, the next older one is taken. `note` is called
    with each step. Raises InputError when there is no such package or version,
    Unavailable without network.
    """
    log = directory / "apt.log"
    with TemporaryDirectory(prefix="ukl-apt-") as temporary:
        apt = Apt(Path(temporary), log, _sources())
        note("updating the package lists")
        updated = apt.get("update")
        note("downloading")
        words = ("source", "--download-only", "--only-source", package)
        done = apt.get(*words, cwd=directory, timeout=DOWNLOAD_TIMEOUT)
        if done.returncode != 0 and "404" in done.stdout:
            # Mirrors, above all those of security updates, list versions that they lack.
            for older in _versions(apt, package)[1:]:
                note(f"the mirror lacks the newest version; downloading {older}")
                again = (*words[:-1], f"{package}={older}")
                done = apt.get(*again, cwd=directory, timeout=DOWNLOAD_TIMEOUT)
                if done.returncode == 0:
                    break
    if done.returncode != 0 and "Unable to find a source package" in done.stdout:
        if "Err:" in updated.stdout or updated.returncode != 0:
            raise Unavailable(
                f"cannot find {package}: the lists of source packages could not be downloaded",
                remedy=ONLINE_REMEDY,
                log=log,
            )
        raise InputError(
            f"the distribution has no source package {package}",
            remedy="correct the name, or give a URL and its sha256 as the source",
            log=log,
        )
    if done.returncode != 0:
        gone = packages.is_gone(done.stdout)
        raise Unavailable(
            f"the source package {package} could not be downloaded"
            + (": the mirror lists files that it does not have" if gone else ""),
            remedy="try again later, or name another mirror in apt's sources"
            if gone
            else ONLINE_REMEDY,
            log=log,
        )
    (dsc,) = directory.glob("*.dsc")
    found = version_of(dsc.read_text(errors="replace"))
    if versions and not without_epoch(found).startswith(tuple(versions)):
        wanted = " or ".join(versions)
        raise InputError(
            f"the distribution has version {found} of {package}, the recipe is for {wanted}",
            remedy="change `version` and try again, or give a URL and its sha256 as the source",
            log=log,
        )
    return found


def version_of(dsc: str) -> str:
    """Return the version that a .dsc names. Pure."""
    match = re.search(r"(?m)^Version: *(\S+)$", dsc)
    if match is None:
        raise UklError("a source package without a version")
    return match[1]


def changelog_version(tree: Path) -> str:
    """Return the version, without epoch, that debian/changelog of a source begins with; or ""."""
    try:
        with (tree / "debian/changelog").open(errors="replace") as stream:
            match = re.match(r"\S+ \((\S+)\)", stream.readline())
    except OSError:
        return ""
    return without_epoch(match[1]) if match else ""


def without_epoch(version: str) -> str:
    """Return a version as upstream writes it, without `N:` in front. Pure."""
    return version.partition(":")[2] if ":" in version else version


def unpack(directory: Path, tree: Path, log: Path) -> None:
    """Unpack the source package in `directory` as `tree`, with the distribution's patches."""
    (dsc,) = directory.glob("*.dsc")
    # apt has verified the files against its signed lists.
    host_exec.run(
        ["dpkg-source", "--no-check", "--require-strong-checksums", "-x", dsc, tree],
        log=log,
        timeout=600,
    )
