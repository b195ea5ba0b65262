# SPDX-License-Identifier: GPL-2.0
"""Getting a kernel of another suite, from an archive in miniature that is signed as Debian's is."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError, MissingError, UklError
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.kernel import source, suites, versions
from ukl.kernel.suites import Archive, DownloadFailed, MovedOn
from ukl.kernel.versions import Base

TOY = Path(__file__).resolve().parents[1] / "data/toykernel"

PACKAGE = "linux-source-96.12"
"""No distribution has it."""


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout


@dataclass
class Repository:
    """An archive with the suite `toy`, and the key that signs it."""

    top: Path
    home: Path
    keyring: Path

    def gpg(self, *words: str | Path) -> None:
        run("gpg", "--homedir", self.home, "--batch", "--quiet", "--yes", *words)

    def package(self, name: str, version: str) -> Path:
        """Add a package of the toy kernel's source."""
        tree = self.top / "build" / name
        (tree / "usr/src").mkdir(parents=True)
        with tarfile.open(tree / f"usr/src/{name}.tar.xz", "w:xz") as archive:
            archive.add(TOY, "linux")
        (tree / "DEBIAN").mkdir()
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a\n"
        (tree / "DEBIAN/control").write_text(f"{control}Description: b\n")
        deb = self.top / f"{name}_{version}_all.deb"
        run("dpkg-deb", "-b", tree, deb)
        self._index(f"{control}Filename: {deb.name}\n{self._sums(deb)}Description: b\n\n")
        return deb

    def _sums(self, file: Path) -> str:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        return f"Size: {file.stat().st_size}\nSHA256: {found}\n"

    @property
    def suite(self) -> Path:
        return self.top / "dists/toy"

    def _index(self, paragraph: str) -> None:
        architecture = run("dpkg", "--print-architecture").strip()
        name = f"main/binary-{architecture}/Packages"
        packages = self.suite / name
        packages.parent.mkdir(parents=True, exist_ok=True)
        packages.write_text((packages.read_text() if packages.exists() else "") + paragraph)
        found = hashlib.sha256(packages.read_bytes()).hexdigest()
        (self.suite / "Release").write_text(
            "Origin: Toy\nSuite: toy\nCodename: toy\nDate: Sat, 01 Nov 2025 10:00:00 UTC\n"
            f"Architectures: {architecture}\nComponents: main\n"
            f"SHA256:\n {found} {packages.stat().st_size} {name}\n"
        )
        self.gpg("--output", self.suite / "InRelease", "--clearsign", self.suite / "Release")


@pytest.fixture
def repository(
    tmp_path: Path, need: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Repository]:
    """Return an empty archive, which is taken for Debian's."""
    need("gpg", "gpgv", "apt-get", "dpkg-deb")
    # The agent's socket is there, and its path must be short.
    with tempfile.TemporaryDirectory(prefix="ukl-gpg-") as home:
        made = Repository(tmp_path / "archive", Path(home), tmp_path / "keyring.gpg")
        made.top.mkdir()
        made.gpg("--passphrase", "", "--quick-generate-key", "t@example.org", "ed25519", "sign")
        made.gpg("--output", made.keyring, "--export")
        uri = f"copy:{made.top}"
        monkeypatch.setattr(suites, "archive", lambda targets: Archive(uri, uri))
        monkeypatch.setattr(suites, "KEYRINGS", (made.keyring,))
        monkeypatch.setattr(source, "PACKAGED", tmp_path / "nothing")
        yield made
        run("gpgconf", "--homedir", home, "--kill", "gpg-agent")


def base() -> Base:
    return replace(versions.named("6.12", versions.bases()), package=PACKAGE, suites=("toy",))


def fetch(store: Store, series: str = "6.12") -> str:
    return source.fetch(None, store, Progress.quiet(), series=series, known=(base(),)).version


def test_a_package_of_another_suite_is_fetched_once(repository: Repository, store: Store) -> None:
    repository.package(PACKAGE, "6.12.999-1")
    assert fetch(store) == "6.12.999"
    shutil.rmtree(repository.top)
    assert fetch(store) == "6.12.999"


