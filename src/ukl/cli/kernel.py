# SPDX-License-Identifier: GPL-2.0
"""`ukl kernel`: the single steps of building and testing a kernel."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukl.cli import complete
from ukl.cli.arguments import (
    DryRun,
    Jobs,
    Json,
    KernelSource,
    OutputDirectory,
    Series,
    Target,
    filled,
)
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, print_steps, verb
from ukl.settings.setting import Verb
from ukl.settings.table import Overrides

if TYPE_CHECKING:
    from ukl.flow.kernel import Wanted
    from ukl.flow.trimming import Report

app = typer.Typer(
    help="Fetch, configure, build, trim, try or export the kernel.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Unpatched = Annotated[
    bool,
    typer.Option(
        "--unpatched",
        help="Without the patch series and its options; otherwise the same configuration.",
    ),
]


Newest = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        metavar="SERIES",
        help="The patch series, by its name, such as 7.3 (default: the newest).",
        autocompletion=complete.series,
    ),
]
OldSeries = Annotated[str | None, typer.Option("--series", metavar="SERIES", hidden=True)]
OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", parser=filled, help="Also write the options to a file."
    ),
]


class Removable(StrEnum):
    """The values of `--without`: kinds in trim/rules.py."""

    PROTECTION = "protection"
    DIAGNOSIS = "diagnosis"


def _wanted(overrides: Overrides, *, patched: bool) -> Wanted:
    from ukl.flow.kernel import Wanted  # noqa: PLC0415

    return Wanted(
        overrides.get("kernel_options", {}),
        overrides.get("profile", ""),
        patched,
        overrides.get("pgo"),
        overrides.get("kernel_version", ""),
    )


def _renamed(series: str | None, old: str | None) -> str | None:
    """Return the value of `--kernel`, or of its former name."""
    if old is not None:
        STATE.progress.line("--series is now called --kernel")
    return series or old


@app.command("fetch")
@verb
def fetch(series: Series = "", kernel_source: KernelSource = None, as_json: Json = False) -> None:
    """Fetch the kernel's source and print its directory."""
    from ukl.flow import kernel  # noqa: PLC0415

    found = kernel.fetched(STATE.context(kernel_source, series=series))
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found.directory}\nLinux {found.version}, from {found.origin}")


@app.command("config")
@verb
@takes(Verb.KERNEL)
def config(
    overrides: Overrides,
    kernel_source: KernelSource = None,
    unpatched: Unpatched = False,
    output: OutputDirectory = Path("out"),
    as_json: Json = False,
) -> None:
    """Write the kernel's .config into a directory, and check that it has all requested options."""
    from ukl.flow import kernel  # noqa: PLC0415

    wanted = _wanted(overrides, patched=not unpatched)
    file = kernel.config(output, wanted, STATE.context(kernel_source))
    if as_json:
        print_json({"files": [file]})
    else:
        typer.echo(str(file))


@app.command("build")
@verb
@takes(Verb.KERNEL)
def build(
    overrides: Overrides,
    kernel_source: KernelSource = None,
    unpatched: Unpatched = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Compile the kernel's objects into the cache, for linking with an application."""
    from ukl.flow import kernel  # noqa: PLC0415

    wanted = _wanted(overrides, patched=not unpatched)
    built = kernel.build(wanted, STATE.context(kernel_source, jobs))
    if as_json:
        print_json(built)
    else:
        typer.echo(f"{built.directory}\nLinux {built.version}")


@app.command("compare")
@verb
def compare(
    series: Series = "",
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> int:
    """Compare object code without CONFIG_UKL with that of the unpatched kernel.

    The exit status is 1 if there is a difference without a justification, or a justification
    without a difference.
    """
    from ukl.flow import kernel  # noqa: PLC0415

    found = kernel.compared(STATE.context(kernel_source, jobs, series))
    if as_json:
        print_json(found)
    else:
        for each in found.differences:
            typer.echo(f"{each.object}: {each.place}: {each.why or 'NOT JUSTIFIED'}")
        for text in found.stale:
            typer.echo(f"{text}: justified, but does not differ")
        typer.echo(f"{found.objects} objects compared, {len(found.differences)} places differ")
    return 0 if found.is_good else 1


@app.command("cost")
@verb
def cost(
    series: Series = "",
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> int:
    """Measure what CONFIG_UKL costs a normal process that calls getppid().

    The exit status is 1 if a call takes over 3 instructions more than on the unpatched kernel
    with the same configuration.
    """
    from ukl.flow import measuring  # noqa: PLC0415

    found = measuring.cost(STATE.context(kernel_source, jobs, series))
    more = found["process"] - found["unpatched"]
    is_good = more <= measuring.COST_LIMIT
    if as_json:
        print_json({**found, "limit": measuring.COST_LIMIT, "good": is_good})
    else:
        typer.echo(
            f"guest instructions of one getppid(): {found['unpatched']:.1f} on the unpatched "
            f"kernel, {found['process']:.1f} with CONFIG_UKL=y\n{more:+.1f}, of "
            f"{measuring.COST_LIMIT} allowed: {'good' if is_good else 'TOO MANY'}"
        )
    return 0 if is_good else 1


@app.command("each")
@verb
def each(
    series: Series = "",
    kernel_source: KernelSource = None,
    first: Annotated[
        int, typer.Option("--from", min=1, metavar="N", help="Begin with patch N.")
    ] = 1,
    last: Annotated[
        int | None,
        typer.Option("--to", min=1, metavar="N", help="End with patch N (default: the last)."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Build the whole kernel of an application, not only what the series changes.",
        ),
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Only compile the sources that the series changes; do not link."
        ),
    ] = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> int:
    """Build the kernel after each patch of the series, with CONFIG_UKL off and on.

    The exit status is 1 if a patch does not build, or adds a compiler warning.
    """
    from ukl.flow import kernel  # noqa: PLC0415

    context = STATE.context(kernel_source, jobs, series)
    found = kernel.each_patch(context, first=first, last=last, full=full, quick=quick)
    if as_json:
        print_json({"good": found.is_good, **asdict(found)})
    else:
        for line in found.lines():
            typer.echo(line)
    return 0 if found.is_good else 1


@app.command("try")
@verb
def attempt(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION|TARBALL|DIR|PACKAGE]",
            help="Any kernel: a version on kernel.org or a tarball, with #sha256=SUM if needed, a "
            "tree, or a package such as linux-source-6.1 (default: the newest package in the "
            "suites of Debian that the series names).",
            show_default=False,
        ),
    ] = None,
    series: Newest = None,
    old_series: OldSeries = None,
    as_json: Json = False,
) -> int:
    """Apply the patch series to another kernel, and show which patches and hunks fail.

    Nothing is built. The exit status is 1 if a patch does not apply unchanged.
    """
    from ukl.flow import kernel  # noqa: PLC0415

    found = kernel.tried(source, STATE.context(), _renamed(series, old_series))
    if as_json:
        print_json({"good": found.is_good, **asdict(found)})
    else:
        for line in found.text():
            typer.echo(line)
    return 0 if found.is_good else 1


