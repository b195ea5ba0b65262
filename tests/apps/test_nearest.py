# SPDX-License-Identifier: GPL-2.0
"""A kernel that is compiled from another one's objects is the kernel from nothing, in each byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from ukl.flow import kernel
from ukl.kernel import nearest

FILES = ("vmlinux", "System.map", "arch/x86/boot/bzImage", ".config")
OPTION = {"CONFIG_DUMMY": "y"}


def contents(entry: Path) -> dict[str, bytes]:
    return {name: (entry / "objects" / name).read_bytes() for name in FILES}


@pytest.mark.timeout(3600)
def test_the_same_kernel(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.build(kernel.Wanted(), lab.context)
    wanted = replace(kernel.Wanted(), options=OPTION)
    found = kernel.build(wanted, lab.context)
    made = contents(found.directory)
    lab.store.discard("kernel", found.key)
    monkeypatch.setattr(nearest, "find", lambda *_: None)
    again = kernel.build(wanted, lab.context)
    assert again.key == found.key
    for name, content in contents(again.directory).items():
        assert content == made[name], name
    lab.store.discard("kernel", found.key)  # the next run has to begin with the other one
