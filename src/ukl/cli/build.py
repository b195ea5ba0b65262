# SPDX-License-Identifier: GPL-2.0
"""`ukl build`: writes the bootable files into a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import DryRun, Jobs, Json, KernelSource, OutputDirectory, Target
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, print_steps, verb
from ukl.settings.setting import Verb
from ukl.settings.table import Overrides


@verb
@takes(Verb.BUILD)
def build(
    target: Target,
    overrides: Overrides,
    output: OutputDirectory = Path("out"),
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            metavar="COMMAND",
            help="The training run for --pgo: a shell command on the host; HOST, PORT and PORT_n "
            "are the application's address (default: the application runs until it ends).",
        ),
    ] = None,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Write the bootable files of TARGET into a directory.

    The files are vmlinux, bzImage, initrd, System.map, cmdline and manifest.json; all of them are
    written, or none.

    With --pgo FILE, if FILE does not exist, kernel and application are first built with counters,
    and run with --workload, or without it until the application ends. This builds the kernel once
    more.
    """
    from ukl.flow import build as flow_build  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415

    context = STATE.context(kernel_source, jobs)
    spec = manifest.specified(target, overrides)
    pgo: Path | None = overrides.get("pgo")
    if workload is not None and pgo is None:
        raise typer.BadParameter("requires --pgo", param_hint="--workload")
    if pgo is not None and not pgo.exists() and not dry_run:
        from ukl.flow import training  # noqa: PLC0415

        result = training.train(spec, workload, pgo, context)
        STATE.progress.line(
            f"{pgo}: counts of {result.kernel} files of the kernel, "
            f"{result.application} of the application"
        )
    if dry_run:
        from ukl.flow import dry  # noqa: PLC0415

        return print_steps(dry.built(spec, context), as_json=as_json)
    built = flow_build.into(spec, output, context, overrides.get("append", ()))
    if as_json:
        print_json(built)
    else:
        for name, size in built["files"].items():
            typer.echo(f"{output / name}  {size}")
    return 0
