# SPDX-License-Identifier: GPL-2.0
"""Import the series from its development tree in git: `python -m ukl.kernel.import_series`.

For developers of the series. Each commit from `base` to HEAD becomes a patch; files
that are not in `base` go into the overlay as they are at HEAD. This rewrites the patches
and the series of `kernel/<version>/`, and the overlay; `ukl kernel export` is the inverse.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ukl.base import resources
from ukl.base.errors import InputError, UklError
from ukl.host.exec import CommandFailed, run_apart
from ukl.kernel import mail, series
from ukl.kernel.mail import ABBREVIATION, FileDiff, Mail
from ukl.kernel.series import Entry

PART = "part/"
"""The tag part/NAME is at the commit after which the part NAME of the series begins."""

HEAD = """\
The patches in their order; each `+` line is a new file, stored in kernel/overlay,
that comes with the patch above it. Made from the development tree by
`python -m ukl.kernel.import_series`.
"""


@dataclass(slots=True)
class Imported:
    """A series read from git: entries, their stored mails, and the overlay at HEAD."""

    entries: list[Entry] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    overlay: dict[str, tuple[bytes, bool]] = field(default_factory=dict)


def _git(tree: Path, *words: str) -> str:
    argv = ["git", "-C", str(tree), "-c", "core.quotePath=false", *words]
    try:
        return run_apart(argv).stdout
    except CommandFailed as error:
        raise InputError(
            f"git {words[0]} failed: {error.tail}",
            where=tree,
            remedy="give a git tree of the kernel with a tag `base` on the unpatched one",
        ) from None


def read_git(tree: Path, base: str = "base", head: str = "HEAD") -> Imported:
    """Return the commits from `base` to `head` as a series.

    Raises InputError for a history that is not a linear list of patches: it has a merge or
    no commit, or a patch deletes a file that an earlier one creates.
    """
    commits = _git(tree, "rev-list", "--reverse", f"{base}..{head}").split()
    if not commits:
        raise InputError(f"no commits between {base} and {head}", where=tree)
    if merges := _git(tree, "rev-list", "--merges", f"{base}..{head}").split():
        raise InputError(f"{merges[0][:12]} is a merge, but a series must be linear", where=tree)
    parts = _parts(tree)
    part = ""
    original = frozenset(_git(tree, "ls-tree", "-r", "--name-only", "-z", base).split("\0"))
    imported = Imported()
    for number, commit in enumerate(commits, 1):
        message = _message(tree, commit)
        stored: list[FileDiff] = []
        created: list[str] = []
        for diff in _diffs(tree, commit):
            if diff.path in original:
                stored.append(diff)
            elif diff.creates:
                created.append(diff.path)
            elif diff.deletes:
                raise InputError(
                    f"{commit[:12]} deletes {diff.path}, which an earlier patch creates",
                    where=tree,
                    remedy="remove the file from the earlier patch",
                )
            else:
                stored.append(diff)
        one = message.with_diffs(tuple(stored))
        name = f"{number:04}-{one.file_name}"
        imported.entries.append(Entry(name, tuple(sorted(created)), part))
        imported.mails.append(one)
        part = parts.get(commit, part)
    for entry in imported.entries:
        for path in entry.overlay:
            imported.overlay[path] = _content(tree, head, path)
    return imported


def _parts(tree: Path) -> dict[str, str]:
    """Return commit -> name of the part that begins after it."""
    form = "--format=%(objectname) %(refname:lstrip=3)"
    lines = _git(tree, "for-each-ref", form, f"refs/tags/{PART}").splitlines()
    return {line.split(" ")[0]: line.split(" ")[1] for line in lines}


def _message(tree: Path, commit: str) -> Mail:
    form = "--format=%an <%ae>%x00%aD%x00%s%x00%b"
    author, date, subject, body = _git(tree, "show", "-s", form, commit).split("\0")
    return Mail(author, date, subject, body.strip("\n"), ())


def _diffs(tree: Path, commit: str) -> tuple[FileDiff, ...]:
    options = ["--patch", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv"]
    options += ["--diff-algorithm=histogram", "--unified=3", f"--abbrev={ABBREVIATION}"]
    options += ["--src-prefix=a/", "--dst-prefix=b/", "--no-commit-id", "-r"]
    return mail.split_diffs(_git(tree, "diff-tree", *options, commit))


def _content(tree: Path, head: str, path: str) -> tuple[bytes, bool]:
    mode = _git(tree, "ls-tree", head, "--", path).partition(" ")[0]
    if mode not in {"100644", "100755"}:
        raise InputError(f"{path} is not a regular file", where=tree)
    return _git(tree, "show", f"{head}:{path}").encode("utf-8"), mode == "100755"


def write(imported: Imported, directory: Path) -> list[Path]:
    """Rewrite a version's patches and series, and the overlay; return unknown overlay files.

    `directory` is kernel/<version>; the overlay lies beside it. A file of the overlay
    that this series does not name may be another version's: it stays, and is returned.
    """
    patches, overlay = directory / "patches", directory.parent / "overlay"
    patches.mkdir(parents=True, exist_ok=True)
    for old in patches.glob("*.patch"):
        old.unlink()
    for entry, one in zip(imported.entries, imported.mails, strict=True):
        (patches / entry.patch).write_text(mail.render(one), encoding="utf-8")
    text = series.render(tuple(imported.entries), HEAD)
    (directory / "series").write_text(text, encoding="utf-8")
    for path, (content, is_executable) in imported.overlay.items():
        place = overlay / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_file() or place.read_bytes() != content:
            place.write_bytes(content)
        place.chmod(0o755 if is_executable else 0o644)
    named = {overlay / path for path in imported.overlay}
    return sorted(file for file in overlay.rglob("*") if file.is_file() and file not in named)


def differing(imported: Imported, directory: Path) -> list[str]:
    """Return the overlay's existing files whose content differs from git's."""
    overlay = directory.parent / "overlay"
    return [
        path
        for path, (content, _) in imported.overlay.items()
        if (overlay / path).is_file() and (overlay / path).read_bytes() != content
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the importer; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ukl.kernel.import_series", description=__doc__)
    parser.add_argument("tree", type=Path, help="git tree of the kernel with the commits")
    parser.add_argument(
        "--base", default="base", help="commit of the unpatched kernel (default: base)"
    )
    parser.add_argument("--head", default="HEAD", help="the last patch (default: HEAD)")
    parser.add_argument(
        "--into",
        type=Path,
        default=None,
        help="kernel/<version> (default: the newest of this tree)",
    )
    given = parser.parse_args(arguments)
    try:
        into = given.into or max(
            file.parent for file in resources.path("kernel").glob("*/base.toml")
        )
        imported = read_git(given.tree, given.base, given.head)
        changed = differing(imported, into)
        left = write(imported, into)
    except UklError as error:
        sys.stderr.write(f"{error.where or given.tree}: {error.message}\n")
        return int(error.code)
    out = sys.stdout
    out.write(f"{len(imported.entries)} patches, {len(imported.overlay)} new files -> {into}\n")
    for path in changed:
        out.write(f"overwritten with git's content: overlay/{path}\n")
    for file in left:
        out.write(f"not in the git tree, left alone: {file}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
