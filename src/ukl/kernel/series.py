# SPDX-License-Identifier: GPL-2.0
"""The patch series of a kernel version: `kernel/*/series`.

The file lists the patches in their order, as quilt's does; below a patch, each
line `+ PATH` names a new file that comes with it, stored once in
`kernel/overlay/PATH` for all kernel versions:

    0002-x86-ukl-Add-the-system-call-entry.patch
        + arch/x86/ukl/entry.S

A line `= NAME` begins a part that is mailed as a separate series, on top of the patches
above it.

The overlay holds the files as they are after the whole series. Where a later patch changes
a file that an earlier one created, its mail keeps that diff: a build does not need it, an
export reverts it to show each step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ukl.base.errors import InputError, UklError
from ukl.host.exec import CommandFailed, run
from ukl.host.store import is_no_space
from ukl.kernel import mail
from ukl.kernel.mail import FileDiff, Mail

_PATCHING = re.compile(r"(?:patching|checking) file '?(?P<file>[^']+?)'?$")
_FAILED = re.compile(r"Hunk #(?P<hunk>\d+) FAILED at (?P<line>\d+)")
_IGNORED = re.compile(r"Reversed \(or previously applied\)|File .* already exists")


@dataclass(frozen=True, slots=True)
class Entry:
    """One patch: its file name, and the overlay files that come with it.

    `part` is the separate series that it is mailed in; empty for the main one.
    """

    patch: str
    overlay: tuple[str, ...] = ()
    part: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A series in its directory. Paths of the overlay are relative to a kernel tree's top."""

    file: Path
    entries: tuple[Entry, ...]

    @property
    def overlay_root(self) -> Path:
        """The directory with the new files, shared by all kernel versions."""
        return self.file.parent.parent / "overlay"

    @property
    def overlay(self) -> tuple[str, ...]:
        """All new files, in the order of the patches."""
        return tuple(path for entry in self.entries for path in entry.overlay)

    def patch_path(self, entry: Entry) -> Path:
        """The file of a patch."""
        return self.file.parent / "patches" / entry.patch

    def read(self, entry: Entry) -> Mail:
        """Return the stored mail of a patch."""
        path = self.patch_path(entry)
        try:
            return mail.parse(path.read_text(encoding="utf-8"), where=str(path))
        except FileNotFoundError:
            raise UklError(
                f"the series names {entry.patch}, which does not exist", where=self.file
            ) from None

    def content(self) -> dict[str, bytes]:
        """Return everything that determines the patched tree: name -> content."""
        parts = {entry.patch: self.patch_path(entry).read_bytes() for entry in self.entries}
        for path in self.overlay:
            file = self.overlay_root / path
            parts[f"overlay/{path}"] = (b"x" if executable(file) else b"-") + file.read_bytes()
        return parts

    def touched(self) -> frozenset[str]:
        """Return the kernel's files that the patches change, without those of the overlay."""
        changed = {diff.path for entry in self.entries for diff in self.read(entry).diffs}
        return frozenset(changed - set(self.overlay))


def executable(file: Path) -> bool:
    """Whether a file of the overlay must be executable in the tree."""
    return bool(file.stat().st_mode & 0o100)


