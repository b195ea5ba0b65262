# SPDX-License-Identifier: GPL-2.0
"""`ukl package`: builds an image that boots on other machines and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import Jobs, Json, KernelSource, Rootfs, RunTarget, filled
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, verb
from ukl.package.formats import Format
from ukl.settings.setting import Verb
from ukl.settings.table import Overrides


@verb
@takes(Verb.PACKAGE)
def package(
    overrides: Overrides,
    target: RunTarget = "",
    rootfs: Rootfs = None,
    kind: Annotated[
        Format, typer.Option("--format", help="Format of the image: see the reference.")
    ] = Format.OCI,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", parser=filled, help="A new directory."),
    ] = Path("package"),
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME[:TAG]",
            help="Name of the image in a registry (default: NAME:latest).",
        ),
    ] = None,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> int:
    """Build TARGET into an image that boots elsewhere.

    `oci`: an OCI image with kernel and initrd, and a virtual machine for KubeVirt; `raw`,
    `qcow2`: a disk that boots with BIOS and UEFI; `efi`: one file that UEFI starts;
    `firecracker`, `cloud-hypervisor`: kernel, initrd and configuration for these. The output
    includes a bill of materials (SPDX) and a licence report. It is reproducible.
    """
    from ukl.package import build as package_build  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415

    if reference is not None and kind is not Format.OCI:
        raise typer.BadParameter(f"requires --format oci, not {kind}", param_hint="--reference")
    if not target and not rootfs:
        raise typer.BadParameter("missing", param_hint="TARGET")
    spec = manifest.runnable(target, overrides, rootfs or "")
    name = reference or f"{spec.name}:latest"
    tail = name.rpartition("/")[2]
    tag = tail.partition(":")[2] or "latest"
    wanted = package_build.Wanted(target, spec, tag, name, kind)
    context = STATE.context(kernel_source, jobs)
    made = package_build.build(wanted, output, context, overrides.get("append", ()))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made['image']}  {made['digest']}")
        for file in made["files"]:
            typer.echo(str(file))
    return 0
