# SPDX-License-Identifier: GPL-2.0
"""Guests whose root file system is a container image, or a directory of files."""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import replace
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Disk, Mode
from ukl.container import root as roots
from ukl.container import starting
from ukl.container.tree import Inode
from ukl.flow.context import Context
from ukl.guest.mounts import ROOT
from ukl.host import packages
from ukl.host.store import human_size
from ukl.image import cpio

ROOM = 64 << 20
"""Bytes of memory that a guest needs beside the files of its root."""

ARCHIVE_LEVEL = 6
"""gzip's: unlike an initrd for one run, a packaged one is stored and copied."""


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
    if spec.workdir:
        root = _in_directory(root, spec.workdir)
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


def archive(spec: AppSpec, context: Context) -> bytes:
    """Return the root file system as a part of an initrd, compressed; guest/root.c mounts it.

    That takes more memory than a disk, but is part of all that boots a kernel. Raises InputError
    if it does not fit into the guest's memory.
    """
    assert spec.root is not None
    name = Path(spec.root.name).name
    with (
        tempfile.TemporaryDirectory(prefix="ukl-root-") as scratch,
        context.progress.stage(f"archive {name}") as stage,
        roots.tree(spec.root, Path(scratch), stage) as tree,
    ):
        files = dict(sorted(tree.walk(), key=lambda item: cpio.order(item[0])))
        size = sum(inode.size for inode in set(files.values()))
        if size > (spec.memory - ROOM) // 2:
            raise InputError(
                f"the files of the image take {size >> 20} MiB, too much for "
                f"{spec.memory >> 20} MiB of memory: half of it at most, after {ROOM >> 20} MiB",
                where=spec.root.text,
                remedy=f"give it {(2 * size + 2 * ROOM) >> 20}M or more with -m",
            )
        if lost := [path for path, inode in files.items() if inode.xattrs]:
            context.progress.line(f"  {spec.name}: an initrd has no attributes: {lost[0]}, ...")
        first: dict[Inode, str] = {}
        entries = {ROOT: cpio.directory()}
        for path, inode in files.items():
            entries[f"{ROOT}{path}"] = _entry(inode, first.get(inode, ""))
            first.setdefault(inode, f"{ROOT}{path}")
        data = gzip.compress(cpio.archive(entries), ARCHIVE_LEVEL, mtime=0)
        stage.result(human_size(len(data)))
        return data


def _entry(inode: Inode, first: str) -> cpio.Entry:
    """Return the member of a file, which may have a `first` name already."""
    entry = cpio.Entry(
        inode.mode, rdev=inode.device, uid=inode.uid, gid=inode.gid, mtime=max(0, inode.mtime)
    )
    if inode.is_link:
        return replace(entry, data=inode.target.encode("utf-8", "surrogateescape"))
    if first and inode.is_file:
        return replace(entry, same_as=first)
    if inode.content is None:
        return entry
    with inode.content() as content:
        return replace(entry, data=content.read())


def _in_directory(root: starting.Root, path: str) -> starting.Root:
    """Return the root with another working directory. Raises InputError if it is none."""
    found = root.tree.find(path)
    if found is None or not found[1].is_directory:
        raise InputError(
            f"there is no such directory in the root file system: {path}",
            where=root.where,
            remedy="name another one with --workdir, or add it to the image",
        )
    return replace(root, config=replace(root.config, directory=path))
