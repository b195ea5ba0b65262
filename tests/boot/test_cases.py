# SPDX-License-Identifier: GPL-2.0
"""Small programs that once went wrong: as `gcc -static` makes them, and in both modes.

All three run in one guest and have to print the same, unless the table says what is different in
the kernel, as docs/reference/differences.md does.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

from tests.boot import matrix, wrapped
from tests.boot.harness import Lab
from tests.boot.matrix import Results
from tests.conftest import OPTIONAL
from ukl.base.model import AppSpec

HERE = Path(__file__).parent / "cases"
MODES = ("PLAIN", "USER", "UKL")
KILLED, DIED = 128 + signal.SIGSEGV, "Segmentation fault"

VARIES = (
    ("0x[0-9a-f]+", "0x"),
    ("/(static|user|ukl)/", "/"),
    (r"\S*/(?=(fortran\.f90|backtrace\.rs):)", ""),
    (r"' \(\d+\) panicked", "' panicked"),
)
"""Addresses, paths and process ids."""

Seen = tuple[int, list[str]]
"""Exit status and lines."""


@dataclass(frozen=True)
class Case:
    """A source, the arguments of its runs, and what is different in the kernel, by arguments.

    `tool` compiles what is not C.
    """

    source: str
    runs: tuple[str, ...] = ("",)
    kernel: Mapping[str, Seen] = field(default_factory=dict)
    tool: tuple[str, ...] = ()


EFAULT, ENOMEM = 14, 12

ARRAYS = ["ok T", "line 1 1.000", "line 2 1.414", "line 3 1.732", "line 4 2.000", "line 5 2.236"]
CALLS = ["#0 0x in ???", "#1 0x in t", "at fortran.f90:47", "#2 0x in main", "at fortran.f90:25"]
TRAMPOLINE = [
    "Program received signal SIGSEGV: Segmentation fault - invalid memory reference.",
    "Backtrace for this error:",
    *(f"#{number} 0x in ???" for number in range(4)),
    DIED,
]
"""gfortran calls an internal procedure by code on the stack."""

OWN_FILES = [
    *(f"write /proc/self/{name}: ok" for name in ("comm", "oom_score_adj", "coredump_filter")),
    *(f"read /proc/self/{name}: ok" for name in ("environ", "auxv", "pagemap", "mem")),
]

CASES = (
    Case("clone3-efault.c", ("", "x")),
    Case(
        "text-address.c",
        kernel={
            "": (
                0,
                [
                    f"write(fds[1], main, 16) -1 errno {EFAULT}",
                    f"mprotect(page, 4096, PROT_READ | PROT_EXEC) -1 errno {ENOMEM}",
                    f"mlock(page, 4096) -1 errno {ENOMEM}",
                    f"madvise(page, 4096, MADV_WILLNEED) -1 errno {ENOMEM}",
                    f"mincore(page, 4096, &v) -1 errno {ENOMEM}",
                ],
            )
        },
    ),
    Case("pr-set-tsc.c", kernel={"": (0, ["set: -1, now 1", "rdtsc worked: 1"])}),
    Case("own-proc.c", kernel={"": (0, ["uid 65534, dumpable 0", *OWN_FILES])}),
    Case("comm-fexecve.c"),
    Case("proc-self-exe.c"),
    Case("undefined-unused.c"),
    Case("nested.c", kernel={"": (KILLED, [DIED])}),
    Case("made-code.c", kernel={"": (KILLED, ["mprotect 0", DIED])}),
    Case("all-names.c"),
    Case("huge-pages.c"),
    Case(
        "fortran.f90",
        ("", "a", "a b"),
        kernel={
            "a": (KILLED, [*ARRAYS, *TRAMPOLINE]),
            "a b": (KILLED, [*ARRAYS, *CALLS, *TRAMPOLINE]),
        },
        tool=("gfortran", "-g", "-O1"),
    ),
    Case("backtrace.rs", tool=("rustc", "-g", "-C", "target-feature=+crt-static")),
)


def spec_of(lab: Lab, case: Case, place: Path) -> AppSpec:
    """Return the case's program, with that of the plain compiler among the guest's files."""
    name = case.source.partition(".")[0]
    source = str(shutil.copy(HERE / case.source, place))
    plain = place / "static" / name
    plain.parent.mkdir()
    tool = case.tool or ("gcc", "-O2")
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{OPTIONAL} no {tool[0]} on this machine")
    static = ("-C", "relocation-model=static") if tool[0] == "rustc" else ("-static",)
    subprocess.run([*tool, *static, source, "-o", str(plain)], check=True)
    spec = AppSpec(name, place, place, sources=(Path(source),))
    if case.tool:
        linker = ("-C", "linker=ukl-cc") if tool[0] == "rustc" else ()
        spec = wrapped.made(lab, place, name, *tool, *linker, source, "-o", name)
    return replace(spec, name=name, files={f"/static/{name}": plain})


@pytest.fixture(scope="module")
def results(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Results]:
    @cache
    def run(source: str) -> Results:
        [case] = [each for each in CASES if each.source == source]
        spec = spec_of(lab, case, tmp_path_factory.mktemp("case"))
        setup = f"PLAIN=/static/{spec.name}\n"
        return matrix.run(lab, lab.build(spec), case.runs, setup=setup, modes=MODES)

    return lambda case: run(case.source)


def seen(check: matrix.Check) -> Seen:
    """Return what a run has shown, without what differs from one program to the next."""
    assert check.status is not None, check.text
    text = "\n".join(" ".join(line.split()) for line in check.lines if line.strip())
    for pattern, instead in VARIES:
        text = re.sub(pattern, instead, text)
    return check.status, text.splitlines()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("case", "run"),
    [pytest.param(case, run, id=f"{case.source} {run}") for case in CASES for run in case.runs],
)
def test_case(results: Callable[[Case], Results], case: Case, run: str) -> None:
    plain, user, kernel = (seen(check) for check in results(case)[run])
    assert user == plain
    assert kernel == case.kernel.get(run, plain)
