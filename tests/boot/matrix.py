# SPDX-License-Identifier: GPL-2.0
"""Runs checks of programs/matrix and programs/checks both ways in one guest.

All are run as a normal process first, and then in the kernel.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.kernels import FULL
from ukl.base.model import Level, Returns
from ukl.settings import manifest

SECONDS = 40
"""A check may take, in the guest."""

COMPLAINTS = "BUG:|WARNING:|Oops|general protection fault:|INFO: (task|trying)|suspicious RCU"
"""What the kernel says when something is wrong, as an extended regular expression."""

SETUP = """
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts 2>/dev/null
mount -t tmpfs none /dev/shm 2>/dev/null
# Off by default in a guest of less than 512 MiB.
echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
cd /tmp
"""

Results = dict[str, tuple["Check", ...]]
"""Name of the check -> what came of it in each mode: as a normal process, and in the kernel."""


@dataclass(frozen=True)
class Check:
    """What one check printed, and its exit status; None if the guest did not come to it."""

    lines: tuple[str, ...]
    status: int | None

    @property
    def text(self) -> str:
        """What it printed, and how it ended."""
        return "\n".join([*self.lines, f"(status {self.status})"])

    @property
    def details(self) -> list[str]:
        """What it has seen to be so."""
        return [line.split(" ", 2)[2] for line in self.lines if line.startswith("ok ")]


def plain(lab: Lab) -> Built:
    """Return the program in the kernel that everybody has."""
    return lab.program("matrix")


def full(lab: Lab) -> Built:
    """Return it in the kernel with namespaces, control groups, swap and the like."""
    spec = manifest.load(PROGRAMS / "matrix")
    return lab.build(replace(spec, name="matrix-full", kernel_options=FULL))


def checks(lab: Lab, built: Built, names: Sequence[str]) -> Results:
    """Run checks of programs/checks in the kernel, on two processors."""
    return run(lab, built, names, cpus=2, modes=("UKL",))


def as_calls(
    lab: Lab, name: str, level: Level = Level.BASE, returns: Returns = Returns.IRET
) -> Built:
    """Build a program of ours with its `syscall` instructions turned into calls."""
    spec = manifest.load(PROGRAMS / name)
    spec = replace(spec, rewrite_syscalls=True, level=level, returns=returns)
    return lab.build(replace(spec, name=f"{name}-{level}-{returns}"))


def run(
    lab: Lab,
    built: Built,
    names: Sequence[str],
    *,
    cpus: int = 1,
    setup: str = "",
    append: tuple[str, ...] = (),
    modes: tuple[str, ...] = ("USER", "UKL"),
    seconds: int = SECONDS,
) -> Results:
    """Run the checks in a guest, all as a normal process first, then all in the kernel."""
    script = SETUP + setup
    for mode in modes:
        script += f"export MATRIX=${mode} CHECKS=${mode}\n"
        script += "".join(
            f"echo '<<<{mode} {name}'; timeout -s KILL {seconds} ${mode} {name}; s=$?\n"
            'echo; echo ">>>$s"\n'
            for name in names
        )
    script += f"dmesg | grep -E '{COMPLAINTS}' | sed 's/^/!!!/'\n"
    script += "true\n"
    ran = lab.script(built, script, cpus=cpus, timeout=420.0 * seconds / SECONDS, append=append)
    complaints = re.findall(r"^!!!.*$", ran.text, re.MULTILINE)
    assert not complaints, "\n".join(complaints)

    def cut(mode: str, name: str) -> Check:
        head = f"<<<{mode} {name}\n"
        found = re.search(rf"{re.escape(head)}(.*?)\n>>>(\d+)\n", ran.text, re.DOTALL)
        if found is None:
            lines = ran.text.partition(head)[2].splitlines()[-60:]
            return Check((*lines, f"({ran.result.outcome}: {ran.result.detail})"), None)
        return Check(tuple(found[1].splitlines()), int(found[2]))

    return {name: tuple(cut(mode, name) for mode in modes) for name in names}


def same(results: Results, name: str) -> Check:
    """Assert that a check holds in both, and says the same; return what it says."""
    normal, kernel = results[name]
    assert normal.status == 0, normal.text
    assert kernel.status == 0, kernel.text
    assert kernel.lines == normal.lines, "\n".join(difflib.ndiff(normal.lines, kernel.lines))
    assert kernel.details, kernel.text
    return kernel
