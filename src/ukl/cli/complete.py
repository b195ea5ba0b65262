# SPDX-License-Identifier: GPL-2.0
"""Completes names of guests, examples and rules for a shell. Errors give no completions.

If a completer returns nothing, the shell completes file names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ukl.vm.registry import Record

VARIABLE = "_UKL_COMPLETE"
"""The shell's completion function sets it; the launcher `./ukl` also checks it."""

Found = list[tuple[str, str]]
"""Words, each with a short explanation for the shells that show one."""


def is_asked(environment: Iterable[str]) -> bool:
    """Return whether a shell requests completions. Pure."""
    return VARIABLE in environment


def chosen(words: Iterable[tuple[str, str]], incomplete: str) -> Found:
    """Return the words that begin with `incomplete`. Pure."""
    return [(word, text) for word, text in words if word.startswith(incomplete)]


def _guests(ctx: typer.Context, wanted: Callable[[Record], bool]) -> Iterator[tuple[str, str]]:
    from ukl.host.store import Store  # noqa: PLC0415 - fast start
    from ukl.vm import registry  # noqa: PLC0415

    given = ctx.find_root().params.get("cache_dir")
    store = Store.default(Path(given) if given else None)
    for record in registry.of(store).all():
        if wanted(record):
            yield record.name, f"{record.application}, {registry.effective(record).value}"


def _is_alive(record: Record) -> bool:
    from ukl.vm import registry  # noqa: PLC0415

    return registry.effective(record) in registry.ALIVE


def running_guests(ctx: typer.Context, incomplete: str) -> Found:
    """Return the running guests."""
    with contextlib.suppress(Exception):
        return chosen(_guests(ctx, _is_alive), incomplete)
    return []


def all_guests(ctx: typer.Context, incomplete: str) -> Found:
    """Return all guests, including those that have ended."""
    with contextlib.suppress(Exception):
        return chosen(_guests(ctx, lambda record: True), incomplete)
    return []


def series(incomplete: str) -> Found:
    """Return the kernels, by the names of their patch series."""
    from ukl.kernel import versions  # noqa: PLC0415

    with contextlib.suppress(Exception):
        return chosen({base.name: base.range() for base in versions.bases()}.items(), incomplete)
    return []


def crashed(ctx: typer.Context, incomplete: str) -> Found:
    """Return the guests with crash reports."""
    from ukl.host.store import Store  # noqa: PLC0415
    from ukl.observe import crashes  # noqa: PLC0415

    with contextlib.suppress(Exception):
        given = ctx.find_root().params.get("cache_dir")
        known = crashes.everything(Store.default(Path(given) if given else None))
        return chosen({each.report.guest: each.report.reason for each in known}.items(), incomplete)
    return []


def debuggable(ctx: typer.Context, incomplete: str) -> Found:
    """Return the running guests, or with --dump the crashed ones."""
    return (crashed if ctx.params.get("dump") else running_guests)(ctx, incomplete)


def guest_paths(ctx: typer.Context, incomplete: str) -> Found:
    """Return `NAME:` for each running guest; paths in the guest are not completed."""
    return [(f"{name}:", text) for name, text in running_guests(ctx, incomplete)]


def targets(incomplete: str) -> Found:
    """Return the examples; the shell completes paths."""
    from ukl.settings import manifest  # noqa: PLC0415

    with contextlib.suppress(Exception):
        return chosen(((name, "example") for name in manifest.example_names()), incomplete)
    return []


def profiles(incomplete: str) -> Found:
    """Return the kernel profiles."""
    from ukl.kernel import PROFILES  # noqa: PLC0415

    return chosen(((name, "kernel profile") for name in PROFILES), incomplete)


def rules(incomplete: str) -> Found:
    """Return the rules of `ukl check`."""
    from ukl.check.rules import RULES  # noqa: PLC0415

    return chosen(((name, rule.severity.value) for name, rule in RULES.items()), incomplete)
