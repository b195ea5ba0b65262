# SPDX-License-Identifier: GPL-2.0
"""The stress test for minutes, and what the boot tests do in a kernel that checks itself.

The profile `debug` is built first; that takes longer than all the rest.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot import matrix, stress, test_kselftest
from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.kernels import FULL
from tests.boot.test_matrix import GROUPS
from ukl.settings import manifest

OPTIONS = FULL
DEBUG = "debug"
LONG = 300
"""Seconds of stress."""

MEMORY = 768 << 20
"""Bytes for a guest whose kernel keeps freed memory, and a byte for eight."""

SLOWER = 8
"""A kernel that checks itself takes so many times as long for anything, at most."""

PREEMPTION = ("full", "voluntary", "none")


def _roomy(built: Built) -> Built:
    return replace(built, spec=replace(built.spec, memory=MEMORY))


@pytest.mark.timeout(3600)
def test_stress(lab: Lab) -> None:
    built = stress.build(lab, "stress", OPTIONS)
    print(stress.judge(stress.run(lab, built, LONG)))


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("preempt", PREEMPTION)
def test_stress_in_the_debug_kernel(lab: Lab, preempt: str) -> None:
    built = _roomy(stress.build(lab, "stress-debug", OPTIONS, DEBUG))
    seconds = LONG if preempt == "full" else LONG // 5
    ran = stress.run(lab, built, seconds, append=(f"preempt={preempt}",))
    print(stress.judge(ran))


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("preempt", PREEMPTION)
def test_selftests_in_the_debug_kernel(lab: Lab, preempt: str) -> None:
    ran = lab.script(
        _roomy(test_kselftest.build(lab, DEBUG)),
        "TMPDIR=/root sh /selftest/ukl.sh",
        cpus=2,
        timeout=float(test_kselftest.SECONDS * SLOWER),
        append=(f"preempt={preempt}",),
    )
    test_kselftest.judge(ran, cpus=2)


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize(
    "name",
    ["signals", "memory", "processes", "events", "threads", "processors", "isolation"],
)
def test_comparison_in_the_debug_kernel(lab: Lab, name: str) -> None:
    group = GROUPS[name]
    spec = manifest.load(PROGRAMS / "matrix")
    spec = replace(spec, name="matrix-debug", memory=MEMORY, kernel_options=OPTIONS, profile=DEBUG)
    built = lab.build(spec)
    seconds = matrix.SECONDS * SLOWER
    results = matrix.run(
        lab, built, group.checks, cpus=group.cpus, setup=group.setup, seconds=seconds
    )
    for check in group.checks:
        matrix.same(results, check)
