# SPDX-License-Identifier: GPL-2.0
"""The kernel and the application's text are at another address each boot; data is not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.boot.harness import Built, Lab

LINKED_AT = 0xFFFFFFFF82000000
"""CONFIG_PHYSICAL_START, in the kernel's mapping."""


@dataclass(frozen=True)
class Placed:
    """Where things were in one boot."""

    kernel: int
    text: int
    data: int


def boot(lab: Lab, checks: Built, *words: str) -> Placed:
    ran = lab.script(
        checks,
        "grep -w _text /proc/kallsyms\n"
        "while ! pidof checks >/dev/null; do sleep 0.1; done; sleep 0.5\n"
        "cat /proc/$(pidof checks)/maps",
        start=True,
        args=("hang",),
        append=words,
    )
    kernel = re.search(r"^([0-9a-f]+) T _text", ran.text, re.MULTILINE)
    text = re.search(r"^([0-9a-f]+)-[0-9a-f]+ r-xp .*\[ukl\]", ran.text, re.MULTILINE)
    data = re.search(r"^([0-9a-f]+)-[0-9a-f]+ r--p .*ukl:checks", ran.text, re.MULTILINE)
    assert kernel, ran.text
    assert text, ran.text
    assert data, ran.text
    return Placed(int(kernel[1], 16), int(text[1], 16), int(data[1], 16))


def test_each_boot_has_its_own_addresses(lab: Lab, checks: Built) -> None:
    fixed = boot(lab, checks, "nokaslr")
    assert fixed.kernel == LINKED_AT
    seen = {boot(lab, checks) for _ in range(3)}
    # That three are the same happens once in 200,000 times.
    assert len(seen) > 1, seen
    for placed in seen:
        # Text moves with the kernel, by whole large pages; the data is where it was linked.
        assert placed.text - placed.kernel == fixed.text - fixed.kernel
        assert (placed.kernel - LINKED_AT) % (2 << 20) == 0
        assert placed.data == fixed.data
