# SPDX-License-Identifier: GPL-2.0
"""`ukl perf`: profiles kernel and application of a guest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import Json, filled
from ukl.cli.guests import Name, registry
from ukl.cli.state import STATE, print_json, verb

app = typer.Typer(
    help="Profile kernel and application of a guest.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Seconds = Annotated[
    float,
    typer.Option("--time", "-t", min=0.1, metavar="SECONDS", help="Duration of sampling."),
]
Frequency = Annotated[
    int,
    typer.Option("--frequency", "-F", min=1, max=4000, metavar="HZ", help="Samples per second."),
]


@app.command()
@verb
def record(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=filled, help="Default: NAME.folded."),
    ] = None,
    seconds: Seconds = 10.0,
    frequency: Frequency = 99,
    as_json: Json = False,
) -> int:
    """Sample a running guest, and write its folded stacks to a file.

    A line has a stack (functions from the outermost on, joined by semicolons) and its number of
    samples. `ukl perf flamegraph` and other tools read this format. Ctrl-C ends sampling early.
    """
    from ukl.debug import samples  # noqa: PLC0415
    from ukl.observe import perf  # noqa: PLC0415 - not needed for --help

    profile = perf.record(registry(), name, STATE.store, seconds, frequency)
    path = output or Path(f"{name}.folded")
    path.write_text(samples.render(profile.stacks))
    if as_json:
        print_json({"file": path, "samples": profile.samples, "lost": profile.lost})
    else:
        typer.echo(f"{path}: {profile.samples} samples, {len(profile.stacks)} stacks")
    return 0


@app.command()
@verb
def top(
    name: Name,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, metavar="N", help="Number of functions to show.")
    ] = 30,
    seconds: Seconds = 5.0,
    frequency: Frequency = 99,
    as_json: Json = False,
) -> int:
    """Sample a running guest, and print its functions, sorted by their share of samples.

    SELF counts samples in a function itself, TOTAL also those in functions that it called. k marks
    functions of the kernel, a those of the application.
    """
    from ukl.debug import samples  # noqa: PLC0415
    from ukl.observe import perf  # noqa: PLC0415

    profile = perf.record(registry(), name, STATE.store, seconds, frequency)
    if as_json:
        shares = samples.shares(profile.stacks)[:count]
        print_json({"samples": profile.samples, "lost": profile.lost, "functions": shares})
    else:
        typer.echo("\n".join(perf.table(profile, count)))
    return 0


@app.command()
@verb
def flamegraph(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A running guest, or a file written by `ukl perf record`.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", parser=filled, help="Default: NAME.svg."),
    ] = None,
    seconds: Seconds = 10.0,
    frequency: Frequency = 99,
    as_json: Json = False,
) -> int:
    """Draw a flame graph of a running guest, or of recorded stacks, as SVG."""
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
                f"{error}", where=file, remedy="name a file that `ukl perf record` wrote"
            ) from error
    else:
        title = source
        stacks = perf.record(registry(), source, STATE.store, seconds, frequency).stacks
    path = output or Path(f"{title}.svg")
    count = sum(stacks.values())
    path.write_text(flames.svg(stacks, f"{title}: {count} samples"))
    if as_json:
        print_json({"file": path, "samples": count})
    else:
        typer.echo(f"{path}: {count} samples")
    return 0
