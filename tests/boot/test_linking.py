# SPDX-License-Identifier: GPL-2.0
"""What the language runtimes need of the link, in the kernel: the same as in a process.

Each program is the one that tests/tool runs as a normal process on this machine;
what it prints in supervisor mode must be the same.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from ukl.app.build import build
from ukl.base.model import AppSpec

PROGRAMS = Path(__file__).parents[1] / "tool" / "programs"

CASES = {
    # Constructors, destructors, buffered output at exit, the exit status.
    "order": (("order.c",), (), ("word",)),
    # Exceptions, cancellation, the C++ library's locales and thread-local objects.
    "exceptions": (("exceptions.cpp",), (), ()),
    # Sections of the program's own, with the symbols around them.
    "own": (("own.c",), (), ()),
    # Functions chosen at start.
    "ifunc": (("ifunc.c",), (), ("a",)),
    # Names that the kernel has as well, and the boundaries of the program.
    "common": (("common.c", "common_other.c"), ("-fcommon", "-Wno-array-bounds"), ()),
    # More alignment than a page's neighbours have, of both kinds.
    "tls": (("tls.c",), ("-DDATA=64", "-DBSS=4096"), ()),
    # System calls by call, those that return twice among them.
    "call": (("call.c",), (), ()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_in_a_process(lab: Lab, name: str) -> None:
    sources, flags, args = CASES[name]
    spec = AppSpec(
        name=f"link-{name}",
        origin=PROGRAMS / sources[0],
        directory=PROGRAMS,
        sources=tuple(PROGRAMS / source for source in sources),
        cflags=flags,
    )
    user = build(spec, lab.store, lab.progress).user
    process = subprocess.run([user, *args], capture_output=True, text=True, check=False)
    ran = lab.run(lab.build(spec), *args)
    assert ran.lines == process.stdout.splitlines()
    assert ran.result.status == process.returncode, ran.result


def test_stack_protector_notices_in_the_kernel(lab: Lab) -> None:
    spec = AppSpec(
        name="link-smash",
        origin=PROGRAMS / "smash.c",
        directory=PROGRAMS,
        sources=(PROGRAMS / "smash.c",),
        cflags=("-fstack-protector-all",),
    )
    built = lab.build(spec)
    assert lab.run(built).lines == ["102"]
    ran = lab.run(built, "x" * 64)
    assert "stack smashing detected" in ran.text
    assert ran.result.status == 6  # SIGABRT
