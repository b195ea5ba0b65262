# SPDX-License-Identifier: GPL-2.0
"""`ukl perf`: where a guest's time goes, through kernel and application."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import Json
from ukl.cli.guests import Name, registry
from ukl.cli.state import STATE, print_json, verb

app = typer.Typer(
    help="Where a guest's time goes, through kernel and application.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Seconds = Annotated[
    float,
    typer.Option("--time", "-t", min=0.1, metavar="SECONDS", help="How long samples are taken."),
]
Frequency = Annotated[
    int,
    typer.Option("--frequency", "-F", min=1, max=4000, metavar="HZ", help="Samples in a second."),
]


@app.command()
@verb
def record(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: NAME.folded."),
    ] = None,
    seconds: Seconds = 10.0,
    frequency: Frequency = 99,
    as_json: Json = False,
) -> int:
    """Take samples of a running guest, and write its stacks into a file, folded.

    A line for each stack: functions from the outermost on, joined by semicolons, and how often it
    was seen. `ukl perf flamegraph` and other tools read it. Ctrl-C ends it early.
    """
    from ukl.debug import samples  # noqa: PLC0415
    from ukl.observe import perf  # noqa: PLC0415 - not needed for --help

    taken = perf.take(registry(), name, STATE.store, seconds, frequency)
    path = output or Path(f"{name}.folded")
    path.write_text(samples.render(taken.stacks))
    if as_json:
        print_json({"file": path, "samples": taken.samples, "lost": taken.lost})
    else:
        typer.echo(f"{path}: {taken.samples} samples, {len(taken.stacks)} stacks")
    return 0


@app.command()
@verb
def top(
    name: Name,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, metavar="N", help="Functions shown.")
    ] = 30,
    seconds: Seconds = 5.0,
    frequency: Frequency = 99,
    as_json: Json = False,
) -> int:
    """Take samples of a running guest, and print the functions by their share.

    SELF counts samples in a function itself, TOTAL also those in what it has called; k stands for
    the kernel's functions, a for the application's.
    """
    from ukl.debug import samples  # noqa: PLC0415
    from ukl.observe import perf  # noqa: PLC0415

    taken = perf.take(registry(), name, STATE.store, seconds, frequency)
    if as_json:
        shares = samples.shares(taken.stacks)[:count]
        print_json({"samples": taken.samples, "lost": taken.lost, "functions": shares})
    else:
        typer.echo("\n".join(perf.table(taken, count)))
    return 0


@app.command()
@verb
def flamegraph(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A running guest, or a file of `ukl perf record`.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: NAME.svg.")
    ] = None,
    seconds: Seconds = 10.0,
    frequency: Frequency = 99,
    as_json: Json = False,
) -> int:
    """Draw a flame graph of a running guest, or of stacks that were recorded, as SVG."""
    from ukl.base.errors import InputError  # noqa: PLC0415
    from ukl.debug import flames, samples  # noqa: PLC0415
    from ukl.observe import perf  # noqa: PLC0415

    file = Path(source)
    if file.is_file():
        title = file.stem
        try:
            stacks = samples.read(file.read_text())
        except ValueError as error:
            raise InputError(
                f"{error}", where=file, remedy="name a file of `ukl perf record`"
            ) from error
    else:
        title = source
        stacks = perf.take(registry(), source, STATE.store, seconds, frequency).stacks
    path = output or Path(f"{title}.svg")
    count = sum(stacks.values())
    path.write_text(flames.svg(stacks, f"{title}: {count} samples"))
    if as_json:
        print_json({"file": path, "samples": count})
    else:
        typer.echo(f"{path}: {count} samples")
    return 0
