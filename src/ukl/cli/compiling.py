# SPDX-License-Identifier: GPL-2.0
"""Verbs that take a source file, and compiler and linker options with it, as cc does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from ukl.cli.verbatim import END, options_of
from ukl.settings.values import COMPILED, OBJECTS

META = "ukl.compiling"
"""Where a click context has what cc's words say: name of a setting -> value."""

_FLAG = re.compile(r"-(O.*|[DUIWf].+|g.*|m[a-z].*|std=.+|ansi|pedantic|pthread)")
_VALUED = frozenset({"-D", "-U", "-I", "-isystem", "-include"})
"""Options whose value may be the next word."""


def taken(
    words: Sequence[str], flags: Collection[str], valued: Collection[str]
) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """Return the words that are ours, and the settings that cc's words stand for. Pure.

    `flags` are our options without a value, `valued` those with one. Further sources and object
    files count as such behind a source file. Behind `--` all words are the program's.
    """
    ours: list[str] = []
    found: dict[str, list[Any]] = {"cflags": [], "libraries": [], "sources": [], "objects": []}
    directories: list[Path] = []
    target = ""
    rest = iter(words)
    for word in rest:
        suffix = Path(word).suffix
        if word == END:
            ours += [word, *rest]
        elif word in valued:
            ours += [word, *_next(rest)]
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
            ours.append(word)
    for name in list(found["libraries"]):
        for directory in directories:
            if (archive := directory / f"lib{name}.a").is_file():
                found["libraries"].remove(name)
                found["objects"].append(archive)
                break
    return ours, {name: tuple(value) for name, value in found.items() if value}


def _next(words: Any) -> list[str]:
    return [each for each in [next(words, None)] if each is not None]


class Compiling(TyperCommand):
    """A verb TARGET [OPTIONS] [cc's options]."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; of an unfinished line, which a shell wants to complete, all words are ours."""
        if not ctx.resilient_parsing:
            args, said = taken(args, *options_of(self, ctx))
            ctx.meta[META] = said
        return super().parse_args(ctx, args)


def said(context: Any) -> Mapping[str, tuple[Any, ...]]:
    """Return what cc's words of a command line say; nothing outside of a command."""
    found: Mapping[str, tuple[Any, ...]] = context.meta.get(META, {}) if context else {}
    return found
