# SPDX-License-Identifier: GPL-2.0
"""The suites: each measures one program, or the host's tool chain. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.model import AppSpec
from ukl.bench.samples import Meter

PROGRAMS = Path(__file__).resolve().parent / "programs"

CFLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra")

BOTH = (Meter.INSTRUCTIONS, Meter.TIME)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: its name, a line of help, the meters that apply."""

    name: str
    help: str
    meters: tuple[Meter, ...] = BOTH


@dataclass(frozen=True, slots=True)
class ProgramSuite(Suite):
    """A program that measures itself; its sources are file names in bench/programs."""

    sources: tuple[str, ...] = ()

    def spec(self) -> AppSpec:
        """Return the application to build."""
        sources = tuple(PROGRAMS / name for name in self.sources)
        return AppSpec(
            name=f"bench-{self.name}",
            origin=sources[0],
            directory=PROGRAMS,
            sources=sources,
            cflags=CFLAGS,
        )


@dataclass(frozen=True, slots=True)
class ServerSuite(Suite):
    """A server from a recipe, and in the same guest a load generator, which measures.

    `args` follow the recipe's arguments; `files` are as in a manifest, relative to
    bench/programs; `load` is the load generator's name for the server, if it is not the
    recipe's name.
    """

    load: str = ""
    args: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def spec(self, recipe: AppSpec, load: Path) -> AppSpec:
        """Return the recipe to measure, with the program `load` in the guest."""
        files = {target: PROGRAMS / source for target, source in self.files.items()}
        return replace(
            recipe,
            args=(*recipe.args, *self.args),
            files={**recipe.files, **files, LOAD: load},
            ports=(),
        )


LOAD = "/bench/load"
"""Path of the load generator in the guest."""

LOAD_SOURCES = ("load.c", "bench.c")
HEADERS = ("bench.h",)


@dataclass(frozen=True, slots=True)
class BootSuite(ProgramSuite):
    """A program that reads the clock at its start; the time of its first output counts, too."""


@dataclass(frozen=True, slots=True)
class BuildSuite(Suite):
    """The host's tool chain, building an example whose source changes each time."""

    example: str = "hello"


SUITES: Sequence[Suite] = (
    ProgramSuite(
        "syscalls",
        "System calls: getppid, clock, read, write, send, recv, pipe, epoll, futex.",
        sources=("syscalls.c", "bench.c"),
    ),
    ProgramSuite(
        "faults",
        "Page faults, by the work that the kernel does for them.",
        sources=("faults.c", "bench.c"),
    ),
    ProgramSuite(
        "interrupts",
        "A timer interrupt, by what it interrupts.",
        sources=("interrupts.c", "bench.c"),
    ),
    ProgramSuite(
        "processes",
        "Creation of processes and threads, and switches between them.",
        sources=("processes.c", "bench.c"),
    ),
    BootSuite("boot", "From the machine's reset to the program's main.", sources=("boot.c",)),
    ServerSuite(
        "redis",
        "Redis: SET and GET, from ten clients in the guest.",
        args=("--save", ""),
    ),
    ServerSuite(
        "redis-shortcut",
        "The same, but Redis sends and receives by kernel functions.",
        load="redis",
        args=("--save", ""),
    ),
    ServerSuite("memcached", "memcached: set and get, from ten clients in the guest."),
    ServerSuite(
        "nginx",
        "nginx: a file of 1 KiB, from ten clients in the guest.",
        files={"/etc/nginx/nginx.conf": "nginx.conf", "/srv/index.html": "index.html"},
    ),
    BuildSuite("build", "From a changed source file to a bootable image.", meters=(Meter.TIME,)),
)

NAMES = tuple(suite.name for suite in SUITES)