@app.command("export")
@verb
def export(
    output: OutputDirectory = Path("patches"),
    series: Newest = None,
    old_series: OldSeries = None,
    as_json: Json = False,
) -> None:
    """Write the patch series as mails."""
    from ukl.flow import kernel  # noqa: PLC0415

    files = kernel.exported(output, _renamed(series, old_series))
    if as_json:
        print_json({"files": files})
        return
    for file in files:
        typer.echo(str(file))


@app.command("trim")
@verb
@takes(Verb.TRIM)
def trim(
    target: Target,
    overrides: Overrides,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            "-w",
            metavar="COMMAND",
            help="A host command that uses the running program; HOST and PORT are its address "
            "(default: the recipe's quick tests, or a run of the program without a command).",
        ),
    ] = None,
    builds: Annotated[
        int,
        typer.Option(
            "--builds", min=0, metavar="N", help="Build at most N kernels; 0: only propose."
        ),
    ] = 6,
    without: Annotated[
        list[Removable] | None,
        typer.Option("--without", help="Also propose these, where unused."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="OPTION", help="Keep this option (repeatable)."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="OPTION", help="Leave this option out (repeatable)."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=1, metavar="SECONDS", help="Limit for one run of the workload."
        ),
    ] = 600.0,
    output: OptionsFile = None,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Find a smaller kernel for TARGET, without the options that its workload does not use.

    The workload runs in a guest with tracing. Options whose code did not run are removed, and the
    workload runs again in the smaller kernel. The exit status is 1 if no smaller kernel was found.
    """
    from ukl.base.errors import InputError  # noqa: PLC0415
    from ukl.flow import dry, trimming  # noqa: PLC0415
    from ukl.flow.workload import Bench, chosen  # noqa: PLC0415
    from ukl.settings import manifest  # noqa: PLC0415
    from ukl.trim.decide import Wishes  # noqa: PLC0415
    from ukl.trim.rules import Kind  # noqa: PLC0415

    spec = manifest.specified(target, overrides)
    context = STATE.context(kernel_source, jobs)
    bench = Bench(context, timeout)
    work = chosen(spec, workload, bench)
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError("there is no such directory", where=output.parent)
    if dry_run:
        steps = dry.built(spec, context)
        return print_steps([*steps, *trimming.planned(work, builds)], as_json=as_json)
    wishes = Wishes(
        frozenset(Kind(each.value) for each in without or ()),
        frozenset(name.removeprefix("CONFIG_") for name in keep or ()),
        frozenset(name.removeprefix("CONFIG_") for name in drop or ()),
    )
    found = trimming.trim(spec, work, bench, builds=builds, wishes=wishes)
    if output is not None:
        output.write_text("".join(f"{line}\n" for line in trimming.manifest_block(found)))
    _print_trimmed(found, as_json=as_json)
    return 0 if found.proposal.gone and (found.proved or builds == 0) else 1


def _print_trimmed(found: Report, *, as_json: bool) -> None:
    from ukl.flow import trimming  # noqa: PLC0415 - not needed for --help

    if as_json:
        print_json(found)
        return
    for line in [*trimming.table(found), "", *trimming.manifest_block(found)]:
        typer.echo(line)
