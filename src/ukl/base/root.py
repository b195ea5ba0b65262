# SPDX-License-Identifier: GPL-2.0
"""Values about root file systems of guests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RootKind(StrEnum):
    """What a root file system is made of."""

    OCI = "oci"
    """A directory with an OCI image."""
    DOCKER_ARCHIVE = "docker-archive"
    """A file that `docker save` has written."""
    REGISTRY = "docker"
    """An image in a registry, which skopeo fetches."""
    FILES = "rootfs"
    """A directory, or a tar archive, of the files themselves."""


@dataclass(frozen=True, slots=True)
class RootSource:
    """Where a guest's root file system comes from.

    `name` is the directory or file, or the image's name in a registry; `reference` selects one of
    several images.
    """

    kind: RootKind
    name: str
    reference: str = ""

    @property
    def text(self) -> str:
        """How it is written on the command line."""
        if self.kind is RootKind.FILES:
            return self.name
        return ":".join((self.kind, self.name, *([self.reference] if self.reference else [])))


@dataclass(frozen=True, slots=True)
class Start:
    """How a program of a root file system is started.

    `path`, `argv`, `env`, `directory`, `stop_signal` and the owner are those of the first process.
    `program` is the path of the program that runs in ring 0, empty if none does. It is what is
    started, unless `aside` is set: then a marker file is put in its place, and the program itself
    gets the name `aside`. `interpreter` are the words before `argv[1]` if `path` is a script: then
    the interpreter and all that it executes run in ring 0.
    """

    path: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    stop_signal: int = 15
    program: str = ""
    interpreter: tuple[str, ...] = ()
    aside: str = ""
