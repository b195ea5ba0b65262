# SPDX-License-Identifier: GPL-2.0
"""An application calls functions of the kernel; as a normal process it does without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import PROGRAMS, Built, Lab
from ukl.base.errors import InputError
from ukl.base.model import Guest, Mode, Outcome
from ukl.settings import manifest
from ukl.vm.launch import Options

BOTH = ("sockets", "signals", "completion")
KERNEL = ("handles", "others", "pages", "registers", "imported")


@pytest.fixture(scope="module")
def functions(lab: Lab) -> Built:
    return lab.program("functions")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cpus", [1, 2])
def test_in_the_kernel(lab: Lab, functions: Built, cpus: int) -> None:
    ran = lab.run(functions, cpus=cpus)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert {f"{name}: ok" for name in (*BOTH, *KERNEL)} <= set(ran.lines), ran.text
    assert len(ran.lines) == len(BOTH) + len(KERNEL), ran.text


@pytest.mark.timeout(300)
def test_as_a_normal_process(lab: Lab, functions: Built) -> None:
    ran = lab.run(functions, options=Options(Guest(mode=Mode.PROCESS)))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert {f"{name}: ok" for name in BOTH} <= set(ran.lines), ran.text
    assert {f"{name}: not here" for name in KERNEL if name != "imported"} <= set(ran.lines)
    assert "imported: Illegal instruction" in ran.lines, ran.text


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_function", "calls no_such_function, which this kernel does not have"),
        ("jiffies", "does not have"),
    ],
)
def test_what_the_kernel_does_not_have(lab: Lab, name: str, said: str) -> None:
    """The error names the function before anything is linked; data is no function."""
    spec = manifest.load(PROGRAMS / "functions")
    spec = replace(
        spec,
        name="lacking",
        cflags=(*spec.cflags, f"-DLACKING=kernel_{name}"),
        imports=(*spec.imports, f"int {name}(void)"),
    )
    with pytest.raises(InputError, match=said):
        lab.build(spec)


@pytest.mark.timeout(300)
def test_what_is_within_a_file_of_the_kernel(lab: Lab) -> None:
    spec = manifest.load(PROGRAMS / "functions")
    spec = replace(
        spec,
        name="lacking",
        cflags=(*spec.cflags, "-DLACKING=kernel_kernel_init"),
        imports=(*spec.imports, "int kernel_init(void)"),
    )
    with pytest.raises(InputError, match="kernel_init: static in the kernel"):
        lab.build(spec)
