# SPDX-License-Identifier: GPL-2.0
"""`ukl bench`: takes measurements and compares them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ukl.base.errors import UsageError
from ukl.bench.samples import Meter, Report
from ukl.bench.suites import SUITES, Suite
from ukl.cli.arguments import Jobs, Json, KernelSource, OutputDirectory, filled
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, verb
from ukl.settings.setting import Verb
from ukl.settings.table import Overrides

app = typer.Typer(help="Run benchmarks.", no_args_is_help=True, rich_markup_mode=None)

Meters = Annotated[
    list[Meter] | None,
    typer.Option("--meter", help="What to measure (repeatable; default: all meters of the suite)."),
]
Variants = Annotated[
    list[str] | None,
    typer.Option("--variant", metavar="NAME", help="Only this one (repeatable; default: all)."),
]
Rounds = Annotated[
    int | None,
    typer.Option("--rounds", min=1, metavar="N", help="Boots of each variant (default: 2 or 5)."),
]
Functions = Annotated[
    bool,
    typer.Option(
        "--profile-functions",
        help="With the meter `exits`: also the instructions of each function, as a table and as "
        "flame graphs in a directory beside the samples.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        parser=filled,
        help="File for the samples (default: in the cache).",
    ),
]
Samples = Annotated[Path, typer.Argument(metavar="FILE", parser=filled, help="A file of samples.")]


@app.callback()
def group() -> None:
    """Benchmark unpatched Linux, a normal process on the UKL kernel, and unikernel variants."""


def _file(suites: Sequence[Suite]) -> Path:
    """Return the default file for samples."""
    name = suites[0].name if len(suites) == 1 else "all"
    directory = STATE.store.own("bench")
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}.json"


def _verb(suites: Sequence[Suite]) -> Callable[..., None]:
    @verb
    @takes(Verb.BENCH)
    def measure(
        overrides: Overrides,
        meters: Meters = None,
        variants: Variants = None,
        rounds: Rounds = None,
        kernel_source: KernelSource = None,
        output: Output = None,
        jobs: Jobs = None,
        profile_functions: Functions = False,
        as_json: Json = False,
    ) -> None:
        from ukl.bench import samples, table  # noqa: PLC0415
        from ukl.bench.variants import chosen  # noqa: PLC0415
        from ukl.flow import measuring  # noqa: PLC0415 - not needed for --help

        wanted = measuring.Wanted(
            variants=chosen(variants or (), pgo="pgo" in overrides),
            meters=tuple(meters or Meter),
            rounds=rounds,
            overrides=overrides,
            functions=profile_functions,
        )
        if profile_functions:
            _check_counted(suites, wanted.meters)
        report = measuring.measure(suites, wanted, STATE.context(kernel_source, jobs))
        file = output or _file(suites)
        file.write_text(samples.dump(report))
        graphs = _flame_graphs(report, file.with_name(f"{file.stem}-functions"))
        if as_json:
            typer.echo(samples.dump(report), nl=False)
            return
        for line in [*table.tables(report), *table.profiles(report)]:
            typer.echo(line)
        typer.echo(f"  samples: {file}")
        if graphs is not None:
            typer.echo(f"  flame graphs: {graphs}")

    return measure


def _check_counted(suites: Sequence[Suite], meters: Sequence[Meter]) -> None:
    """Raise UsageError if nothing is counted that --profile-functions can be of."""
    if Meter.EXITS not in meters or not any(Meter.EXITS in each.meters for each in suites):
        raise UsageError(
            "--profile-functions is for servers, and for the meter `exits`",
            remedy="for example: ukl bench redis --meter exits --profile-functions",
        )


def _flame_graphs(report: Report, directory: Path) -> Path | None:
    """Write the flame graphs of a report; return their directory, None if it has no profiles."""
    from ukl.bench import functions  # noqa: PLC0415
    from ukl.debug import flames  # noqa: PLC0415

    if not report.functions:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    for key, profile in report.functions.items():
        title = f"{key.suite}, {key.row}: {key.variant}, instructions per request"
        name = functions.file_name(key.suite, key.row, key.variant)
        picture = flames.svg(functions.stacks(profile), title, "instructions")
        (directory / name).write_text(picture)
    return directory


for _suite in SUITES:
    app.command(_suite.name, help=_suite.help)(_verb([_suite]))
app.command("all", help="Run all suites, and write one file.")(_verb(SUITES))


@app.command("compare")
@verb
def compare(
    before: Samples,
    after: Samples,
    limit: Annotated[
        float,
        typer.Option(
            "--limit", min=0, metavar="PERCENT", help="Ignore smaller differences of time."
        ),
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Show which figures of two files of samples differ, and which differences are significant."""
    from ukl.bench import environment, samples, stats, table  # noqa: PLC0415

    first, second = samples.load(before), samples.load(after)
    found = stats.compare(first, second, limit / 100)
    differing = environment.differing(first.environment, second.environment)
    if as_json:
        print_json({"changes": found, "environment": differing})
        return
    for line in table.changes(found, differing):
        typer.echo(line)


@app.command("report")
@verb
def report(
    file: Samples,
    output: OutputDirectory = Path("report"),
) -> None:
    """Print a file of samples as tables, and plot it as SVG and PNG."""
    from ukl.bench import plots, samples, table  # noqa: PLC0415

    found = samples.load(file)
    output.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(found, output)
    for line in [*table.tables(found), *table.percentiles(found), *table.profiles(found), ""]:
        typer.echo(line)
    for plot in drawn:
        typer.echo(f"  {output / plot.name}.svg, .png")
