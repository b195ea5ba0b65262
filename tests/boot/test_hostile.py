# SPDX-License-Identifier: GPL-2.0
"""A normal process beside the application enters ring 0 by no way, and forges no marker."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = tuple(
    f"hostile.{name}"
    for name in ("sigreturn", "setregs", "gates", "privileges", "jumps", "syscalls", "markers")
)

WITHOUT_SMAP = ("hostile.returns", "hostile.ldt")
"""QEMU 7.2 under TCG takes an IRETQ or LRET of user mode for a supervisor's access."""

FULL = ("hostile.kprobes",)
"""What takes more than the base configuration has."""

EXPECTED = {
    "hostile.setregs": ["selector of ring 0 accepted: 0"],
    # int $3 is SIGTRAP.
    "hostile.gates": ["int: 0 went on, 255 SEGV, 1 other"],
    "hostile.jumps": [
        f"{name}: killed SEGV"
        for name in (
            *("ukl_syscall", "__ukl_text_start", "ukl_return_to_ip"),
            *("ukl_syscall_kernel", "entry_SYSCALL_64"),
        )
    ],
    "hostile.markers": [
        # Its entry point is in the kernel half, which is seen past the point of no return.
        "the internal file: killed SEGV",
        # Root's word is for everybody.
        "root's marker: exited 44",
        # EACCES
        "a copy of one's own: exited 13",
        "in a memfd: exited 13",
        "written to root's: errno 13",
    ],
    "hostile.ldt": ["entries of an LDT: refused"],
}
"""What a check must say beyond having found no way."""

EXPECTED_FULL = {
    "hostile.kprobes": [
        "in the application: errno 0",
        # EINVAL
        "in the stub: errno 22",
        "in the entry: errno 22",
        "elsewhere, at work",
    ],
    "hostile.ldt": ["entries of an LDT: some"],
}
"""The same, in the kernel with more options."""


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    built = matrix.plain(lab)
    setup = "export UKL\n"
    return {
        **matrix.run(lab, built, CHECKS, setup=setup, modes=("USER",)),
        **matrix.run(
            lab, built, WITHOUT_SMAP, setup=setup, modes=("USER",), append=("clearcpuid=smap",)
        ),
    }


@pytest.fixture(scope="module")
def full(lab: Lab) -> Results:
    built = matrix.full(lab)
    # clearcpuid: see WITHOUT_SMAP.
    return matrix.run(
        lab,
        built,
        (*FULL, "hostile.ldt"),
        setup="export UKL\n",
        modes=("USER",),
        append=("clearcpuid=smap",),
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*FULL, "hostile.ldt"])
def test_harmless_with_more_options(full: Results, name: str) -> None:
    normal = full[name][0]
    assert normal.status == 0, normal.text
    assert normal.details == EXPECTED_FULL[name]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*CHECKS, *WITHOUT_SMAP])
def test_harmless(results: Results, name: str) -> None:
    normal = results[name][0]
    assert normal.status == 0, normal.text
    assert normal.details == EXPECTED.get(name, normal.details)
