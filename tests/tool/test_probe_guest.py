# SPDX-License-Identifier: GPL-2.0
"""The tiny guest: its bytes are those of its source, and it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ukl.base.model import Accelerator
from ukl.host import probe
from ukl.host.exec import run

SOURCE = Path(probe.__file__).with_suffix(".S")


def test_the_bytes_are_the_assembled_source(need: Callable[..., None], tmp_path: Path) -> None:
    need("gcc", "ld")
    run(["gcc", "-c", "-o", "probe.o", SOURCE], cwd=tmp_path)
    link = ["ld", "-Ttext=0xff000", "--oformat", "binary", "-o", "probe.bin", "probe.o"]
    run(link, cwd=tmp_path)
    assert (tmp_path / "probe.bin").read_bytes() == probe.CODE


def test_it_runs_by_emulation(need: Callable[..., None]) -> None:
    need(probe.QEMU)
    assert probe.try_accelerator(probe.QEMU, Accelerator.TCG, timeout=60) == ""


def test_a_changed_instruction_is_found_out(
    need: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the vector addition the answer is wrong, though the guest ends well."""
    need(probe.QEMU)
    paddb = bytes.fromhex("660ffcc0")
    assert probe.CODE.count(paddb) == 1
    monkeypatch.setattr(probe, "CODE", probe.CODE.replace(paddb, b"\x90" * 4))
    assert probe.try_accelerator(probe.QEMU, Accelerator.TCG, timeout=60) != ""
