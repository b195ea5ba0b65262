# SPDX-License-Identifier: GPL-2.0
"""Functions of the kernel compiled into an application: `--lto`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO

import pytest

from tests.boot.harness import PROGRAMS, Built, Lab
from tests.conftest import OPTIONAL
from ukl.base.errors import InputError, MissingError
from ukl.base.model import Guest, Mode, Outcome
from ukl.base.progress import Progress
from ukl.flow.bootable import linked
from ukl.flow.context import Context
from ukl.host import packages
from ukl.lto import build as lto
from ukl.settings import manifest
from ukl.vm.launch import Options

ROWS = ("sqrt", "crc", "switches", "clock")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    try:
        packages.require(*lto.TOOLS)
    except MissingError as error:
        pytest.skip(f"{OPTIONAL} {error}")


@pytest.fixture(scope="module")
def inlined(lab: Lab) -> Built:
    return lab.program("inlined")


def code(lab: Lab, built: Built, name: str) -> str:
    """Return the disassembly of the program's function, with relocations."""
    app = linked(built.spec, lab.context).app
    argv = ["objdump", "-dr", "--no-show-raw-insn", f"--disassemble={name}", str(app.path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def calls(text: str) -> Iterator[str]:
    """Yield the names that a disassembly calls."""
    for match in re.finditer(r"\b(?:call|jmp) .*<(\S+?)(?:\+0x[0-9a-f]+)?>|PLT32\s+([\w.]+)", text):
        yield match[1] or match[2]


def test_the_functions_are_part_of_the_program(lab: Lab, inlined: Built) -> None:
    main, root = code(lab, inlined, "main"), code(lab, inlined, "root")
    # int_sqrt() has a loop of its own around BSR; the scheduler's function reads its run queues.
    assert re.search(r"\bbsr\b", main + root)
    assert "runqueues" in main
    kernels = {"int_sqrt", "crc32_le", "nr_context_switches"}
    for name in (*calls(main), *calls(root)):
        assert name.removeprefix("ukl_body_") not in kernels
    # That one calls through a pointer: it stays where it is.
    assert "ukl_call" in set(calls(main))


@pytest.mark.parametrize("cpus", [1, 2])
def test_they_give_what_the_kernel_gives(lab: Lab, inlined: Built, cpus: int) -> None:
    ran = lab.run(inlined, cpus=cpus)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert ran.lines == [f"{row}: ok" for row in ROWS]


def test_as_a_normal_process(lab: Lab, inlined: Built) -> None:
    ran = lab.run(inlined, options=Options(Guest(mode=Mode.PROCESS)))
    assert ran.lines == ["not here"]


def test_without_it_they_are_called(lab: Lab, inlined: Built) -> None:
    built = Lab(lab.store, lab.accelerator, lab.runs).build(replace(inlined.spec, lto=False))
    assert "runqueues" not in code(lab, built, "main")
    ran = lab.run(built, "called")
    assert ran.lines == [f"{row}: ok" for row in ROWS if row != "crc"]


@pytest.mark.parametrize(
    ("prototype", "reason"),
    [
        ("unsigned long ktime_get_mono_fast_ns(void)", "it calls a function through a pointer"),
        ("void *find_vpid(int nr)", "it calls idr_find, which runs on the kernel's stack"),
        (
            "long ktime_get_real_seconds(void)",
            "it uses tk_core, visible only within its source",
        ),
        ("int __bitmap_weight(const unsigned long *p, unsigned int n)", "assembler has call"),
        ("void clear_page_rep(void *page)", "it is not a function in a C source"),
        ("int no_such_function(void)", "it is not a global function in a C source"),
    ],
)
def test_what_may_not_run_as_a_program_stays_in_the_kernel(
    lab: Lab, inlined: Built, prototype: str, reason: str
) -> None:
    kernel = linked(inlined.spec, lab.context).kernel
    name = re.findall(r"(\w+)\(", prototype)[0]
    found = lto.functions([name], kernel, lab.store)
    assert not found.modules
    assert reason in found.refused[name]


def test_a_user_is_told(lab: Lab) -> None:
    spec = manifest.load(PROGRAMS / "inlined")
    said = StringIO()
    linked(spec, Context(lab.store, Progress(said)))
    assert "ktime_get_mono_fast_ns stays in the kernel and is called: " in said.getvalue()
    with pytest.raises(InputError, match="it imports none"):
        lab.build(replace(spec, name="none", imports=()))
