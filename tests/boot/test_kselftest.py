# SPDX-License-Identifier: GPL-2.0
"""The kernel's own selftests (tools/testing/selftests/ukl), on a kernel with CONFIG_UKL_TEST."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab, Ran
from tests.boot.kernels import FULL
from ukl.base.model import AppSpec, Outcome
from ukl.flow import kernel as kernels
from ukl.host.store import digest

OPTIONS = FULL
SECONDS = 300


def program(lab: Lab, directory: Path) -> Path:
    """Return the program that is not linked in, compiled as the Makefile does."""
    source = directory / "ukl_program.c"

    def work(out: Path) -> None:
        words = ["gcc", "-O2", "-Wall", "-Werror", "-static", "-pthread", str(source)]
        subprocess.run([*words, "-o", str(out / "ukl_program")], check=True)

    key = digest("ukl_program", source.read_bytes())
    return lab.store.make("probe", key, {}, work) / "ukl_program"


def build(lab: Lab, profile: str = "") -> Built:
    """Return the selftest's program from the patched tree, in a kernel that can torment it."""
    kernel = kernels.build(kernels.Wanted(OPTIONS, profile), lab.context)
    directory = kernel.source / "tools" / "testing" / "selftests" / "ukl"
    spec = AppSpec(
        name="ukl_app",
        origin=directory / "Makefile",
        directory=directory,
        sources=(directory / "ukl_app.c",),
        files={
            "/selftest/ukl.sh": directory / "ukl.sh",
            "/selftest/ukl_program.sh": directory / "ukl_program.sh",
            "/selftest/ukl_program": program(lab, directory),
        },
        kernel_options=OPTIONS,
        profile=profile,
    )
    return lab.build(spec)


def passed_of(ran: Ran, more_than: int) -> list[str]:
    """Return the names of the tests; assert that all that were planned ran, and passed."""
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    plan = re.search(r"^1\.\.(\d+)$", ran.text, re.MULTILINE)
    assert plan is not None, ran.text
    passed = re.findall(r"^ok \d+ (.*)$", ran.text, re.MULTILINE)
    assert len(passed) == int(plan[1]) > more_than, ran.text
    assert "not ok" not in ran.text
    return passed


def judge(ran: Ran, cpus: int) -> None:
    """Assert that all of the selftests ran, in application mode, and passed."""
    passed = passed_of(ran, 15)
    assert ("a storm of NMIs that take page faults" in passed) is (cpus > 1)
    # What ran was application mode, and none of its tests was left out.
    assert "mode:application mode" in ran.text
    assert "# SKIP" not in ran.text


@pytest.fixture(scope="module")
def selftest(lab: Lab) -> Built:
    """Return the selftest's program in the kernel of the gate."""
    return build(lab)


@pytest.mark.timeout(1500)  # the kernel's build included
@pytest.mark.parametrize(
    ("cpus", "cmdline"), [(1, ()), (2, ()), (4, ()), (2, ("pti=on",))], ids=str
)
def test_selftests(lab: Lab, selftest: Built, cpus: int, cmdline: tuple[str, ...]) -> None:
    ran = lab.script(
        selftest, "TMPDIR=/root sh /selftest/ukl.sh", cpus=cpus, timeout=SECONDS, append=cmdline
    )
    judge(ran, cpus)


@pytest.mark.timeout(1500)  # the kernel's build included
@pytest.mark.parametrize(("cpus", "cmdline"), [(1, ()), (4, ("pti=on",))], ids=str)
def test_programs(lab: Lab, selftest: Built, cpus: int, cmdline: tuple[str, ...]) -> None:
    """Programs that are not linked in, started by marker files of their own kind."""
    ran = lab.script(
        selftest,
        "TMPDIR=/root sh /selftest/ukl_program.sh",
        cpus=cpus,
        timeout=SECONDS,
        append=("ukl.programs=1", *cmdline),
    )
    passed = passed_of(ran, 30)
    assert "marker file starts the program at CPL 0" in passed


@pytest.mark.parametrize("application", [True, False])
def test_stack_overflow_is_reported(lab: Lab, selftest: Built, application: bool) -> None:
    """Where gates use the UKL stack that is no double fault; the guard page has to be seen."""
    ran = lab.script(
        selftest,
        "mount -t debugfs none /sys/kernel/debug\n"
        f"echo {application:d} > /sys/kernel/debug/ukl/stack_overflow; sleep 1\n",
    )
    # Our guests panic where a kernel would go on without the thread.
    assert ran.result.outcome is Outcome.PANICKED
    # What a double fault says is not printed before the panic has stopped the guest:
    # printk() in a context like an NMI's leaves that for later.
    if application:
        assert "BUG: TASK stack guard page was hit" in ran.text
        assert "double fault" not in ran.text
