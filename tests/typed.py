# SPDX-License-Identifier: GPL-2.0
"""What pages and scripts tell to type: whether our command line has it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

from typer.main import get_command

from ukl.cli.app import app


@cache
def root() -> Any:
    """Return what typer makes of all verbs, which takes longer than most of them."""
    return get_command(app)


def commands(text: str) -> Iterator[str]:
    """Yield the lines of a page's code that call `ukl`, without what stands behind them."""
    for line in text.splitlines():
        if found := re.fullmatch(r"(?:    |\$ )?((?:\./)?ukl [^\[].*)", line):
            yield re.split(r"  +#|\\$| &$", found[1])[0]


def unknown(line: str) -> list[str]:
    """Return what a command line has that its verb does not: verbs and options."""
    command = root()
    known = {"--help"}
    words = shlex.split(line)[1:]
    while words:
        known |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        inner = getattr(command, "commands", {})
        if not inner:
            break
        word = words.pop(0)
        if word.startswith("-"):
            takes = (each for each in command.params if word in each.opts and not each.is_flag)
            words = words[1:] if any(takes) else words
        elif word in inner:
            command = inner[word]
        else:
            return [word] if re.fullmatch(r"[a-z]+", word) else []  # VERB, ...: any
    own = words[: words.index("--")] if "--" in words else words
    return [word for word in own if word.startswith("--") and word.partition("=")[0] not in known]
