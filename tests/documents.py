# SPDX-License-Identifier: GPL-2.0
"""The commands in the README, the tutorial and the how-tos: found, and run as they stand there.

A comment above a block says what happens to it:

    <!-- run: boot -->              a test of that tier runs it
    <!-- run: boot, detached -->    each line starts a guest, which is ended then
    <!-- run: boot, hidden
    COMMANDS
    -->                             what a reader has already, and does not see
    <!-- not run: REASON -->

In a block of `console` the commands are the lines behind `$ `; the others are what they print.
All blocks of a document up to a tier are one script, in their order and in a directory of its
own, in which `ukl` and `./ukl` are those of this checkout.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import TOP

DOCS = TOP / "docs"
DOCUMENTS = sorted([TOP / "README.md", *DOCS.glob("tutorial/*.md"), *DOCS.glob("howto/*.md")])
TIERS = ("boot", "apps")

PRIVATE = ("guests", "runs", "bench", "logs")
"""Of the cache: what is of this run alone. The rest is what others have built."""

OPTIONAL = {"gdb": "ukl gdb", "strace": "ukl trace", "clang": "--lto", "llvm-link": "--lto"}
"""Tools without which the tests of a document that uses them are skipped, and what of
their commands uses them."""

_MARK = re.compile(r"<!-- (run: (?P<tier>\w+)(?:, (?P<how>\w+))?|not run: (?P<why>[^>]+)) -->")
_HIDDEN = re.compile(r"<!-- run: (\w+), hidden$")
_SHELL = {"", "sh", "console"}


@dataclass(frozen=True)
class Block:
    """A block of commands. `tier` None: it is not run; `marked` says whether anything is said."""

    line: int
    text: str
    tier: str | None = None
    detached: bool = False
    marked: bool = False


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of shell commands in a document."""
    lines = text.splitlines()
    mark: re.Match[str] | None = None
    at = 0
    while at < len(lines):
        line = lines[at]
        begin = at + 1
        if hidden := _HIDDEN.fullmatch(line):
            end = lines.index("-->", at)
            yield Block(begin, "\n".join(lines[at + 1 : end]), hidden[1], marked=True)
            at = end + 1
            continue
        if found := _MARK.fullmatch(line):
            mark = found
            at += 1
            continue
        if line.startswith("```"):
            end = next(n for n in range(at + 1, len(lines)) if lines[n].startswith("```"))
            body, kind, after = lines[at + 1 : end], line[3:].strip(), end + 1
        elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            body, kind, after = [each[4:] for each in lines[at:end]], "", end
        else:
            if line.strip():
                mark = None
            at += 1
            continue
        if kind == "console":
            body = [each[2:] for each in body if each.startswith("$ ")]
        if kind in _SHELL and not (mark is None and _in_list(lines, at)):
            tier = mark["tier"] if mark else None
            how = mark["how"] if mark else None
            yield Block(begin, "\n".join(body).rstrip(), tier, how == "detached", mark is not None)
        mark = None
        at = after


def _in_list(lines: list[str], at: int) -> bool:
    """Tell whether an indented line goes on with an item of a list: no code of ours."""
    before = next((each for each in reversed(lines[:at]) if each.strip()), "")
    return before.startswith(("- ", "  ")) and not before.startswith("    ")


def script(document: Path, tier: str) -> str:
    """Return the commands of a document up to a tier, as one script; empty if it has none."""
    wanted = TIERS[: TIERS.index(tier) + 1]
    parts: list[str] = []
    for block in blocks(document.read_text()):
        if block.tier not in wanted:
            continue
        parts.append(f": {document.name}:{block.line}")
        parts += _detached(block.text) if block.detached else [block.text]
    if not parts or (tier == "apps" and "apps" not in _tiers(document)):
        return ""
    return "\n".join(["set -eux", *parts, ""])


def _tiers(document: Path) -> set[str | None]:
    return {block.tier for block in blocks(document.read_text())}


def _detached(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.strip():
            command = re.sub(r"\bukl run\b", "ukl run -d --name documented", line, count=1)
            assert command != line, line
            yield command.partition("  #")[0]
            yield "ukl rm --force documented"


def run(document: Path, tier: str, cache: Path, place: Path, timeout: float) -> str:
    """Run the commands of a document in `place`; return what they said, fail if one fails."""
    own = place / "cache"
    own.mkdir(parents=True)
    for each in cache.iterdir():
        if each.name not in PRIVATE:
            (own / each.name).symlink_to(each)
    work = place / "work"
    work.mkdir()
    program = place / "bin" / "ukl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ukl "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (work / "ukl").symlink_to(program)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(TOP / "src"),
        "UKL_CACHE_DIR": str(own),
        "TOP": str(TOP),
    }
    log = place / "log"
    try:
        with log.open("wb") as out:
            done = subprocess.run(
                ["bash", "-c", script(document, tier)],
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
    finally:
        _clean(program, environment)
    said = log.read_text(errors="replace")
    assert done.returncode == 0, f"{document.name}: status {done.returncode}\n{said[-4000:]}"
    return said


def _clean(program: Path, environment: dict[str, str]) -> None:
    """End what the commands left running."""
    listed = subprocess.run(
        [str(program), "ps", "-a", "-q"], env=environment, capture_output=True, check=False
    )
    if names := listed.stdout.decode().split():
        subprocess.run([str(program), "rm", "--force", *names], env=environment, check=False)


def missing(document: Path, tier: str) -> str | None:
    """Return a tool that a document's commands need and this machine has not."""
    words = script(document, tier)
    for tool, use in OPTIONAL.items():
        if use in words and shutil.which(tool) is None:
            return tool
    return None
