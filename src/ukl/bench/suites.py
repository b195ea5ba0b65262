# SPDX-License-Identifier: GPL-2.0
"""What is measured: a suite is one program, or what this machine does itself. Pure."""

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
    """What all suites have: a name, a line of help, the meters that make sense."""

    name: str
    help: str
    meters: tuple[Meter, ...] = BOTH


@dataclass(frozen=True, slots=True)
class ProgramSuite(Suite):
    """A program of bench/programs that measures itself; names of its sources."""

    sources: tuple[str, ...] = ()

    def spec(self) -> AppSpec:
        """Return what to build."""
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
    """A recipe, and beside it in the guest `load`, which sends it requests and measures.

    `args` follow the recipe's own; `files` are as in a manifest, below bench/programs;
    `load` is what the load generator calls such a server, where that is not the recipe's name.
    """

    load: str = ""
    args: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def spec(self, recipe: AppSpec, load: Path) -> AppSpec:
        """Return the recipe as it is measured, with the program `load` in the guest."""
        files = {target: PROGRAMS / source for target, source in self.files.items()}
        return replace(
            recipe,
            args=(*recipe.args, *self.args),
            files={**recipe.files, **files, LOAD: load},
            ports=(),
        )


LOAD = "/bench/load"
"""Where the load generator is in the guest."""

LOAD_SOURCES = ("load.c", "bench.c")
HEADERS = ("bench.h",)


@dataclass(frozen=True, slots=True)
class BootSuite(ProgramSuite):
    """A program that looks at the clock when it is started; its first output is timed too."""


@dataclass(frozen=True, slots=True)
class BuildSuite(Suite):
    """This machine's tool chain, with an example whose source changes each time."""

    example: str = "hello"


SUITES: Sequence[Suite] = (
    ProgramSuite(
        "syscalls",
        "System calls: getppid, clock, read, write, send, recv, pipe, epoll, futex.",
        sources=("syscalls.c", "bench.c"),
    ),
    ProgramSuite(
        "faults",
        "Page faults, by what the kernel has to do for them.",
        sources=("faults.c", "bench.c"),
    ),
    ProgramSuite(
        "interrupts",
        "A timer's interrupt, by what it interrupts.",
        sources=("interrupts.c", "bench.c"),
    ),
    ProgramSuite(
        "processes",
        "Making processes and threads, and switching between them.",
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
        "The same, where Redis sends and receives by functions of the kernel.",
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