def test_it_does_not_become_the_default(repository: Repository, store: Store) -> None:
    repository.package(PACKAGE, "6.12.999-1")
    fetch(store)
    with pytest.raises(MissingError, match=f"the distribution has no package {PACKAGE}"):
        fetch(store, "")


def test_the_environment_chooses_it(
    repository: Repository, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package(PACKAGE, "6.12.999-1")
    monkeypatch.setenv(source.SERIES, "6.12")
    assert fetch(store, "") == "6.12.999"


def test_a_suite_that_has_moved_on(repository: Repository, store: Store) -> None:
    repository.package("linux-source-96.13", "96.13.1-1")
    repository.package("linux-source-96.9", "96.9.1-1")
    with pytest.raises(MovedOn) as caught:
        fetch(store)
    assert caught.value.message == (
        f"{PACKAGE} is not in toy, which has linux-source-96.13 (96.13.1-1), "
        "linux-source-96.9 (96.9.1-1)"
    )
    found = source.newest(base(), store, Progress.quiet())
    assert "linux-source-96.13" in found.origin


def test_an_unsigned_index_is_refused(repository: Repository, store: Store) -> None:
    repository.package(PACKAGE, "6.12.999-1")
    (repository.suite / "InRelease").unlink()
    with pytest.raises(UklError, match="is not signed by any of these keys"):
        fetch(store)
    assert store.info() == []


def test_an_index_signed_by_another_key_is_refused(repository: Repository, store: Store) -> None:
    repository.package(PACKAGE, "6.12.999-1")
    repository.gpg("--passphrase", "", "--quick-generate-key", "o@example.org", "ed25519", "sign")
    repository.gpg("--output", repository.keyring, "--export", "o@example.org")
    with pytest.raises(UklError, match="is not signed by any of these keys") as caught:
        fetch(store)
    assert "debian-archive-keyring" in (caught.value.remedy or "")


def test_a_changed_package_is_refused(repository: Repository, store: Store) -> None:
    deb = repository.package(PACKAGE, "6.12.999-1")
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    with pytest.raises(DownloadFailed, match=f"{PACKAGE} could not be downloaded"):
        fetch(store)
    assert store.info() == []


def test_a_suite_that_cannot_be_reached(repository: Repository, store: Store) -> None:
    with pytest.raises(DownloadFailed, match="could not be downloaded"):
        fetch(store)


def test_one_suite_of_two_is_enough(repository: Repository, store: Store) -> None:
    """But without it nobody knows whether the other has moved on."""
    repository.package(PACKAGE, "6.12.999-1")
    two = replace(base(), suites=("absent", "toy"))
    assert source.package(two, store, Progress.quiet()).version == "6.12.999"
    with pytest.raises(DownloadFailed, match=r"index of a suite \(absent, toy\)"):
        source.package(replace(two, package="linux-source-96.1"), store, Progress.quiet())


def test_without_debians_keys(repository: Repository, store: Store) -> None:
    repository.keyring.unlink()
    with pytest.raises(MissingError, match="Debian's keys are not there") as caught:
        fetch(store)
    assert caught.value.remedy == "sudo apt-get install debian-archive-keyring"


def test_a_source_of_another_series_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match=r"this is Linux 6\.12\.999, but Linux 7\.3 is asked for"):
        source.fetch(TOY, store, Progress.quiet(), series="7.3")
    with pytest.raises(InputError, match=r"this is Linux 6\.12\.999, but Linux 7\.3 is asked for"):
        source.fetch("6.12.999#sha256=0", store, Progress.quiet(), series="7.3")
    assert source.fetch(TOY, store, Progress.quiet(), series="6.12").version == "6.12.999"


def test_the_real_archive(tmp_path: Path, need: Callable[..., None]) -> None:
    need("apt-get")
    if not any(file.is_file() for file in suites.KEYRINGS):
        pytest.skip("not on this machine: debian-archive-keyring")
    with suites.index(("trixie-backports",), tmp_path / "log") as index:
        if isinstance(index.error, DownloadFailed):
            pytest.skip(f"optional: {index.error.message}")
        assert index.error is None
        assert index.require(None).startswith(suites.PREFIX)
