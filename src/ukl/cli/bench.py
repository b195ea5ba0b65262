# SPDX-License-Identifier: GPL-2.0
"""`ukl bench`: measurements."""

from __future__ import annotations

import typer

from ukl.cli.arguments import Json, KernelSource
from ukl.cli.state import STATE, print_json, verb

app = typer.Typer(help="Measure.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Measure."""


@app.command("syscalls")
@verb
def syscalls(kernel_source: KernelSource = None, as_json: Json = False) -> None:
    """Count the guest instructions of getppid: by call, by syscall in ring 0, from a process."""
    from ukl import running  # noqa: PLC0415

    rows = running.bench_syscalls(STATE.store, STATE.progress, kernel_source=kernel_source)
    if as_json:
        print_json(rows)
        return
    typer.echo("guest instructions per getppid()")
    for row in rows:
        typer.echo(f"  {row.name:<32} {row.instructions:>8.1f}")
