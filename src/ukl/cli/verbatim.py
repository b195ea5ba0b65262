# SPDX-License-Identifier: GPL-2.0
"""Verbs that end with another program's command line, whose first word ends ukl's options."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from typer.core import TyperCommand

END = "--"


def separated(words: Sequence[str], flags: Collection[str], valued: Collection[str]) -> list[str]:
    """Return the words with `--` inserted before the command that follows the guest's name. Pure.

    `flags` are ukl's options without a value, `valued` those with one. A `--` in the words is
    kept. So is an unknown option before the name, for the parser to report.
    """
    at, named = 0, False
    while at < len(words):
        word = words[at]
        long = word.startswith("--")
        if word == END:
            break
        if word in valued:
            at += 2
        elif (
            word in flags
            or (long and word.partition("=")[0] in valued)
            or (not long and word.startswith("-") and word[:2] in valued)
        ):
            at += 1
        elif named:
            return [*words[:at], END, *words[at:]]
        elif word.startswith("-"):
            break
        else:
            named = True
            at += 1
    return list(words)


class Verbatim(TyperCommand):
    """A command `VERB NAME [OPTIONS] [--] COMMAND...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with `--` inserted, except into a line that a shell completes."""
        if not ctx.resilient_parsing:
            args = separated(args, *options_of(self, ctx))
        return super().parse_args(ctx, args)


def options_of(command: TyperCommand, ctx: Any) -> tuple[set[str], set[str]]:
    """Return the options of a verb: without a value, and with one."""
    flags: set[str] = set()
    valued: set[str] = set()
    for each in command.get_params(ctx):
        if each.param_type_name == "option":
            (flags if _is_flag(each) else valued).update([*each.opts, *each.secondary_opts])
    return flags, valued


def _is_flag(option: Any) -> bool:
    return bool(option.is_flag or option.count)
