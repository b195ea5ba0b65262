# SPDX-License-Identifier: GPL-2.0
"""Root file systems on the command line: container images, directories and archives of files."""

from __future__ import annotations

import os
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import AppSpec
from ukl.base.root import RootKind, RootSource
from ukl.settings.table import Overrides
from ukl.settings.values import expanded, name_of

_NO_USE = {
    "with_": "--with",
    "lto": "--lto",
    "populate": "--populate",
    "files": "--with-file",
}

_IMAGES = (RootKind.OCI, RootKind.DOCKER_ARCHIVE, RootKind.REGISTRY)


def image(target: str, directory: Path | None = None) -> AppSpec | None:
    """Return the specification of a target such as `oci:DIR:TAG`; None if it is no image.

    Paths are relative to `directory` (None: the current one).
    `docker-archive:FILE[:NAME:TAG]` is what `docker save` wrote, `docker://NAME` is in a registry.
    """
    kind, colon, rest = target.partition(":")
    if not colon or kind not in _IMAGES:
        return None
    if kind == RootKind.REGISTRY:
        if not rest.startswith("//") or not rest.strip("/"):
            raise _wrong(target)
        last = rest.rpartition("/")[2].partition("@")[0].partition(":")[0]
        return AppSpec(
            name_of(last), Path(target), Path.cwd(), root=RootSource(RootKind.REGISTRY, rest)
        )
    name, _, reference = rest.partition(":")
    if not name:
        raise _wrong(target)
    path = Path(os.path.normpath((directory or Path.cwd()) / expanded(name)))
    source = RootSource(RootKind(kind), str(path), reference)
    return AppSpec(name_of(path.name.partition(".")[0]), path, path.parent, root=source)


def files(name: str, program: str) -> AppSpec:
    """Return the specification of `--rootfs NAME`, with the program of the root that runs."""
    path = expanded(name).absolute()
    if not path.exists():
        raise InputError(
            "there is no such file or directory",
            where=path,
            remedy="name a directory with the files of a root file system, or a tar archive of it",
        )
    last = (program or path.name).rpartition("/")[2]
    source = RootSource(RootKind.FILES, str(path))
    return AppSpec(name_of(last), path, path.parent, root=source)


def check(spec: AppSpec, overrides: Overrides) -> None:
    """Raise InputError for settings that have no use with a root file system."""
    for name, option in _NO_USE.items():
        if overrides.get(name):
            raise InputError(
                f"{option} is not for a root file system, whose program runs as it is",
                where=spec.origin,
                remedy=f"leave {option} out; files of this machine can be on a volume (-v)",
            )


def _wrong(target: str) -> InputError:
    return InputError(
        f"not the name of an image: {target}",
        remedy="write it like oci:DIR[:TAG], docker-archive:FILE[:NAME:TAG] or docker://NAME:TAG",
    )
