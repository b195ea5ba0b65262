# SPDX-License-Identifier: GPL-2.0
"""What programs/matrix finds to be so of a normal process is so of an application in the kernel."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.boot import matrix
from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.matrix import Results
from ukl.base.model import Level, Returns
from ukl.settings import manifest


@dataclass(frozen=True)
class Group:
    """Checks that are run in one guest."""

    checks: tuple[str, ...]
    cpus: int = 1
    build: Callable[[Lab], Built] = matrix.plain
    setup: str = ""
    append: tuple[str, ...] = ()


def of(topic: str, names: str) -> tuple[str, ...]:
    """Return the checks of a file of programs/matrix."""
    return tuple(f"{topic}.{name}" for name in names.split())


GROUPS = {
    # Signals reach an application in the kernel as they reach any process.
    "signals": Group(
        of(
            "signals",
            "defaults context codes wild stacks realtime restarts frames bare timers jobs",
        )
    ),
    # Threads keep what Linux and the C++ runtime promise.
    "threads": Group(
        of("threads", "many cancel robust pi tls exceptions fork endings limits"), cpus=2
    ),
    # They use all processors, move between them, and survive their loss.
    "processors": Group(of("processors", "migration hotplug"), cpus=4),
    # A tracer sees, changes and follows an application.
    "tracing": Group(of("tracing", "attach calls families watchpoint")),
    # Its memory is a process's memory.
    "memory": Group(of("memory", "stack mappings kernel_pointers own_data proc accounting huge")),
    # It forks, executes, waits and is waited for.
    "processes": Group(of("processes", "fork spawn exec wait credentials executable own_files")),
    # Time, and the calls by which a server waits.
    "events": Group(of("events", "clocks descriptors files passing futexes uring seccomp")),
    # Namespaces and control groups hold it as any process.
    "isolation": Group(
        (*of("processes", "namespaces cgroups credentials"), *of("events", "seccomp")),
        build=matrix.full,
    ),
    # Swap, the OOM killer, huge pages, userfaultfd and bad memory, for the application's data.
    "pressure": Group(
        of("memory", "swap oom huge userfault poison own_data stack"),
        build=matrix.full,
        setup="""
mknod /dev/ram0 b 1 0 2>/dev/null
mkswap /dev/ram0 >/dev/null && swapon /dev/ram0
echo 8 > /proc/sys/vm/nr_hugepages
""",
        append=("ramdisk_size=98304",),
    ),
    # Its `syscall` instructions are calls: what unwinds through them.
    "calls": Group(
        of("threads", "cancel exceptions endings"),
        cpus=2,
        build=lambda lab: matrix.as_calls(lab, "matrix"),
    ),
    # And calls without entry and exit work: what unwinds through them, interrupts them, or
    # watches them.
    "fast": Group(
        (
            *of("threads", "cancel exceptions pi fork"),
            *of("signals", "context realtime restarts jobs"),
            *of("events", "seccomp uring"),
            *of("tracing", "calls"),
        ),
        cpus=2,
        build=lambda lab: matrix.as_calls(lab, "matrix", Level.FAST),
    ),
    # And the kernel returns without IRET: what is interrupted, takes faults, or has its
    # registers looked at.
    "ret": Group(
        (
            *of("threads", "cancel exceptions fork"),
            *of("signals", "codes context frames jobs restarts stacks timers"),
            *of("memory", "mappings stack"),
            *of("tracing", "calls watchpoint"),
        ),
        cpus=2,
        build=lambda lab: matrix.as_calls(lab, "matrix", Level.FAST, Returns.RET),
    ),
}


@pytest.fixture(scope="module")
def results(lab: Lab) -> Callable[[str], Results]:
    """Return what came of a group, whose guest is booted for the first that asks."""

    @functools.cache
    def run(name: str) -> Results:
        group = GROUPS[name]
        return matrix.run(
            lab,
            group.build(lab),
            group.checks,
            cpus=group.cpus,
            setup=group.setup,
            append=group.append,
        )

    return run


@pytest.mark.timeout(1800)  # the kernel's build included
@pytest.mark.parametrize(
    ("group", "name"), [(name, check) for name, group in GROUPS.items() for check in group.checks]
)
def test_same_in_the_kernel(results: Callable[[str], Results], group: str, name: str) -> None:
    matrix.same(results(group), name)


STATIC = "/static/matrix-static"
"""The same program in the guest, as `gcc -static` makes it."""

STUB = 'asm(".globl ukl_syscall\\nukl_syscall: syscall\\n\\tret");\n'

AS_PROCESS = ("signals", "threads", "tracing", "memory", "processes", "events")
"""Groups whose checks compare the normal executable with that of the compiler."""


@pytest.fixture(scope="module")
def processes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Results:
    place = tmp_path_factory.mktemp("static")
    (place / "stub.c").write_text(STUB)
    spec = manifest.load(PROGRAMS / "matrix")
    sources = map(str, (*spec.sources, place / "stub.c"))
    words = ["gcc", "-static", "-O2", "-g", *spec.cflags, *sources, "-o", str(place / "matrix")]
    subprocess.run([*words, "-pthread", "-lstdc++", "-lm"], check=True)
    built = lab.build(replace(spec, name="matrix-static", files={STATIC: place / "matrix"}))
    names = tuple(check for group in AS_PROCESS for check in GROUPS[group].checks)
    setup = f"PLAIN={STATIC}\n"
    return matrix.run(lab, built, names, cpus=2, setup=setup, modes=("PLAIN", "USER"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [c for group in AS_PROCESS for c in GROUPS[group].checks])
def test_the_normal_executable_is_what_the_compiler_makes(processes: Results, name: str) -> None:
    matrix.same(processes, name)
