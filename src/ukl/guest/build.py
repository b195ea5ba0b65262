# SPDX-License-Identifier: GPL-2.0
"""Builds what runs in the guest beside the application: init, and programs for measuring.

With the compiler of this machine, once per content.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukl.host import exec as host_exec
from ukl.host.store import Command, Store, digest
from ukl.resources import path as resource

COMPILER = "gcc"
CFLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
LDFLAGS = ("-static", "-s", "-Wl,--build-id=none")

TIMEOUT = 120.0
"""Seconds; it takes one or two."""


def compile_argv(sources: Sequence[str], output: str) -> list[str]:
    """Return the command that makes init, run in the directory of `sources`. Pure."""
    return [COMPILER, *CFLAGS, *LDFLAGS, "-o", output, *sources]


def init(store: Store) -> Path:
    """Return the guest's init, a static executable of this machine's C library."""
    directory = resource("guest")
    sources = sorted(file.name for file in directory.glob("*.c"))
    return program("init", directory, sources, ["init.h"], store)


def program(
    name: str, directory: Path, sources: Sequence[str], headers: Sequence[str], store: Store
) -> Path:
    """Return a normal static executable of the files in `directory`, for use in the guest."""
    inputs = {
        "sources": {file: digest(directory / file) for file in [*sources, *headers]},
        "argv": compile_argv(sources, name),
        "compiler": host_exec.version(COMPILER),
    }

    def build(output: Path) -> None:
        # In the directory of the sources: no path of this machine gets into the file.
        host_exec.run(
            compile_argv(sources, str(output / name)),
            cwd=directory,
            log=output / "build.log",
            timeout=TIMEOUT,
        )

    def plan(output: Path) -> list[Command]:
        return [Command(tuple(compile_argv(sources, str(output / name))), directory)]

    return store.make(f"guest-{name}", digest(inputs), inputs, build, plan) / name
