# SPDX-License-Identifier: GPL-2.0
"""Runs programs/fuzz: applications in the kernel, and processes of a user that are after them."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.boot import matrix
from tests.boot.harness import PROGRAMS, Built, Lab, Ran
from ukl.base.model import Outcome
from ukl.kernel import symbols
from ukl.settings import manifest

CPUS = 4

MEMORY = 768 << 20
"""Bytes: a kernel that checks itself keeps freed memory, and a byte for eight."""

LINES = 150
"""So many of the console's last are shown of a run that failed."""


# The marker file is where the program looks for it, whatever this kernel's application is called.
SETUP = "[ $UKL = /ukl/fuzz ] || cp $UKL /ukl/fuzz\n"


@dataclass(frozen=True)
class Fuzzed:
    """A run, and the number that decides what is tried in it."""

    ran: Ran
    seed: int

    @property
    def text(self) -> str:
        """What is needed to see what happened, and to have it happen again; the first line is
        what a summary of many tests shows."""
        found = [each for each in self.ran.lines if each.startswith(("found ", "!!! "))]
        ended = f"{self.ran.result.outcome} {self.ran.result.detail}".strip()
        last = "\n".join(self.ran.lines[-LINES:])
        return f"{'; '.join([*found[:3], ended])}; seed {self.seed:#x}\n{last}"


def build(lab: Lab, name: str, options: Mapping[str, str], profile: str = "") -> Built:
    """Return the program; `name` tells kernels apart."""
    spec = manifest.load(PROGRAMS / "fuzz")
    return lab.build(
        replace(spec, name=name, memory=MEMORY, kernel_options=options, profile=profile)
    )


def new_seed() -> int:
    """Return the seed that UKL_FUZZ_SEED asks for, or another one each time."""
    asked = os.environ.get("UKL_FUZZ_SEED")
    return int(asked, 0) if asked else random.getrandbits(48)


def run(
    lab: Lab, built: Built, seconds: int, *, seed: int, actions: tuple[str, ...] = ()
) -> Fuzzed:
    """Attack for so long, with all that there is or with these actions; `none`: not at all.

    The guest may take several times that on a busy machine, and does, if until then not each
    action was done.
    """
    text = symbols.read_map(built.image.system_map)["_text"][0]
    setup = SETUP + f"export LINKED={text:x}\n"
    words = ("$USER", "supervise", f"{seconds}", f"{seed:#x}", f"'{matrix.COMPLAINTS}'", *actions)
    script = setup + " ".join(words) + "\n"
    return Fuzzed(lab.script(built, script, cpus=CPUS, timeout=900.0 + 12 * seconds), seed)


def judge(fuzzed: Fuzzed) -> dict[str, int]:
    """Assert that nothing was found; return how often each action was done."""
    ran = fuzzed.ran
    assert ran.result.outcome is Outcome.EXITED, fuzzed.text
    assert ran.result.status == 0, fuzzed.text
    assert "verdict: held" in ran.lines, fuzzed.text
    # The kernel's complaints have been looked for while it ran.
    assert "!!!" not in ran.text, fuzzed.text
    found = re.findall(r"^action (\S+) (\d+), ", ran.text, re.MULTILINE)
    return {name: int(count) for name, count in found}
