# SPDX-License-Identifier: GPL-2.0
"""The profile `tiny`: how small the kernel is, and with how little memory it runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import Lab
from ukl import manifest

SIZE = 2 << 20
"""Bytes of a bzImage with hello in it."""

MEMORY = 26 << 20


@pytest.mark.timeout(1800)  # it may be the first that builds this kernel
def test_hello_in_a_small_kernel(lab: Lab) -> None:
    spec = replace(manifest.resolve("hello"), kernel_profile="tiny", memory=MEMORY)
    built = Lab(lab.store, lab.accelerator, lab.runs).build(spec)
    assert built.image.bzimage.stat().st_size <= SIZE
    assert not built.image.relocatable
    ran = lab.run(built)
    assert ran.error is None, ran.text
    assert "Hello from supervisor mode." in ran.text
    assert "-ukl-tiny" in ran.text
