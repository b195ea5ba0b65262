# SPDX-License-Identifier: GPL-2.0
"""Builds the guest's other programs: init, and programs for measurements.

The host's compiler builds them, once per content. Init is linked with musl: it is in each
guest's memory, twice while the initrd is unpacked, and takes 90 KiB instead of the 840 KiB
with the host's C library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukl.base.resources import path as resource
from ukl.host import exec as host_exec
from ukl.host.store import Command, Store, digest

COMPILER = "gcc"
INIT_COMPILER = "musl-gcc"
"""GCC with musl's headers and libraries (musl-gcc(1))."""
CFLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
LDFLAGS = ("-s", "-Wl,--build-id=none")
STATIC = ("-static",)

TIMEOUT = 120.0
"""Seconds for a compilation, which takes one or two."""


def compile_argv(
    sources: Sequence[str], output: str, compiler: str = COMPILER, flags: Sequence[str] = STATIC
) -> list[str]:
    """Return the command that compiles a program, to run in the directory of `sources`. Pure."""
    return [compiler, *CFLAGS, *flags, *LDFLAGS, "-o", output, *sources]


def init(store: Store) -> Path:
    """Return the guest's init, a small static executable."""
    directory = resource("guest")
    sources = sorted(file.name for file in directory.glob("*.c"))
    return program("init", directory, sources, ["init.h"], store, compiler=INIT_COMPILER)


def program(
    name: str,
    directory: Path,
    sources: Sequence[str],
    headers: Sequence[str],
    store: Store,
    *,
    compiler: str = COMPILER,
    flags: Sequence[str] = STATIC,
) -> Path:
    """Return a normal executable for the guest, built from the files in `directory`."""
    inputs = {
        "sources": {file: digest(directory / file) for file in [*sources, *headers]},
        "argv": compile_argv(sources, name, compiler, flags),
        "compiler": host_exec.version(compiler),
    }

    def build(output: Path) -> None:
        # In the directory of the sources, so that the file contains no path of the host.
        host_exec.run(
            compile_argv(sources, str(output / name), compiler, flags),
            cwd=directory,
            log=output / "build.log",
            timeout=TIMEOUT,
        )

    def plan(output: Path) -> list[Command]:
        argv = compile_argv(sources, str(output / name), compiler, flags)
        return [Command(tuple(argv), directory)]

    return store.make(f"guest-{name}", digest(inputs), inputs, build, plan) / name
