# SPDX-License-Identifier: GPL-2.0
"""Guests whose root file system is a container image, or a directory of files."""

from __future__ import annotations

from dataclasses import replace

from ukl.base.model import AppSpec, Disk, Mode
from ukl.container import root as roots
from ukl.container import starting
from ukl.flow.context import Context
from ukl.host import packages


def described(spec: AppSpec, context: Context) -> AppSpec:
    """Return `spec` with what its image says about the guest; others stay as they are.

    The ports that the image exposes are forwarded unless others are given. Fetches an image that
    is in a registry. Raises InputError for an image that cannot be read.
    """
    if spec.root is None:
        return spec
    source = roots.local(spec.root, context.store, context.progress)
    found = roots.config(source)
    kept = {volume.target for volume in spec.volumes} | {disk.target for disk in spec.disks}
    for path in found.volumes:
        if path not in kept:
            context.progress.line(
                f"  {spec.name}: {path} is lost at the end; keep it with -v DIR:{path} or --disk"
            )
    return replace(spec, root=source, ports=spec.ports or found.ports)


def prepared(spec: AppSpec, context: Context, mode: Mode) -> AppSpec:
    """Return `spec` with its root file system as a disk, and the program that is started.

    Raises InputError for an image that is damaged, and for a program that cannot be started.
    """
    assert spec.root is not None
    packages.require("sqfstar")
    source = roots.local(spec.root, context.store, context.progress)
    image, root = roots.made(source, context.store, context.progress)
    wanted = starting.Wanted(spec.args, spec.env, spec.ring0, process=mode is Mode.PROCESS)
    start = starting.start(root, wanted)
    program = start.program or starting.executed(root, start.path)[0]
    real = root.tree.find(program)
    assert real is not None
    return replace(
        spec,
        root=source,
        start=start,
        executable=program,
        program=roots.extracted(image, real[0], context.store),
        disks=(Disk(image, "/"), *spec.disks),
    )
