# SPDX-License-Identifier: GPL-2.0
"""`ukl build`: the bootable files, in a directory of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import (
    Counts,
    DryRun,
    Jobs,
    Json,
    KernelSource,
    LevelOption,
    Lto,
    OutputDirectory,
    Profile,
    Target,
    With,
)
from ukl.cli.state import STATE, print_json, print_steps, verb


@verb
def build(
    target: Target,
    output: OutputDirectory = Path("out"),
    others: With = None,
    kernel_source: KernelSource = None,
    profile: Profile = None,
    level: LevelOption = None,
    lto: Lto = None,
    pgo: Counts = None,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            metavar="COMMAND",
            help="What the application is trained by for --pgo: a command of the shell, run here; "
            "HOST, PORT and PORT_n say where it is (default: it runs until it ends).",
        ),
    ] = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Write the bootable files of TARGET into a directory.

    vmlinux, bzImage, initrd, System.map and manifest.json; all of them or nothing.

    With --pgo FILE, where FILE is not there, kernel and application are built with counters first,
    and run: by --workload, or as they are. That is one more build of the kernel.
    """
    from ukl.flow import pipeline  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415 - not needed for --help

    overrides = pipeline.Overrides(profile=profile, level=level, lto=lto, counts=pgo)
    spec = pipeline.overridden(manifest.resolve_all(target, others or ()), overrides)
    if workload is not None and pgo is None:
        raise typer.BadParameter("is for --pgo", param_hint="--workload")
    if pgo is not None and not pgo.exists() and not dry_run:
        from ukl.flow import training  # noqa: PLC0415

        taken = training.train(
            spec, workload, pgo, STATE.store, STATE.progress, kernel_source=kernel_source, jobs=jobs
        )
        STATE.progress.line(
            f"{pgo}: counts of {taken.kernel} files of the kernel, "
            f"{taken.application} of the application"
        )
    if dry_run:
        from ukl.flow import dry  # noqa: PLC0415

        steps = dry.built(spec, STATE.store, kernel_source=kernel_source, jobs=jobs)
        return print_steps(steps, as_json=as_json)
    built = pipeline.build_into(
        spec, output, STATE.store, STATE.progress, kernel_source=kernel_source, jobs=jobs
    )
    if as_json:
        print_json(built)
    else:
        for name, size in built["files"].items():
            typer.echo(f"{output / name}  {size}")
    return 0