def _safe(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts and str(pure) == path


def parse(text: str, file: Path) -> Series:
    """Parse a series file; raises UklError with the place of a malformed line."""
    entries: list[Entry] = []
    seen: set[str] = set()
    part = ""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        where = f"{file}:{number}"
        if words.startswith("= "):
            part = words[2:].strip()
            if not re.fullmatch(r"[a-z0-9-]+", part):
                raise UklError(f"not the name of a part: {part!r}", where=where)
            continue
        added = words.startswith("+ ")
        name = words[2:].strip() if added else words
        if not _safe(name) or (not added and ("/" in name or not name.endswith(".patch"))):
            raise UklError(f"neither a patch nor `+ PATH`: {words!r}", where=where)
        if name in seen:
            raise UklError(f"{name} is listed twice", where=where)
        seen.add(name)
        if not added:
            entries.append(Entry(name, part=part))
        elif entries:
            entries[-1] = replace(entries[-1], overlay=(*entries[-1].overlay, name))
        else:
            raise UklError("a `+` line precedes the first patch", where=where)
    return Series(file, tuple(entries))


def load(file: Path) -> Series:
    """Read a series and check that its patches and overlay files exist."""
    try:
        series = parse(file.read_text(encoding="utf-8"), file)
    except OSError as error:
        raise UklError(f"the series cannot be read: {error.strerror}", where=file) from error
    for path in [series.overlay_root / name for name in series.overlay] + [
        series.patch_path(entry) for entry in series.entries
    ]:
        if not path.is_file():
            raise UklError(f"the series names a file that does not exist: {path}", where=file)
    return series


def render(entries: tuple[Entry, ...], head: str = "") -> str:
    """Return the text of a series file, with `head` as comment lines at its top."""
    lines = ["# SPDX-License-Identifier: GPL-2.0"]
    lines += [f"# {line}".rstrip() for line in head.splitlines()]
    part = ""
    for entry in entries:
        if entry.part != part:
            part = entry.part
            lines += ["", f"= {part}"]
        lines += ["", entry.patch] if entry.overlay else [entry.patch]
        lines += [f"    + {path}" for path in entry.overlay]
    return "\n".join(lines) + "\n"


def patch_files(
    tree: Path, diffs: Sequence[FileDiff], *, reverse: bool = False, log: Path | None = None
) -> None:
    """Apply diffs to the files below `tree` with patch(1): exact but for line numbers.

    Raises CommandFailed; files may then be half patched.
    """
    argv = ["patch", "-p1", "--fuzz=0", "--batch", "--no-backup-if-mismatch", "--reject-file=-"]
    argv.append("--reverse" if reverse else "--forward")
    text = "".join(diff.text for diff in diffs)
    run(argv, cwd=tree, stdin=text.encode("utf-8"), log=log)


def explain(diffs: Sequence[FileDiff], output: str) -> str:
    """Say where patch(1) failed, file and hunk, from what it printed."""
    file = ""
    for line in output.splitlines():
        if match := _PATCHING.match(line):
            file = match["file"]
        elif match := _FAILED.match(line):
            hunks = next((len(diff.hunks()) for diff in diffs if diff.path == file), 0)
            return f"hunk {match['hunk']} of {hunks} of {file} (line {match['line']})"
        elif _IGNORED.search(line):
            return f"{file or diffs[0].path}, which seems to be patched already"
    return file or (output.strip().splitlines() or ["patch(1) failed"])[-1]


def refuse_patched(series: Series, tree: Path) -> None:
    """Raise InputError for a tree that has a file of the overlay."""
    for path in series.overlay:
        if (tree / path).exists():
            raise InputError(
                f"this kernel tree has {path} already: it seems to be patched",
                where=tree,
                remedy="give an unpatched tree",
            )


def apply(series: Series, tree: Path, version: str, log: Path | None = None) -> None:
    """Apply overlay and patches to `tree`, a copy that this may change.

    Raises InputError if a file of the overlay exists already or a patch fails.
    """
    refuse_patched(series, tree)
    overlay = frozenset(series.overlay)
    for entry in series.entries:
        diffs = [diff for diff in series.read(entry).diffs if diff.path not in overlay]
        if not diffs:
            continue
        absent = [d.path for d in diffs if not d.creates and not (tree / d.path).is_file()]
        try:
            if absent:
                raise CommandFailed(["patch"], 1, f"this tree has no {absent[0]}", log=log)
            patch_files(tree, diffs, log=log)
        except CommandFailed as error:
            if is_no_space(error):
                raise
            raise InputError(
                f"{entry.patch} does not apply to this tree of Linux {version}: "
                + explain(diffs, error.output),
                where=series.patch_path(entry),
                remedy="use the unchanged source of the distribution or of kernel.org; "
                "if this is such a source, adapt the series to this version",
                log=error.log,
            ) from None
    for path in series.overlay:
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((series.overlay_root / path).read_bytes())
        target.chmod(0o755 if executable(series.overlay_root / path) else 0o644)
