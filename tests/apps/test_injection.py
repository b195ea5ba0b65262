# SPDX-License-Identifier: GPL-2.0
"""Exceptions at each instruction of the ways into the kernel and out of it: injection.py."""

from __future__ import annotations

import pytest

from tests.boot import injection
from tests.boot.harness import Lab
from tests.boot.injection import Kind, Program
from ukl.base.model import Returns


@pytest.fixture(scope="module")
def injected(lab: Lab) -> Program:
    """Return the program in the kernel of the gate."""
    return injection.build(lab)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("way", "kind"),
    [
        (way, kind)
        for way in injection.WAYS
        if way != injection.RETURN
        for kind in Kind
        # Where interrupts are on, in all others, the kernel is undisturbed by them.
        if way in injection.FAST or kind is not Kind.INTERRUPT
    ],
)
def test_every_instruction(lab: Lab, injected: Program, way: str, kind: Kind) -> None:
    injection.judge(injection.run(lab, injected, way, kind), way)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("fault", Kind.NMI),
        ("timer", Kind.NMI),
        (injection.RETURN, Kind.NMI),
        (injection.RETURN, Kind.MACHINE_CHECK),
    ],
)
def test_every_instruction_back_without_iret(lab: Lab, way: str, kind: Kind) -> None:
    injected = injection.build(lab, Returns.RET)
    injection.judge(injection.run(lab, injected, way, kind), way)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", injection.PROCESS_WAYS)
def test_every_instruction_of_a_process(lab: Lab, injected: Program, way: str) -> None:
    """The interrupt stack is there for normal processes, too, and their gs is not the kernel's."""
    run = injection.run(lab, injected, way, Kind.NMI, process=True, append=("pti=on",))
    injection.judge(run, way)
