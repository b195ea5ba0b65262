# SPDX-License-Identifier: GPL-2.0
"""A series tried on trees that differ from its own, with a kernel tree in miniature."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.conftest import TOP
from ukl.base.errors import InputError
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.kernel import mail, trial, versions
from ukl.kernel.mail import Mail
from ukl.kernel.trial import Verdict
from ukl.kernel.versions import Base

LINES = [f"line {number}\n" for number in range(1, 61)]
"""The file that the series changes, as it is in the kernel that the series was made for."""


def diff(path: str, old: list[str], new: list[str]) -> str:
    text = "".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"))
    return f"diff --git a/{path} b/{path}\n{text}"


def changed(lines: list[str], *pairs: tuple[str, str]) -> list[str]:
    """Return the lines with some of them replaced; each must be there once."""
    found = list(lines)
    for old, new in pairs:
        assert found.count(old) == 1
        found[found.index(old)] = new
    return found


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """A series of three patches on mm/one.c, and one new file."""
    at = tmp_path / "kernel/6.12"
    (at / "patches").mkdir(parents=True)
    steps = [("line 10\n", "first\n"), ("line 50\n", "second\n"), ("line 12\n", "third\n")]
    lines, names = LINES, []
    for number, step in enumerate(steps, 1):
        after = changed(lines, step)
        diffs = mail.split_diffs(diff("mm/one.c", lines, after))
        names.append(f"000{number}-change.patch")
        date = "Sat, 1 Nov 2025 10:00:00 +0100"
        one = Mail("A <a@example.org>", date, f"mm: Change {step[0].strip()}", "", diffs)
        (at / "patches" / names[-1]).write_text(mail.render(one))
        lines = after
    (at / "series").write_text(names[0] + "\n    + mm/new.c\n" + "\n".join(names[1:]) + "\n")
    (at / "base.toml").write_text('from = "6.12"\nbelow = "6.13"\n')
    (tmp_path / "kernel/overlay/mm").mkdir(parents=True)
    (tmp_path / "kernel/overlay/mm/new.c").write_text("int new;\n")
    [found] = versions.bases(tmp_path / "kernel")
    return found


def kernel(directory: Path, lines: list[str] | None, version: str = "6.12.200") -> Path:
    """Make a tree with that file, or without it."""
    (directory / "mm").mkdir(parents=True)
    names = ("VERSION", "PATCHLEVEL", "SUBLEVEL")
    numbers = zip(names, version.split("."), strict=False)
    (directory / "Makefile").write_text("".join(f"{name} = {value}\n" for name, value in numbers))
    if lines is not None:
        (directory / "mm/one.c").write_text("".join(lines))
    return directory


def tried(base: Base, tree: Path, store: Store) -> trial.Report:
    before = {file: file.read_bytes() for file in tree.rglob("*") if file.is_file()}
    quiet = Progress.quiet()
    found = trial.tree(str(tree), base, (base,), store, quiet)
    report = trial.check(base, found, quiet)
    assert {file: file.read_bytes() for file in tree.rglob("*") if file.is_file()} == before
    return report


def verdicts(report: trial.Report) -> list[Verdict]:
    return [each.verdict for each in report.patches]


def test_the_same_kernel(base: Base, tmp_path: Path, store: Store) -> None:
    report = tried(base, kernel(tmp_path / "linux", LINES), store)
    assert verdicts(report) == [Verdict.CLEAN] * 3
    assert report.is_good
    assert report.covered
    assert report.version == "6.12.200"


def test_a_kernel_where_things_moved(base: Base, tmp_path: Path, store: Store) -> None:
    moved = [*LINES[:30], "more\n", "and more\n", *LINES[30:]]
    report = tried(base, kernel(tmp_path / "linux", moved), store)
    assert verdicts(report) == [Verdict.CLEAN, Verdict.MOVED, Verdict.CLEAN]
    assert report.patches[1].lines == 2
    assert report.is_good


def test_a_kernel_whose_context_changed(base: Base, tmp_path: Path, store: Store) -> None:
    lines = changed(LINES, ("line 47\n", "other 47\n"))
    report = tried(base, kernel(tmp_path / "linux", lines), store)
    assert verdicts(report) == [Verdict.CLEAN, Verdict.FUZZY, Verdict.CLEAN]
    assert not report.is_good
    [problem] = report.patches[1].problems
    assert problem.startswith("hunk 1 of 1 of mm/one.c (line 47")


def test_a_kernel_that_breaks_a_patch(base: Base, tmp_path: Path, store: Store) -> None:
    lines = changed(LINES, ("line 50\n", "rewritten\n"))
    report = tried(base, kernel(tmp_path / "linux", lines, "6.13.1"), store)
    # The one behind it is judged for itself.
    assert verdicts(report) == [Verdict.CLEAN, Verdict.BROKEN, Verdict.CLEAN]
    assert not report.covered


def test_a_consequence_is_told_as_well(base: Base, tmp_path: Path, store: Store) -> None:
    # The third patch has the line of the first in its context.
    lines = changed(LINES, ("line 10\n", "rewritten\n"))
    report = tried(base, kernel(tmp_path / "linux", lines), store)
    assert verdicts(report) == [Verdict.BROKEN, Verdict.CLEAN, Verdict.FUZZY]


def test_a_kernel_that_has_a_patch(base: Base, tmp_path: Path, store: Store) -> None:
    lines = changed(LINES, ("line 50\n", "second\n"))
    report = tried(base, kernel(tmp_path / "linux", lines), store)
    assert report.patches[1].problems == ("mm/one.c: seems to have this change already",)


def test_a_kernel_without_the_file(base: Base, tmp_path: Path, store: Store) -> None:
    report = tried(base, kernel(tmp_path / "linux", None), store)
    assert verdicts(report) == [Verdict.BROKEN] * 3
    assert report.patches[0].problems == ("this tree has no mm/one.c",)


def test_a_kernel_with_the_series(base: Base, tmp_path: Path, store: Store) -> None:
    tree = kernel(tmp_path / "linux", LINES)
    (tree / "mm/new.c").touch()
    with pytest.raises(InputError, match=r"mm/new\.c already"):
        tried(base, tree, store)


def test_a_tarball_of_another_kernel(base: Base, tmp_path: Path, store: Store) -> None:
    tree = kernel(tmp_path / "linux-7.0", LINES, "7.0.1")
    tarball = tmp_path / "linux-7.0.1.tar.gz"
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(tree, "linux-7.0.1")
    with pytest.raises(InputError, match="SHA-256 of this tarball is not recorded"):
        trial.tree(str(tarball), base, (base,), store, Progress.quiet())


def test_the_verb(tmp_path: Path) -> None:
    """Our own series, on a tree that has nothing of what it changes."""
    tree = kernel(tmp_path / "linux", LINES, "6.12.1")
    environment = {**os.environ, "PYTHONPATH": str(TOP / "src")}
    environment["UKL_CACHE_DIR"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-m", "ukl", "kernel", "try", str(tree), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["good"] is False
    assert report["patches"][0]["verdict"] == "broken"
    shutil.rmtree(tree / "mm")
