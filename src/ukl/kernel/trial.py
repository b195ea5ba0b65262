# SPDX-License-Identifier: GPL-2.0
"""Try a series against another kernel (`ukl kernel try`): which patch breaks, and in which hunk.

Only the files that the series changes are copied and patched, one patch after the other. The
hunks of a failing patch that apply are kept, so that the patches after it are tried too; their
failures may then be consequences. A build allows no fuzz: a patch that needs fuzz must be
reviewed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import KernelSource
from ukl.base.progress import Progress
from ukl.host.exec import CommandFailed, run
from ukl.host.store import Store, is_no_space
from ukl.kernel import series as series_module
from ukl.kernel import source
from ukl.kernel.mail import FileDiff
from ukl.kernel.series import Series
from ukl.kernel.suites import DownloadFailed
from ukl.kernel.versions import Base, every, tree_version

FUZZ = 2
"""Lines of context that may differ in a patch that must be reviewed: patch(1)'s default."""

_PACKAGE = re.compile(r"linux-source-[0-9.]+")
_PLACE = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@ ?(.*)", re.M)
_SUCCEEDED = re.compile(
    r"^Hunk #\d+ succeeded at \d+(?: with fuzz \d+)?(?: \(offset (-?\d+) line)?", re.M
)
_FAILED = re.compile(r"^Hunk #(\d+) FAILED", re.M)
_REVERSED = re.compile(r"Reversed \(or previously applied\) patch detected|hunks? ignored")


class Verdict(StrEnum):
    """How a patch applies, the best first."""

    CLEAN = "clean"
    MOVED = "moved"
    """It applies at other lines."""
    FUZZY = "fuzzy"
    """It applies where part of the context differs: a build refuses it."""
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Tried:
    """The result for one patch: `lines` is the largest offset, `problems` name the hunks."""

    patch: str
    subject: str
    verdict: Verdict
    lines: int = 0
    problems: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether a build accepts it."""
        return self.verdict in {Verdict.CLEAN, Verdict.MOVED}


@dataclass(frozen=True, slots=True)
class Report:
    """The tree that was tried, whether `series` covers its version, and each patch's result."""

    version: str
    origin: str
    series: str
    covered: bool
    patches: tuple[Tried, ...]

    @property
    def is_good(self) -> bool:
        """Whether the series applies as it is."""
        return all(each.is_good for each in self.patches)

    def summary(self) -> str:
        """Return how many patches apply."""
        bad = sum(not each.is_good for each in self.patches)
        result = f"{bad} DO NOT APPLY" if bad else "all apply"
        return f"{self.series} on Linux {self.version}: {len(self.patches)} patches, {result}"

    def text(self) -> list[str]:
        """Return the report as text: a line for each patch, its problems below it, a summary."""
        rows = []
        for number, each in enumerate(self.patches, 1):
            word = each.verdict.value if each.is_good else each.verdict.value.upper()
            moved = f" {each.lines} lines" if each.verdict is Verdict.MOVED else ""
            rows.append(f"{number:>2} {word + moved:<16} {each.subject}")
            rows += [f"     {problem}" for problem in each.problems]
        rows.append(self.summary())
        if not self.covered:
            rows.append(f"(the series is not for {self.version}: see base.toml)")
        return rows


# --- the tree -----------------------------------------------------------------------


def tree(
    want: str | None, base: Base, known: Sequence[Base], store: Store, progress: Progress
) -> KernelSource:
    """Return a tree of any version, as `source.fetch` does; `want` may also name a package.

    With `want` None it is the newest kernel in the suites of `base`; without network, the package
    that `base` names. A directory may contain a build: it is only read.
    """
    want = want or os.environ.get(source.ENVIRONMENT)
    if not want:
        try:
            return source.newest(base, store, progress)
        except DownloadFailed:
            return source.package(base, store, progress)
    path = Path(want).expanduser()
    if path.is_dir():
        return KernelSource(path.resolve(), tree_version(path), str(path.resolve()))
    sums = {version: value for each in known for version, value in each.sha256.items()}
    name = path.name.removesuffix(".tar.xz")
    package = name if _PACKAGE.fullmatch(name) else None
    suites = tuple(dict.fromkeys(suite for each in known for suite in each.suites))
    anything = replace(every(base, package), sha256=sums, suites=suites)
    if package == want and not path.exists():
        return source.package(anything, store, progress)
    return source.fetch(want, store, progress, known=(anything,))


# --- one patch after the other --------------------------------------------------------


