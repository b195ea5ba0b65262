# SPDX-License-Identifier: GPL-2.0
"""`ukl package`: an image for machines and clusters of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import Jobs, Json, KernelSource, Target
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, verb
from ukl.package.formats import Format
from ukl.settings.setting import Verb
from ukl.settings.table import Said


@verb
@takes(Verb.PACKAGE)
def package(
    target: Target,
    said: Said,
    kind: Annotated[
        Format, typer.Option("--format", help="What the image is: see the reference.")
    ] = Format.OCI,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="A new directory.")
    ] = Path("package"),
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME[:TAG]",
            help="What the image will be called in its registry (default: NAME:latest).",
        ),
    ] = None,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> int:
    """Build TARGET into an image that boots elsewhere.

    `oci`: an OCI image with kernel and initrd, and a machine for KubeVirt; `raw`, `qcow2`: a
    disk that boots by BIOS and by UEFI; `efi`: one file that UEFI starts; `firecracker`,
    `cloud-hypervisor`: kernel, initrd and configuration for these. With a bill of materials
    (SPDX) and a licence report. The same inputs give the same bytes.
    """
    from ukl.package import build as room  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415

    if reference is not None and kind is not Format.OCI:
        raise typer.BadParameter(
            f"only an OCI image has one, and --format is {kind}", param_hint="--reference"
        )
    spec = manifest.specified(target, said)
    name = reference or f"{spec.name}:latest"
    tail = name.rpartition("/")[2]
    wanted = room.Wanted(target, spec, tail.partition(":")[2] or "latest", name, kind)
    made = room.build(wanted, output, STATE.context(kernel_source, jobs), said.get("append", ()))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made['image']}  {made['digest']}")
        for file in made["files"]:
            typer.echo(str(file))
    return 0
