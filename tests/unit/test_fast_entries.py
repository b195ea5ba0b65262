# SPDX-License-Identifier: GPL-2.0
"""Kernel and partial link agree on which entries of fast calls keep rdx."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import TOP
from ukl.elf.names import FAST_NUMBERS, SHORT

KERNEL = TOP / "kernel/overlay/arch/x86"
NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")

KERNEL_NAMES = {"newstat": "stat", "newfstat": "fstat", "newlstat": "lstat"}
"""Implementations that are called otherwise than their system calls."""


def numbers() -> dict[str, int]:
    if not NUMBERS.exists():
        pytest.skip("optional: no libc6-dev on this machine")
    found = re.findall(r"#define __NR_(\w+) (\d+)", NUMBERS.read_text())
    return {name: int(number) for name, number in found}


def test_calls_of_fewer_than_three_arguments() -> None:
    listed = re.findall(
        r"^UKL_ARGS\(sys_(\w+), [012]\)$", (KERNEL / "ukl/fast-args.h").read_text(), re.M
    )
    assert len(listed) > 40
    known = numbers()
    assert {known[KERNEL_NAMES.get(name, name)] for name in listed} == set(SHORT)


def test_every_number_has_an_entry() -> None:
    text = (KERNEL / "include/asm/ukl_fast.h").read_text()
    assert f"UKL_FAST_CALLS\t\t{len(FAST_NUMBERS)}\n" in text
    assert max(numbers().values()) in FAST_NUMBERS