def check(base: Base, found: KernelSource, progress: Progress) -> Report:
    """Try the series of `base` on a tree; InputError if the tree has the series already."""
    loaded = series_module.load(base.series)
    series_module.refuse_patched(loaded, found.directory)
    tried = []
    with tempfile.TemporaryDirectory(prefix="ukl-try-") as scratch:
        copy = Path(scratch)
        _copy(found.directory, copy, loaded.touched())
        overlay = frozenset(loaded.overlay)
        with progress.stage(f"try {len(loaded.entries)} patches on Linux {found.version}"):
            for entry in loaded.entries:
                one = loaded.read(entry)
                diffs = [diff for diff in one.diffs if diff.path not in overlay]
                tried.append(_judged(entry.patch, one.subject, [_try(copy, d) for d in diffs]))
    return Report(
        found.version,
        found.origin,
        _name(loaded),
        base.covers(found.version),
        tuple(tried),
    )


def _name(loaded: Series) -> str:
    return f"series {loaded.file.parent.name}"


def _copy(top: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        if (top / name).is_file():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(top / name, place)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result for the diff of one file."""

    verdict: Verdict
    lines: int = 0
    problems: tuple[str, ...] = ()


def _judged(patch: str, subject: str, outcomes: Sequence[_Outcome]) -> Tried:
    order = list(Verdict)
    worst = max((order.index(each.verdict) for each in outcomes), default=0)
    return Tried(
        patch,
        subject,
        order[worst],
        max((each.lines for each in outcomes), default=0),
        tuple(problem for each in outcomes for problem in each.problems),
    )


def _try(top: Path, diff: FileDiff) -> _Outcome:
    """Apply the hunks of a file's diff that apply, and return the result."""
    if not diff.creates and not (top / diff.path).is_file():
        return _Outcome(Verdict.BROKEN, problems=(f"this tree has no {diff.path}",))
    for fuzz in (0, FUZZ):
        applies, output = _patch(top, diff, fuzz, dry=True)
        if applies:
            _patch(top, diff, fuzz, dry=False)
            return exact(output) if fuzz == 0 else fuzzy(diff, output)
    _, output = _patch(top, diff, FUZZ, dry=False)
    return _Outcome(Verdict.BROKEN, problems=broken(diff, output))


def _patch(top: Path, diff: FileDiff, fuzz: int, *, dry: bool) -> tuple[bool, str]:
    """Run patch(1); return whether all hunks apply, and its output."""
    argv = ["patch", "-p1", f"--fuzz={fuzz}", "--batch", "--forward", "--reject-file=-"]
    argv += ["--no-backup-if-mismatch", *(["--dry-run"] if dry else [])]
    done = run(argv, cwd=top, stdin=diff.text.encode("utf-8"), check=False)
    if done.returncode not in {0, 1}:  # patch(1) itself failed, not a hunk
        error = CommandFailed(argv, done.returncode, done.stdout)
        raise (
            error
            if is_no_space(error)
            else UklError(f"patch(1) failed on {diff.path}: {done.stdout.strip()}")
        )
    return done.returncode == 0, done.stdout


# --- the output of patch(1): pure ------------------------------------------------------


def exact(output: str) -> _Outcome:
    """Return the result of a diff that applies without fuzz."""
    offsets = [abs(int(lines)) for lines in _SUCCEEDED.findall(output) if lines]
    return _Outcome(Verdict.MOVED, max(offsets)) if offsets else _Outcome(Verdict.CLEAN)


def fuzzy(diff: FileDiff, output: str) -> _Outcome:
    """Return the result of a diff that applies with fuzz, naming the hunks that need it."""
    numbers = re.findall(r"^Hunk #(\d+) succeeded at \d+ with fuzz", output, re.M)
    problems = tuple(f"{hunk(diff, int(number))}: its context has changed" for number in numbers)
    return _Outcome(Verdict.FUZZY, problems=problems)


def broken(diff: FileDiff, output: str) -> tuple[str, ...]:
    """Return the problems of a diff that does not apply: each failed hunk, or one sentence."""
    if _REVERSED.search(output):
        return (f"{diff.path}: seems to have this change already",)
    numbers = _FAILED.findall(output)
    last = (output.strip().splitlines() or ["patch(1) printed nothing"])[-1]
    return tuple(hunk(diff, int(number)) for number in numbers) or (f"{diff.path}: {last}",)


def hunk(diff: FileDiff, number: int) -> str:
    """Return a description of a hunk: its number, file, line in the old file, and function."""
    places = _PLACE.findall(diff.text)
    line, function = places[number - 1] if number <= len(places) else ("?", "")
    where = f", in {function.strip()}" if function.strip() else ""
    return f"hunk {number} of {len(places)} of {diff.path} (line {line}{where})"
