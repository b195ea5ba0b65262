# SPDX-License-Identifier: GPL-2.0
"""The suites: each measures one program, or the host's tool chain. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.model import AppSpec, Code
from ukl.bench.samples import Meter

PROGRAMS = Path(__file__).resolve().parent / "programs"

CFLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra")

BOTH = (Meter.INSTRUCTIONS, Meter.TIME)

SERVED = (*BOTH, Meter.EXITS)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: its name, a line of help, the meters that apply."""

    name: str
    help: str
    meters: tuple[Meter, ...] = BOTH


@dataclass(frozen=True, slots=True)
class ProgramSuite(Suite):
    """A program that measures itself; its sources are file names in bench/programs.

    `code` is what it may execute beyond its own text.
    """

    sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    code: Code = Code.NONE

    def spec(self) -> AppSpec:
        """Return the application to build."""
        sources = tuple(PROGRAMS / name for name in self.sources)
        return AppSpec(
            name=f"bench-{self.name}",
            origin=sources[0],
            directory=PROGRAMS,
            sources=sources,
            kernel_sources=tuple(PROGRAMS / name for name in self.kernel_sources),
            cflags=CFLAGS,
            code=self.code,
        )


@dataclass(frozen=True, slots=True)
class ServerSuite(Suite):
    """A server from a recipe, and in the same guest a load generator, which measures.

    `args` follow the recipe's arguments; `files` are as in a manifest, relative to
    bench/programs; `load` is the load generator's name for the server, if it is not the
    recipe's name. `installed` is the name of the distribution's own program, which needs no
    further files. `requests` are its rows from outside (programs/protocols.h); `pipelined`
    says whether several may be on their way in one connection.
    """

    load: str = ""
    installed: str = ""
    requests: tuple[str, ...] = ()
    pipelined: bool = True
    args: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """The load generators' name for the server."""
        return self.load or self.name

    def spec(self, recipe: AppSpec, load: Path) -> AppSpec:
        """Return the recipe to measure, with the program `load` in the guest."""
        files = {target: PROGRAMS / source for target, source in self.files.items()}
        return replace(
            recipe,
            args=(*recipe.args, *self.args),
            files={**recipe.files, **files, LOAD: load},
        )


LOAD = "/bench/load"
"""Path of the load generator in the guest."""

LOAD_SOURCES = ("load.c", "bench.c")
REQUESTS_SOURCES = ("requests.c",)
HEADERS = ("bench.h", "protocols.h")


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
        kernel_sources=("syscalls_kernel.c",),
    ),
    ProgramSuite(
        "faults",
        "Page faults, by the work that the kernel does for them.",
        sources=("faults.c", "bench.c"),
        code=Code.FILES,
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
        installed="redis-server",
        args=("--save", ""),
        requests=("SET 100 B", "GET 100 B"),
        meters=SERVED,
    ),
    ServerSuite(
        "redis-shortcut",
        "The same, but Redis sends and receives by kernel functions.",
        load="redis",
        args=("--save", ""),
        requests=("SET 100 B", "GET 100 B"),
        meters=SERVED,
    ),
    ServerSuite(
        "memcached",
        "memcached: set and get, from ten clients in the guest.",
        requests=("set 100 B", "get 100 B"),
        meters=SERVED,
    ),
    ServerSuite(
        "cache-kernel",
        "A cache whose kernel code answers get, or a normal one.",
        load="memcached",
        requests=("set 100 B", "get 100 B"),
        meters=SERVED,
    ),
    ServerSuite(
        "nginx",
        "nginx: a file of 1 KiB, from ten clients in the guest.",
        files={"/etc/nginx/nginx.conf": "nginx.conf", "/srv/index.html": "index.html"},
        requests=("GET 1 KiB",),
        meters=SERVED,
    ),
    ServerSuite(
        "tcp-echo",
        "The TCP echo server: 64 bytes, from ten clients in the guest.",
        requests=("echo 64 B",),
        meters=SERVED,
    ),
    ServerSuite(
        "tcp-echo-kernel",
        "The same, but the event loop is kernel code, or epoll's.",
        load="tcp-echo",
        requests=("echo 64 B",),
        meters=SERVED,
    ),
    BuildSuite("build", "From a changed source file to a bootable image.", meters=(Meter.TIME,)),
)

NAMES = tuple(suite.name for suite in SUITES)
