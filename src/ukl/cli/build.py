# SPDX-License-Identifier: GPL-2.0
"""`ukl build`: the bootable files, in a directory of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import DryRun, Jobs, Json, KernelSource, OutputDirectory, Target
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, print_steps, verb
from ukl.settings.setting import Verb
from ukl.settings.table import Said


@verb
@takes(Verb.BUILD)
def build(
    target: Target,
    said: Said,
    output: OutputDirectory = Path("out"),
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            metavar="COMMAND",
            help="The training run for --pgo: a shell command, run here; HOST, PORT and PORT_n "
            "say where the application is (default: the application runs until it ends).",
        ),
    ] = None,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Write the bootable files of TARGET into a directory.

    vmlinux, bzImage, initrd, System.map, cmdline and manifest.json; all of them or nothing.

    With --pgo FILE, where FILE is not there, kernel and application are built with counters first,
    and run: by --workload, or as they are. That is one more build of the kernel.
    """
    from ukl.flow import build as room  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415

    context = STATE.context(kernel_source, jobs)
    spec = manifest.specified(target, said)
    pgo: Path | None = said.get("pgo")
    if workload is not None and pgo is None:
        raise typer.BadParameter("is for --pgo", param_hint="--workload")
    if pgo is not None and not pgo.exists() and not dry_run:
        from ukl.flow import training  # noqa: PLC0415

        taken = training.train(spec, workload, pgo, context)
        STATE.progress.line(
            f"{pgo}: counts of {taken.kernel} files of the kernel, "
            f"{taken.application} of the application"
        )
    if dry_run:
        from ukl.flow import dry  # noqa: PLC0415

        return print_steps(dry.built(spec, context), as_json=as_json)
    built = room.into(spec, output, context, said.get("append", ()))
    if as_json:
        print_json(built)
    else:
        for name, size in built["files"].items():
            typer.echo(f"{output / name}  {size}")
    return 0
