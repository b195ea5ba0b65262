# SPDX-License-Identifier: GPL-2.0
"""`ukl snapshot`: writes a running guest into a file, of which `ukl run --from` starts copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import Json, filled
from ukl.cli.guests import Name, registry
from ukl.cli.state import print_json, verb

PATIENCE = 3600.0
"""Seconds that the keeper may take: it writes the whole memory and all disks."""


@verb
def snapshot(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=filled,
            help="The file (default: NAME.snapshot); one that exists is replaced.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Write a running guest into a file: its memory, its disks, its state.

    The guest pauses while its memory is written, and goes on. `ukl run --from FILE` starts copies
    of it. A snapshot belongs to the version of QEMU and the processor with which it was taken.
    """
    from ukl.vm import control  # noqa: PLC0415 - not needed for --help

    guests = registry()
    record = guests.get(name)
    file = (output or Path(f"{name}.snapshot")).absolute()
    control.request(
        record, guests.place(name), PATIENCE, request="snapshot", file=str(file)
    ).close()
    if as_json:
        status = file.stat()
        print_json({"file": file, "bytes": 512 * status.st_blocks})
    else:
        typer.echo(output or file.name)
    return 0
