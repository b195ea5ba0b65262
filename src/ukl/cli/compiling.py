# SPDX-License-Identifier: GPL-2.0
"""Verbs that accept a source file together with compiler and linker options, like cc."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from ukl.cli.verbatim import END, options_of
from ukl.settings.values import COMPILED, OBJECTS

META = "ukl.compiling"
"""Key of the settings from cc's options in a click context: name of a setting -> value."""

_FLAG = re.compile(r"-(O.*|[DUIWf].+|g.*|m[a-z].*|std=.+|ansi|pedantic|pthread)")
_VALUED = frozenset({"-D", "-U", "-I", "-isystem", "-include"})
"""cc's options whose value may be the next word."""


def split(
    words: Sequence[str], flags: Collection[str], valued: Collection[str]
) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """Split a command line into ukl's words and the settings given by cc's words. Pure.

    `flags` are ukl's options without a value, `valued` those with one. Further sources and
    object files must follow a source file. All words after `--` are the program's.
    """
    remaining: list[str] = []
    found: dict[str, list[Any]] = {"cflags": [], "libraries": [], "sources": [], "objects": []}
    directories: list[Path] = []
    target = ""
    rest = iter(words)
    for word in rest:
        suffix = Path(word).suffix
        if word == END:
            remaining += [word, *rest]
        elif word in valued:
            remaining += [word, *_next(rest)]
        elif word in _VALUED:
            found["cflags"] += [word, *_next(rest)]
        elif word.startswith(("-l", "-L")):
            value = word[2:] or "".join(_next(rest))
            if word.startswith("-L"):
                directories.append(Path(value).absolute())
            else:
                found["libraries"].append(value)
        elif word not in flags and _FLAG.fullmatch(word):
            found["cflags"].append(word)
        elif target and Path(target).suffix in COMPILED and suffix in {*COMPILED, *OBJECTS}:
            kind = "sources" if suffix in COMPILED else "objects"
            found[kind].append(Path(word).absolute())
        else:
            target = target or ("" if word.startswith("-") else word)
            remaining.append(word)
    for name in list(found["libraries"]):
        for directory in directories:
            if (archive := directory / f"lib{name}.a").is_file():
                found["libraries"].remove(name)
                found["objects"].append(archive)
                break
    return remaining, {name: tuple(value) for name, value in found.items() if value}


def _next(words: Any) -> list[str]:
    return [each for each in [next(words, None)] if each is not None]


class Compiling(TyperCommand):
    """A command `VERB TARGET [OPTIONS] [cc's options]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse. cc's options are split off, except from a line that a shell completes."""
        if not ctx.resilient_parsing:
            args, found = split(args, *options_of(self, ctx))
            ctx.meta[META] = found
        return super().parse_args(ctx, args)


def cc_settings(context: Any) -> Mapping[str, tuple[Any, ...]]:
    """Return the settings from cc's options of a command line; {} outside a command."""
    found: Mapping[str, tuple[Any, ...]] = context.meta.get(META, {}) if context else {}
    return found
