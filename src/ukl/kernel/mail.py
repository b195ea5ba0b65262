# SPDX-License-Identifier: GPL-2.0
"""A patch as a mail: header, message, diffs; text in, text out.

The format is what `git am` reads and `git format-patch --zero-commit` writes. The
repository stores patches in the same format, without the diffs of new files (their
content lies in `kernel/overlay`) and without the diffstat; `export` adds both.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from email.header import Header, decode_header, make_header

from ukl.base.errors import UklError

_ENVELOPE = "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n"
_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@", re.M)
_MIME = (
    "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
)

ABBREVIATION = 12
"""Hexadecimal digits of a blob's name in an `index` line, as on the kernel's mailing lists."""


@dataclass(frozen=True, slots=True)
class FileDiff:
    """The diff of one file in a patch: the text from one `diff --git` to the next."""

    path: str
    text: str

    def hunks(self) -> list[int]:
        """Return the number of each hunk's first line in the old file."""
        return [int(start) for start in _HUNK.findall(self.text)]

    def changes(self) -> tuple[int, int]:
        """Return how many lines are added and removed."""
        lines = self.text.partition("\n@@")[2].splitlines()
        added = sum(line.startswith("+") for line in lines)
        return added, sum(line.startswith("-") for line in lines)

    def mode(self) -> str:
        """Return the mode of a file that is created or deleted."""
        match = re.search(r"^(?:new|deleted) file mode (\d+)$", self.text, re.M)
        return match[1] if match else ""

    @property
    def creates(self) -> bool:
        """Whether the file is new."""
        return "\nnew file mode " in self.text.partition("\n@@")[0]

    @property
    def deletes(self) -> bool:
        """Whether the file is removed."""
        return "\ndeleted file mode " in self.text.partition("\n@@")[0]


@dataclass(frozen=True, slots=True)
class Mail:
    """One patch. `subject` is without a [PATCH] prefix, `body` without surrounding blank lines."""

    author: str
    date: str
    subject: str
    body: str
    diffs: tuple[FileDiff, ...]

    def with_diffs(self, diffs: tuple[FileDiff, ...]) -> Mail:
        """Return the same message with other diffs, sorted as git sorts them."""
        return replace(self, diffs=tuple(sorted(diffs, key=lambda diff: diff.path.encode())))

    @property
    def file_name(self) -> str:
        """The file name without its number, made from the subject as git does."""
        slug = re.sub(r"[^A-Za-z0-9._]+", "-", self.subject).strip("-.")
        return re.sub(r"\.+", ".", slug)[:52].rstrip("-.") + ".patch"


def split_diffs(text: str) -> tuple[FileDiff, ...]:
    """Cut the output of `git diff` into one FileDiff for each file."""
    parts = re.split(r"^(?=diff --git )", text, flags=re.M)
    diffs = []
    for part in parts:
        match = re.match(r"diff --git a/(.+) b/\1\n", part)
        if match is None:
            if part.strip():
                raise UklError(f"cannot parse this diff: {part.splitlines()[0]!r}")
            continue
        diffs.append(FileDiff(match.group(1), part))
    return tuple(diffs)


def parse(text: str, where: str | None = None) -> Mail:
    """Parse a mail, stored or exported."""
    head, _, rest = text.partition("\n\n")
    fields: dict[str, str] = {}
    for name, value in re.findall(r"^([A-Za-z-]+): ((?:.*)(?:\n[ \t].*)*)", head, re.M):
        fields.setdefault(
            name.lower(), str(make_header(decode_header(re.sub(r"\n\s+", " ", value))))
        )
    if not {"from", "date", "subject"} <= set(fields):
        raise UklError("not a patch mail: it needs From, Date and Subject", where=where)
    message, separator, tail = (
        rest.partition("\n---\n")
        if not rest.startswith("---\n")
        else (
            "",
            "---\n",
            rest[4:],
        )
    )
    if not separator:
        raise UklError("this patch mail has no `---` line after its message", where=where)
    start = re.search(r"^diff --git ", tail, re.M)
    diff = tail[start.start() :] if start else ""
    # Git ends a mail with `-- ` and its version; no line of a diff looks like that.
    diff = re.sub(r"^-- \n.*\Z", "", diff, flags=re.M | re.S)
    subject = re.sub(r"^\[[^\]]*\]\s*", "", fields["subject"])
    return Mail(fields["from"], fields["date"], subject, message.strip("\n"), split_diffs(diff))


def _header(name: str, value: str, address: bool = False) -> str:
    if value.isascii():
        return f"{name}: {value}\n"
    if address:
        who, _, rest = value.partition(" <")
        return f"{name}: {Header(who, 'utf-8').encode()} <{rest}\n"
    return f"{name}: {Header(value, 'utf-8', header_name=name).encode()}\n"


def render(mail: Mail, prefix: str = "PATCH", stat: str = "") -> str:
    """Return the text of a mail, with the diffstat `stat` between message and diffs."""
    whole = mail.author + mail.subject + mail.body + "".join(diff.text for diff in mail.diffs)
    text = _ENVELOPE
    text += _header("From", mail.author, address=True)
    text += f"Date: {mail.date}\n"
    text += _header("Subject", f"[{prefix}] {mail.subject}")
    text += "" if whole.isascii() else _MIME
    text += "\n" + (mail.body + "\n" if mail.body else "") + "---\n"
    text += stat + "\n"
    return text + "".join(diff.text for diff in mail.diffs)


def blob_name(content: bytes) -> str:
    """Return git's object name (SHA-1) of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def new_file(path: str, content: bytes, executable: bool = False) -> FileDiff:
    """Return the diff that creates a file, exactly as git writes it."""
    mode = "100755" if executable else "100644"
    text = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n"
    text += f"index {'0' * ABBREVIATION}..{blob_name(content)[:ABBREVIATION]}\n"
    if content:
        lines = content.decode("utf-8").split("\n")
        complete = lines[-1] == ""
        lines = lines[:-1] if complete else lines
        count = "" if len(lines) == 1 else f",{len(lines)}"
        text += f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1{count} @@\n"
        text += "".join(f"+{line}\n" for line in lines)
        text += "" if complete else "\\ No newline at end of file\n"
    return FileDiff(path, text)
