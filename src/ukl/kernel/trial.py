# SPDX-License-Identifier: GPL-2.0
"""Try a series against another kernel (`ukl kernel try`): which patch breaks, and in which hunk.

Only the files that the series changes are copied and patched, one patch after the other. A
patch that fails is applied as far as it goes, so that those behind it are judged, too; what they
say may then be a consequence. A build wants no fuzz: a patch that needs some is for people to
look at.
"""

from __future__ import annotations

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
from ukl.kernel.versions import Base, tree_version

FUZZ = 2
"""Lines of context that may differ in a patch that is for people to look at: patch(1)'s default."""

_PACKAGE = re.compile(r"linux-source-[0-9.]+")
_PLACE = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@ ?(.*)", re.M)
_SUCCEEDED = re.compile(
    r"^Hunk #\d+ succeeded at \d+(?: with fuzz \d+)?(?: \(offset (-?\d+) line)?", re.M
)
_FAILED = re.compile(r"^Hunk #(\d+) FAILED", re.M)
_REVERSED = re.compile(r"Reversed \(or previously applied\) patch detected|hunks? ignored")


class Verdict(StrEnum):
    """What became of a patch, the best first."""

    CLEAN = "clean"
    MOVED = "moved"
    """It fits at other lines."""
    FUZZY = "fuzzy"
    """It fits where not all of the context does: a build refuses it."""
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one patch; `lines` is the farthest a hunk moved, `problems` name hunks."""

    patch: str
    subject: str
    verdict: Verdict
    lines: int = 0
    problems: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether a build takes it."""
        return self.verdict in {Verdict.CLEAN, Verdict.MOVED}


@dataclass(frozen=True, slots=True)
class Report:
    """All of it: the tree that was tried, whether the series is for its version, each patch."""

    version: str
    origin: str
    series: str
    meant: bool
    patches: tuple[Tried, ...]

    @property
    def is_good(self) -> bool:
        """Whether the series applies as it is."""
        return all(each.is_good for each in self.patches)

    def text(self) -> list[str]:
        """Return it as people read it: a line for each patch, its problems below it, a sum."""
        rows = []
        for number, each in enumerate(self.patches, 1):
            word = each.verdict.value if each.is_good else each.verdict.value.upper()
            moved = f" {each.lines} lines" if each.verdict is Verdict.MOVED else ""
            rows.append(f"{number:>2} {word + moved:<16} {each.subject}")
            rows += [f"     {problem}" for problem in each.problems]
        bad = sum(not each.is_good for each in self.patches)
        told = f"{bad} DO NOT APPLY" if bad else "all apply"
        rows.append(f"{self.series} on Linux {self.version}: {len(self.patches)} patches, {told}")
        if not self.meant:
            rows.append(f"(the series is not meant for {self.version}: base.toml)")
        return rows


# --- the tree -----------------------------------------------------------------------


def tree(want: str | None, known: Sequence[Base], store: Store, progress: Progress) -> KernelSource:
    """Return a tree of whatever version: as `source.fetch`, and also the name of a package.

    A directory may have been built in: it is only read.
    """
    if want is None:
        return source.fetch(None, store, progress, known=tuple(known))
    path = Path(want).expanduser()
    if path.is_dir():
        return KernelSource(path.resolve(), tree_version(path), str(path.resolve()))
    sums = {version: value for base in known for version, value in base.sha256.items()}
    name = path.name.removesuffix(".tar.xz")
    package = name if _PACKAGE.fullmatch(name) else None
    # A range of all kernels there have been with this numbering, and will be for long.
    every = replace(
        known[0],
        first="2.6",
        below="1000.0",
        tested=(),
        package=package,
        download=None,
        sha256=sums,
    )
    by_package = package == want and not path.exists()
    return source.fetch(None if by_package else want, store, progress, known=(every,))


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
    """What became of the diff of one file."""

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
    """Apply the diff of a file as well as it goes, and say how well that is."""
    if not diff.creates and not (top / diff.path).is_file():
        return _Outcome(Verdict.BROKEN, problems=(f"there is no {diff.path} in this tree",))
    for fuzz in (0, FUZZ):
        done, said = _patch(top, diff, fuzz, dry=True)
        if done:
            _patch(top, diff, fuzz, dry=False)
            return exact(said) if fuzz == 0 else fuzzy(diff, said)
    _, said = _patch(top, diff, FUZZ, dry=False)
    return _Outcome(Verdict.BROKEN, problems=broken(diff, said))


def _patch(top: Path, diff: FileDiff, fuzz: int, *, dry: bool) -> tuple[bool, str]:
    """Run patch(1); return whether it is content, and what it said."""
    argv = ["patch", "-p1", f"--fuzz={fuzz}", "--batch", "--forward", "--reject-file=-"]
    argv += ["--no-backup-if-mismatch", *(["--dry-run"] if dry else [])]
    done = run(argv, cwd=top, stdin=diff.text.encode("utf-8"), check=False)
    if done.returncode not in {0, 1}:  # not a hunk that fails, but patch(1) itself
        error = CommandFailed(argv, done.returncode, done.stdout)
        raise (
            error
            if is_no_space(error)
            else UklError(f"patch(1) failed on {diff.path}: {done.stdout.strip()}")
        )
    return done.returncode == 0, done.stdout


# --- what patch(1) says: pure ----------------------------------------------------------


def exact(said: str) -> _Outcome:
    """Return the outcome of a diff that fits without fuzz."""
    moved = [abs(int(lines)) for lines in _SUCCEEDED.findall(said) if lines]
    return _Outcome(Verdict.MOVED, max(moved)) if moved else _Outcome(Verdict.CLEAN)


def fuzzy(diff: FileDiff, said: str) -> _Outcome:
    """Return the outcome of a diff that fits with fuzz, naming the hunks that need it."""
    numbers = re.findall(r"^Hunk #(\d+) succeeded at \d+ with fuzz", said, re.M)
    problems = tuple(f"{hunk(diff, int(number))}: its context has changed" for number in numbers)
    return _Outcome(Verdict.FUZZY, problems=problems)


def broken(diff: FileDiff, said: str) -> tuple[str, ...]:
    """Return what is wrong with a diff that does not fit: each hunk, or one sentence."""
    if _REVERSED.search(said):
        return (f"{diff.path}: seems to have this change already",)
    numbers = _FAILED.findall(said)
    last = (said.strip().splitlines() or ["patch(1) said nothing"])[-1]
    return tuple(hunk(diff, int(number)) for number in numbers) or (f"{diff.path}: {last}",)


def hunk(diff: FileDiff, number: int) -> str:
    """Return how people find a hunk: its number, file, line there before, and function."""
    places = _PLACE.findall(diff.text)
    line, function = places[number - 1] if number <= len(places) else ("?", "")
    where = f", in {function.strip()}" if function.strip() else ""
    return f"hunk {number} of {len(places)} of {diff.path} (line {line}{where})"
