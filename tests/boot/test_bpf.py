# SPDX-License-Identifier: GPL-2.0
"""A BPF program sees the calls of an application's function, its arguments and its stack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.kernels import FULL
from ukl.base.model import Outcome
from ukl.settings import manifest

CALLS = 1000
"""Of the function, by one run of programs/bpf."""


@pytest.fixture(scope="module")
def bpf(lab: Lab) -> Built:
    spec = manifest.load(PROGRAMS / "bpf")
    return lab.build(replace(spec, kernel_options=FULL))


@pytest.mark.timeout(1500)  # the kernel's build included
@pytest.mark.parametrize("controller", ["$USER", "$UKL"], ids=["process", "unikernel"])
def test_calls_are_seen(lab: Lab, bpf: Built, controller: str) -> None:
    """What loads the program may be a normal process or an application itself."""
    ran = lab.script(bpf, f"{controller} $UKL\n")
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert ran.lines[-7:] == [
        "target: 7",
        # Detached: the second run is not counted.
        "target: 7",
        f"calls: {CALLS} sum: {CALLS * (CALLS + 1) // 2}",
        "pid: its",
        "text: from within",
        "frame: bpf_watched",
        "frame: main",
    ], ran.text


@pytest.mark.timeout(300)
def test_a_normal_process_is_not(lab: Lab, bpf: Built) -> None:
    """The probe is on the text in the kernel, which the normal executable does not run."""
    ran = lab.script(bpf, "$USER $USER\n")
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert "calls: 0 sum: 0" in ran.lines, ran.text
