# SPDX-License-Identifier: GPL-2.0
"""What a shell completes: names of guests, of examples, of rules. Whatever goes wrong, nothing.

A completer that returns nothing leaves the word to the shell, which completes files.
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
"""Set by the shell's function when it asks; also known to the launcher."""

Found = list[tuple[str, str]]
"""Words, each with a word of explanation for the shells that show one."""


def is_asked(environment: Iterable[str]) -> bool:
    """Tell whether a shell asks for completions, and not a person for something. Pure."""
    return VARIABLE in environment


def chosen(words: Iterable[tuple[str, str]], incomplete: str) -> Found:
    """Return the words that begin as the incomplete one does. Pure."""
    return [(word, text) for word, text in words if word.startswith(incomplete)]


def _guests(ctx: typer.Context, wanted: Callable[[Record], bool]) -> Iterator[tuple[str, str]]:
    from ukl.host.store import Store  # noqa: PLC0415 - completion starts a process per key
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
    """Return the guests that run."""
    with contextlib.suppress(Exception):
        return chosen(_guests(ctx, _is_alive), incomplete)
    return []


def all_guests(ctx: typer.Context, incomplete: str) -> Found:
    """Return all guests, those that have ended too."""
    with contextlib.suppress(Exception):
        return chosen(_guests(ctx, lambda record: True), incomplete)
    return []


def crashed(ctx: typer.Context, incomplete: str) -> Found:
    """Return the guests of which a crash is known."""
    from ukl.host.store import Store  # noqa: PLC0415
    from ukl.observe import crashes  # noqa: PLC0415

    with contextlib.suppress(Exception):
        given = ctx.find_root().params.get("cache_dir")
        known = crashes.everything(Store.default(Path(given) if given else None))
        return chosen({each.report.guest: each.report.reason for each in known}.items(), incomplete)
    return []


def debuggable(ctx: typer.Context, incomplete: str) -> Found:
    """Return the guests that run, or with --dump those that have crashed."""
    return (crashed if ctx.params.get("dump") else running_guests)(ctx, incomplete)


def guest_paths(ctx: typer.Context, incomplete: str) -> Found:
    """Return `NAME:` of the guests that run; the path behind it is the guest's."""
    return [(f"{name}:", text) for name, text in running_guests(ctx, incomplete)]


def targets(incomplete: str) -> Found:
    """Return the examples; paths are the shell's to complete."""
    from ukl.settings import manifest  # noqa: PLC0415

    with contextlib.suppress(Exception):
        return chosen(((name, "example") for name in manifest.example_names()), incomplete)
    return []


def profiles(incomplete: str) -> Found:
    """Return the profiles of the kernel's configuration."""
    from ukl.kernel import PROFILES  # noqa: PLC0415

    return chosen(((name, "kernel profile") for name in PROFILES), incomplete)


def rules(incomplete: str) -> Found:
    """Return the rules of `ukl check`."""
    from ukl.check.rules import RULES  # noqa: PLC0415

    return chosen(((name, rule.severity.value) for name, rule in RULES.items()), incomplete)
