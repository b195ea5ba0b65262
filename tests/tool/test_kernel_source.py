# SPDX-License-Identifier: GPL-2.0
"""Getting a kernel tree and patching it, with a kernel tree in miniature."""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import ExitCode, InputError, MissingError
from ukl.base.model import KernelSource
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.kernel import mail, source, tree, versions
from ukl.kernel.mail import Mail
from ukl.kernel.source import fetch
from ukl.kernel.suites import DownloadFailed

TOY = Path(__file__).resolve().parents[1] / "data/toykernel"

SETUP = "arch/x86/kernel/setup.c"


def change() -> str:
    """Return a patch mail with two hunks in one file of the toy kernel."""
    old = (TOY / SETUP).read_text()
    new = old.replace("int first;", "int very_first;").replace(
        "arch(void)\n", "arch(void) /* p */\n"
    )
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    diff = "".join(difflib.unified_diff(before, after, f"a/{SETUP}", f"b/{SETUP}"))
    diffs = mail.split_diffs(f"diff --git a/{SETUP} b/{SETUP}\n{diff}")
    return mail.render(
        Mail("A <a@example.org>", "Sat, 1 Nov 2025 10:00:00 +0100", "x: Y", "", diffs)
    )


def series(directory: Path, patch: str | None = None) -> Path:
    """Write a kernel/ directory with one patch and one overlay file; return the series."""
    at = directory / "kernel/6.12"
    (at / "patches").mkdir(parents=True)
    (at / "patches/0001-change.patch").write_text(patch or change())
    (at / "base.toml").write_text('from = "6.12"\nbelow = "6.13"\ntested = ["6.12.999"]\n')
    (at / "series").write_text("0001-change.patch\n    + arch/x86/ukl/new.c\n")
    overlay = directory / "kernel/overlay/arch/x86/ukl"
    overlay.mkdir(parents=True)
    (overlay / "new.c").write_text("int new;\n")
    return at / "series"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TOY, tmp_path / "toy"))


@pytest.fixture
def tarball(toy: Path, tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "linux-6.12.999.tar.xz", "w:xz") as archive:
        archive.add(toy, "linux-6.12.999")
    return tmp_path / "linux-6.12.999.tar.xz"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- fetch -------------------------------------------------------------------


def test_a_directory_is_taken_as_it_is(toy: Path, store: Store, progress: Progress) -> None:
    found = fetch(toy, store, progress)
    assert found == KernelSource(toy, "6.12.999", str(toy))


@pytest.mark.parametrize("version", ["PATCHLEVEL = 8", "PATCHLEVEL = 13"])
def test_a_tree_of_another_version_is_refused(
    toy: Path, store: Store, progress: Progress, version: str
) -> None:
    makefile = toy / "Makefile"
    makefile.write_text(makefile.read_text().replace("PATCHLEVEL = 12", version))
    with pytest.raises(InputError) as caught:
        fetch(toy, store, progress)
    assert f"Linux 6.{version[-2:].strip()}.999" in caught.value.message
    assert "6.12.117 <= version < 6.13" in caught.value.message
    assert caught.value.where == str(toy)


def test_what_is_no_kernel_tree_is_refused(
    tmp_path: Path, store: Store, progress: Progress
) -> None:
    with pytest.raises(InputError, match="not the top of a Linux source tree"):
        fetch(tmp_path, store, progress)
    with pytest.raises(InputError, match="neither a directory"):
        fetch(tmp_path / "absent", store, progress)
    (tmp_path / "file.zip").write_bytes(b"")
    with pytest.raises(InputError, match="not a tarball"):
        fetch(tmp_path / "file.zip", store, progress)


def test_a_tree_that_was_built_in_place_is_refused(
    toy: Path, store: Store, progress: Progress
) -> None:
    (toy / ".config").write_text("")
    with pytest.raises(InputError) as caught:
        fetch(toy, store, progress)
    assert "mrproper" in (caught.value.remedy or "")


def test_a_tarball_is_verified_and_unpacked_once(
    tarball: Path, store: Store, progress: Progress
) -> None:
    found = fetch(f"{tarball}#sha256={sha256(tarball)}", store, progress)
    assert found.version == "6.12.999"
    assert (found.directory / "scripts/conf.sh").stat().st_mode & 0o111
    made = (found.directory.parent / "manifest.json").stat().st_mtime_ns
    again = fetch(f"{tarball}#sha256={sha256(tarball)}", store, progress)
    assert again == found
    assert (again.directory.parent / "manifest.json").stat().st_mtime_ns == made


