# SPDX-License-Identifier: GPL-2.0
"""Finds the kernel's source packages in other suites of Debian than the machine's.

apt verifies the suites' indexes with Debian's keys, and the packages with the indexes. An index is
only kept while one package is fetched: packages stay in the cache, and fetching an index takes
seconds.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ukl.base.errors import MissingError, UklError
from ukl.host.apt import ONLINE_REMEDY, Apt, Target, machine_targets

KEYRINGS = tuple(
    Path(f"/usr/share/keyrings/debian-archive-keyring.{suffix}") for suffix in ("pgp", "gpg")
)

PREFIX = "linux-source-"
_PACKAGE = re.compile(PREFIX + r"\d+\.\d+")

_UNVERIFIED = re.compile(r"NO_PUBKEY|EXPKEYSIG|BADSIG|GPG error|is not signed|keyring")
"""What apt prints about an index that is not signed by one of the keys."""

_CONFIGURATION = """\
Dir::Etc::preferences "{preferences}";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Default-Release;
APT::Update::Error-Mode "any";
// Nothing unsigned, whatever the machine allows.
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
APT::Get::AllowUnauthenticated "false";
"""

_PREFERENCES = """\
Explanation: the newest version, of whatever suite
Package: *
Pin: release a=*
Pin-Priority: 500
"""


class DownloadFailed(UklError):
    """The network or the server failed."""


class MovedOn(MissingError):
    """The suites no longer have a package; `found` are those that they have: name -> version."""

    def __init__(self, package: str, suites: Sequence[str], found: Mapping[str, str]) -> None:
        self.found = found
        there = ", ".join(f"{name} ({version})" for name, version in found.items())
        super().__init__(
            f"{package} is not in {' or '.join(suites)}, which {'have' if suites[1:] else 'has'} "
            f"{there or 'no kernel source'}",
            remedy="name a tarball or tree with --kernel-source, or leave --kernel out",
        )


@dataclass(frozen=True, slots=True)
class Archive:
    """Where Debian's suites are; those of security updates have an archive of their own."""

    main: str = "http://deb.debian.org/debian"
    security: str = "http://deb.debian.org/debian-security"

    def sources(self, suites: Iterable[str], keyring: Path) -> str:
        """Return the lines of apt's sources.list. Pure."""
        return "".join(
            f"deb [signed-by={keyring}] "
            f"{self.security if suite.endswith('-security') else self.main} {suite} main\n"
            for suite in suites
        )


def archive(targets: Iterable[Target]) -> Archive:
    """Return the archive, or the mirror of it, that the machine's own lists come from. Pure."""
    uris = {row.label: row.uri for row in targets if row.origin == "Debian" and row.uri}
    default = Archive()
    return Archive(uris.get("Debian", default.main), uris.get("Debian-Security", default.security))


@dataclass(frozen=True, slots=True)
class Index:
    """The kernel's source packages of some suites: name -> version, the newest kernel first.

    `options` are apt-get's, to download one. `error` says why a suite is not among them.
    """

    suites: tuple[str, ...]
    packages: Mapping[str, str]
    options: tuple[str, ...]
    error: UklError | None = None

    def require(self, package: str | None) -> str:
        """Return the package (None: the newest); raises `error`, or MovedOn, if it is not there."""
        package = package or next(iter(self.packages), f"{PREFIX}*")
        if package not in self.packages:
            if self.error is not None:
                raise self.error
            raise MovedOn(package, self.suites, self.packages)
        return package


def read_packages(text: str) -> dict[str, str]:
    """Return the kernel's source packages in the output of `apt-cache madison`. Pure.

    It lists the versions of a package with the newest first.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("|")
        if _PACKAGE.fullmatch(name.strip()):
            found.setdefault(name.strip(), rest.partition("|")[0].strip())

    def newest(name: str) -> tuple[int, ...]:
        return tuple(int(word) for word in name.removeprefix(PREFIX).split("."))

    return {name: found[name] for name in sorted(found, key=newest, reverse=True)}


@contextlib.contextmanager
def index(suites: tuple[str, ...], log: Path) -> Iterator[Index]:
    """Fetch the index of `suites`, and delete it when the block ends.

    Raises MissingError without apt or Debian's keys. What is not signed by them, or cannot be
    reached, is not in the index.
    """
    keyring = next((file for file in KEYRINGS if file.is_file()), None)
    if keyring is None:
        raise MissingError(
            "Debian's keys are not there, which verify its other suites",
            where=KEYRINGS[-1],
            remedy="sudo apt-get install debian-archive-keyring",
        )
    with TemporaryDirectory(prefix="ukl-apt-") as temporary:
        root = Path(temporary)
        preferences = root / "preferences"
        preferences.write_text(_PREFERENCES)
        apt = Apt(
            root,
            log,
            {"ukl.list": archive(machine_targets()).sources(suites, keyring)},
            _CONFIGURATION.format(preferences=preferences),
        )
        updated = apt.get("update")
        names = [name for name in apt.cache("pkgnames", PREFIX).split() if _PACKAGE.fullmatch(name)]
        packages = read_packages(apt.cache("madison", *names)) if names else {}
        error = None if updated.returncode == 0 else _failure(updated.stdout, suites, keyring, log)
        yield Index(suites, packages, apt.options, error)


def _failure(output: str, suites: Iterable[str], keyring: Path, log: Path) -> UklError:
    """Return the error of an update that printed `output`."""
    where = ", ".join(suites)
    if _UNVERIFIED.search(output):
        return UklError(
            f"the index of a suite ({where}) is not signed by any of these keys",
            where=keyring,
            remedy="sudo apt-get update && sudo apt-get install debian-archive-keyring: a "
            "release of Debian older than the suite gets its keys by an update",
            log=log,
        )
    return DownloadFailed(
        f"the index of a suite ({where}) could not be downloaded", remedy=ONLINE_REMEDY, log=log
    )
