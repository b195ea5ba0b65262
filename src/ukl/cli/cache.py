# SPDX-License-Identifier: GPL-2.0
"""`ukl cache`: shows and empties the cache."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from ukl.cli.arguments import Json, parsed
from ukl.cli.state import STATE, print_json, verb

app = typer.Typer(help="Show or empty the cache.", no_args_is_help=True, rich_markup_mode=None)

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_age(text: str) -> float:
    """Return the seconds of an age like `90m`, `12h` or `7d`; else ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not an age; write it like 12h or 7d")
    return float(match[1]) * _UNITS[match[2]]


@app.command("info")
@verb
def info(as_json: Json = False) -> None:
    """List the entries of the cache: kind, key, size, age."""
    from ukl.base.progress import duration  # noqa: PLC0415
    from ukl.host.store import human_size  # noqa: PLC0415

    store = STATE.store
    entries = store.info()
    if as_json:
        print_json({"root": store.root, "entries": entries})
        return
    typer.echo(f"{store.root}: {human_size(sum(entry.size for entry in entries))}")
    for entry in entries:
        typer.echo(
            f"{entry.kind:<10} {entry.key[:12]}  {human_size(entry.size):>9}  "
            f"{duration(entry.age):>7} old"
        )


@app.command("clean")
@verb
def clean(
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="Only entries of this kind.")
    ] = None,
    older: Annotated[
        str | None, typer.Option("--older", metavar="AGE", help="Only older entries, like 7d.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete the entries that no running ukl uses."""
    from ukl.host.store import human_size  # noqa: PLC0415

    age = parsed(parse_age, older, "--older") if older else None
    store = STATE.store
    deleted = store.clean(kind, age)
    left = store.count()
    if as_json:
        print_json({"deleted": deleted, "left": left})
        return
    typer.echo(
        f"deleted {len(deleted)} entries, {human_size(sum(entry.size for entry in deleted))}"
        + (f"; {left} kept" if left else "")
    )