def test_a_tarball_of_unknown_sum_is_refused(
    tarball: Path, store: Store, progress: Progress
) -> None:
    with pytest.raises(InputError) as caught:
        fetch(tarball, store, progress)
    assert "#sha256=" in (caught.value.remedy or "")
    with pytest.raises(InputError, match="64 hexadecimal"):
        fetch(f"{tarball}#sha256=abc", store, progress)
    assert store.info() == []


def test_a_tarball_of_another_sum_is_refused(
    tarball: Path, store: Store, progress: Progress
) -> None:
    with pytest.raises(InputError, match=sha256(tarball)):
        fetch(f"{tarball}#sha256=" + "0" * 64, store, progress)
    assert store.info() == []


def test_a_damaged_tarball_is_refused_and_leaves_nothing(
    tarball: Path, store: Store, progress: Progress
) -> None:
    data = tarball.read_bytes()
    tarball.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged"):
        fetch(f"{tarball}#sha256={sha256(tarball)}", store, progress)
    assert store.info() == []
    assert not list((store.root / "source").glob("*"))


def test_a_tarball_of_another_version_is_refused(
    toy: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    makefile = toy / "Makefile"
    makefile.write_text(makefile.read_text().replace("PATCHLEVEL = 12", "PATCHLEVEL = 8"))
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(toy, "linux")
    path = tmp_path / "x.tar.gz"
    with pytest.raises(InputError, match=r"6\.8\.999"):
        fetch(f"{path}#sha256={sha256(path)}", store, progress)
    assert store.info() == []


def test_a_version_is_downloaded_verified_and_cached(
    tarball: Path, store: Store, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tarball.parent / "served/v6.x"
    served.mkdir(parents=True)
    shutil.copy(tarball, served)
    monkeypatch.setattr(source, "KERNEL_ORG", (tarball.parent / "served").as_uri())
    with pytest.raises(InputError, match="not recorded"):
        fetch("6.12.999", store, progress)
    found = fetch(f"6.12.999#sha256={sha256(tarball)}", store, progress)
    assert found.version == "6.12.999"
    shutil.rmtree(served)
    assert fetch(f"6.12.999#sha256={sha256(tarball)}", store, progress) == found
    with pytest.raises(DownloadFailed, match="could not be downloaded") as caught:
        fetch("6.12.998#sha256=" + "1" * 64, store, progress)
    assert caught.value.code == ExitCode.FAILED
    assert [entry.kind for entry in store.info()] == ["source", "download"]
    with pytest.raises(InputError, match=r"6\.8\.1"):
        fetch("6.8.1", store, progress)


def test_the_installed_package_is_preferred(
    tarball: Path, tmp_path: Path, store: Store, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PACKAGED", tmp_path / "usr")
    (tmp_path / "usr").mkdir()
    package = "linux-source-6.12"
    shutil.copy(tarball, tmp_path / f"usr/{package}.tar.xz")
    assert fetch(None, store, progress).version == "6.12.999"


APT = """\
#!/bin/sh
echo "$@" >> "{log}"
case "$1 $3" in
--print-uris\\ {package})
    echo "'http://x/pool/k.deb' {package}_1_all.deb $(stat -c %s "{deb}") SHA256:0" ;;
download*)
    cp "{deb}" ./{package}_1_all.deb ;;
esac
"""


def test_a_package_is_downloaded_without_root_and_once(
    tarball: Path, tmp_path: Path, store: Store, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = "linux-source-6.12"
    inside = tmp_path / "deb/usr/src"
    inside.mkdir(parents=True)
    (tmp_path / "deb/DEBIAN").mkdir()
    (tmp_path / "deb/DEBIAN/control").write_text(
        f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: b\n"
    )
    shutil.copy(tarball, inside / f"{package}.tar.xz")
    deb = tmp_path / "made.deb"
    subprocess.run(["dpkg-deb", "-b", tmp_path / "deb", deb], check=True, capture_output=True)
    fake = tmp_path / "bin/apt-get"  # the archive is not ours to ask in a test
    fake.parent.mkdir()
    fake.write_text(APT.format(log=tmp_path / "apt.log", package=package, deb=deb))
    fake.chmod(0o755)
    monkeypatch.setattr(source, "PACKAGED", tmp_path / "nothing")
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    found = fetch(None, store, progress)
    assert found.version == "6.12.999"
    asked = (tmp_path / "apt.log").read_text()
    assert asked.count(package) == 2
    assert fetch(None, store, progress) == found
    assert (tmp_path / "apt.log").read_text() == asked


def test_without_any_source_the_remedy_says_what_to_do(
    tmp_path: Path, store: Store, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PACKAGED", tmp_path)
    monkeypatch.setattr(source, "KERNEL_ORG", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get
    version = "6.12.999"
    somewhere = tuple(
        replace(base, download=version, sha256={version: "0" * 64}) for base in versions.bases()
    )
    with pytest.raises(DownloadFailed) as caught:
        fetch(None, store, progress, known=somewhere)
    assert "--kernel-source" in (caught.value.remedy or "")
    nowhere = tuple(replace(base, download=None) for base in versions.bases())
    with pytest.raises(MissingError) as missing:
        fetch(None, store, progress, known=nowhere)
    assert "--kernel-source" in (missing.value.remedy or "")


# --- prepare -------------------------------------------------------------------


def prepared(toy: Path, file: Path, store: Store, progress: Progress) -> Path:
    return tree.prepare(fetch(toy, store, progress), file, store, progress)


def test_overlay_and_patches_are_applied_and_the_source_stays(
    toy: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    file = series(tmp_path)
    before = {path: path.read_bytes() for path in toy.rglob("*") if path.is_file()}
    patched = prepared(toy, file, store, progress)
    assert "very_first" in (patched / "arch/x86/kernel/setup.c").read_text()
    assert (patched / "arch/x86/ukl/new.c").read_text() == "int new;\n"
    assert {path: path.read_bytes() for path in toy.rglob("*") if path.is_file()} == before
    assert (patched / "Makefile").stat().st_ino != (toy / "Makefile").stat().st_ino
    assert prepared(toy, file, store, progress) == patched


def test_a_cached_source_is_linked_but_for_what_is_patched(
    tarball: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    origin = fetch(f"{tarball}#sha256={sha256(tarball)}", store, progress)
    patched = tree.prepare(origin, series(tmp_path), store, progress)
    assert (patched / "Makefile").stat().st_ino == (origin.directory / "Makefile").stat().st_ino
    assert "very_first" not in (origin.directory / "arch/x86/kernel/setup.c").read_text()
    assert "very_first" in (patched / "arch/x86/kernel/setup.c").read_text()
    assert not (origin.directory / "arch/x86/ukl").exists()


def test_another_overlay_or_source_gives_another_tree(
    toy: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    file = series(tmp_path)
    first = prepared(toy, file, store, progress)
    (tmp_path / "kernel/overlay/arch/x86/ukl/new.c").write_text("int newer;\n")
    second = prepared(toy, file, store, progress)
    (toy / "init/main.c").write_text("/* changed by its owner */\n")
    assert len({first, second, prepared(toy, file, store, progress)}) == 3


def test_a_patch_that_fails_names_patch_file_and_hunk(
    toy: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    setup = toy / "arch/x86/kernel/setup.c"
    setup.write_text(setup.read_text().replace("void setup_arch(void)\n", "int setup_arch(void)\n"))
    with pytest.raises(InputError) as caught:
        prepared(toy, series(tmp_path), store, progress)
    assert "0001-change.patch" in caught.value.message
    assert "hunk 2 of 2 of arch/x86/kernel/setup.c" in caught.value.message
    assert "6.12.999" in caught.value.message
    assert caught.value.log is not None
    assert caught.value.log.is_file()
    assert store.info() == []
    assert not list((store.root / "tree").glob("*"))


def test_no_fuzz_is_allowed(toy: Path, tmp_path: Path, store: Store, progress: Progress) -> None:
    setup = toy / "arch/x86/kernel/setup.c"
    setup.write_text(setup.read_text().replace("int second;\n", "int other;\n"))
    with pytest.raises(InputError, match="hunk 1 of 2"):
        prepared(toy, series(tmp_path), store, progress)


def test_a_missing_file_is_named(
    toy: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    (toy / "arch/x86/kernel/setup.c").unlink()
    with pytest.raises(InputError, match=r"this tree has no arch/x86/kernel/setup\.c"):
        prepared(toy, series(tmp_path), store, progress)


def test_a_patched_tree_is_not_patched_again(
    toy: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    file = series(tmp_path)
    patched = prepared(toy, file, store, progress)
    with pytest.raises(InputError, match="patched"):
        prepared(patched, file, store, progress)


def test_a_version_out_of_range_is_refused_even_with_a_series_at_hand(
    toy: Path, tmp_path: Path, store: Store, progress: Progress
) -> None:
    with pytest.raises(InputError, match="no patch series"):
        tree.prepare(KernelSource(toy, "6.13.1", "x"), series(tmp_path), store, progress)


def test_the_toy_patch_is_what_the_tests_think() -> None:
    (diff,) = mail.parse(change()).diffs
    assert diff.hunks() == [1, 9]
