# SPDX-License-Identifier: GPL-2.0
"""Builds the guest's init with the compiler of this machine, once per content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukl.host import exec as host_exec
from ukl.host.store import Store, digest
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
    inputs = {
        "sources": {name: digest(directory / name) for name in [*sources, "init.h"]},
        "argv": compile_argv(sources, "init"),
        "compiler": host_exec.version(COMPILER),
    }

    def build(output: Path) -> None:
        # In the directory of the sources: no path of this machine gets into the file.
        host_exec.run(
            compile_argv(sources, str(output / "init")),
            cwd=directory,
            log=output / "build.log",
            timeout=TIMEOUT,
        )

    return store.make("guest-init", digest(inputs), inputs, build) / "init"
