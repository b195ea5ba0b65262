# SPDX-License-Identifier: GPL-2.0
"""Write the series as mails, ready to send (`ukl kernel export`).

The stored mails lack the diffstat and the diffs of overlay files. The overlay stores a file
as it is after the whole series, but the patch that creates the file must show its first
version: the changes of later patches are therefore reverted, from the last to the first.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from ukl.base.errors import UklError
from ukl.host.exec import CommandFailed
from ukl.kernel import mail, series
from ukl.kernel.mail import FileDiff, Mail
from ukl.kernel.series import Series

COVER = "cover.toml"
"""Beside the series: author, date, subject and text of the cover letter; cover-NAME.toml for
the part NAME."""

_WIDTH = 40
"""Columns of a diffstat's graph."""


def full_mails(loaded: Series) -> list[Mail]:
    """Return the mails of a series with all diffs, in order.

    Raises UklError if the diffs of an overlay file do not result in the stored content.
    """
    overlay = frozenset(loaded.overlay)
    mails = [loaded.read(entry) for entry in loaded.entries]
    with tempfile.TemporaryDirectory(prefix="ukl-export-") as scratch:
        state = Path(scratch)
        for path in loaded.overlay:
            place = state / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((loaded.overlay_root / path).read_bytes())
        for index in reversed(range(len(mails))):
            entry = loaded.entries[index]
            created = []
            for path in entry.overlay:
                place = state / path
                is_executable = series.executable(loaded.overlay_root / path)
                created.append(mail.new_file(path, place.read_bytes(), is_executable))
                place.unlink()
            later = [diff for diff in mails[index].diffs if diff.path in overlay]
            if later:
                try:
                    series.patch_files(state, later, reverse=True)
                except CommandFailed as error:
                    raise UklError(
                        f"{entry.patch} does not result in the file that the overlay "
                        f"stores: {series.explain(later, error.output)}",
                        where=loaded.overlay_root,
                        remedy="import the series again from the tree it is developed in",
                    ) from None
            mails[index] = mails[index].with_diffs((*mails[index].diffs, *created))
    return mails


def export(series_file: Path, directory: Path) -> list[Path]:
    """Write 0000-cover-letter.patch (if there is a cover) and NNNN-*.patch; return the files.

    `git am` applies them to a tree of the series' kernel version. The patches of a part lie in
    a directory of its name, and apply on top of the main series. Raises UklError if the
    directory has other numbered patches, which would be mailed along.
    """
    loaded = series.load(series_file)
    parts: dict[str, list[Mail]] = {}
    for entry, one in zip(loaded.entries, full_mails(loaded), strict=True):
        parts.setdefault(entry.part, []).append(one)
    written = []
    for part, mails in parts.items():
        cover = series_file.parent / (f"cover-{part}.toml" if part else COVER)
        written += _export(mails, cover, directory / part)
    return written


def _export(mails: Sequence[Mail], cover: Path, directory: Path) -> list[Path]:
    """Write one series of mails."""
    directory.mkdir(parents=True, exist_ok=True)
    old = sorted(directory.glob("[0-9][0-9][0-9][0-9]-*.patch"))
    texts: dict[str, str] = {}
    if cover.is_file():
        texts["0000-cover-letter.patch"] = cover_letter(cover, mails)
    for number, one in enumerate(mails, 1):
        prefix = f"PATCH {number:0{len(str(len(mails)))}}/{len(mails)}"
        prefix = prefix if len(mails) > 1 else "PATCH"
        name = f"{number:04}-{one.file_name}"
        texts[name] = mail.render(one, prefix, diffstat(one.diffs))
    for path in old:
        if path.name not in texts and not path.read_text(errors="replace").startswith("From 0000"):
            raise UklError(
                "this directory holds other patches",
                where=path,
                remedy="name an empty directory",
            )
    for path in old:
        path.unlink()
    written = []
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
        written.append(directory / name)
    return written


def cover_letter(file: Path, mails: Sequence[Mail]) -> str:
    """Return the cover letter: its text, the list of patches, and the diffstat of all."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        author, date = data["author"], data["date"]
        subject, text = data["subject"], data["text"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise UklError(f"the cover letter is incomplete: {error}", where=file) from error
    listed = "\n".join(f"  {one.subject}" for one in mails)
    stat = diffstat([diff for one in mails for diff in one.diffs]).removesuffix("\n")
    who = mails[0].author.partition(" <")[0] if mails else author
    body = f"{text.strip()}\n\n{who} ({len(mails)}):\n{listed}\n\n{stat}"
    letter = Mail(author, date, subject, body, ())
    width = len(str(len(mails)))
    # No `---` line: a cover letter has nothing to apply.
    return mail.render(letter, f"PATCH {0:0{width}}/{len(mails)}").replace("\n---\n\n", "\n")


def diffstat(diffs: Sequence[FileDiff]) -> str:
    """Return git's summary: a line and graph per file, totals, created and deleted files."""
    counts: dict[str, tuple[int, int]] = {}
    summary = []
    for diff in diffs:
        added, removed = diff.changes()
        before = counts.get(diff.path, (0, 0))
        counts[diff.path] = (before[0] + added, before[1] + removed)
        mode = diff.mode()
        if diff.creates:
            summary.append(f" create mode {mode} {diff.path}\n")
        elif diff.deletes:
            summary.append(f" delete mode {mode} {diff.path}\n")
    if not counts:
        return ""
    width = max(len(path) for path in counts)
    most = max(sum(count) for count in counts.values())
    digits = len(str(most))
    text = ""
    for path, (added, removed) in sorted(counts.items(), key=lambda item: item[0].encode()):
        plus, minus = _bar(added, most), _bar(removed, most)
        line = f" {path:<{width}} | {added + removed:>{digits}} {'+' * plus}{'-' * minus}"
        text += line.rstrip() + "\n"
    added = sum(count[0] for count in counts.values())
    removed = sum(count[1] for count in counts.values())
    text += f" {_count(len(counts), 'file')} changed"
    if added or not removed:
        text += f", {_count(added, 'insertion')}(+)"
    if removed or not added:
        text += f", {_count(removed, 'deletion')}(-)"
    return text + "\n" + "".join(summary)


def _bar(count: int, most: int) -> int:
    if most <= _WIDTH:
        return count
    return max(1, count * _WIDTH // most) if count else 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
