# SPDX-License-Identifier: GPL-2.0
"""measuring.py: turns, and the verdict about the cost. What it measures is in tests/boot."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ukl.base.model import AppObject, AppSpec, Image, KernelBuild, ObjectFacts
from ukl.bench.variants import VARIANTS
from ukl.cli.app import app
from ukl.flow import measuring
from ukl.flow.bootable import Bootable

FACTS = ObjectFacts(0, 0, 0, 0, 0, 0, (), (), 0)
APP = AppObject("x", Path(), Path(), FACTS, "key")
KERNEL = KernelBuild("key", Path(), Path(), "6.12", 0)
IMAGE = Image("x", Path(), Path(), Path(), Path(), None, b"", "key")


def test_each_round_has_each_variant_once_and_begins_with_another() -> None:
    spec = AppSpec("x", Path(), Path())
    made = Bootable(spec, APP, KERNEL, IMAGE, Path())
    first = measuring._Prepared(VARIANTS[0], spec, made)
    prepared = [replace(first, variant=variant) for variant in VARIANTS]
    size = len(prepared)
    turns = [each.variant.name for each in measuring._interleaved(prepared, size)]
    rounds = [turns[place : place + size] for place in range(0, len(turns), size)]
    assert all(set(names) == {variant.name for variant in VARIANTS} for names in rounds)
    assert Counter(names[0] for names in rounds) == Counter(each.name for each in VARIANTS)


@pytest.mark.parametrize(("process", "code"), [(199.0, 0), (203.0, 0), (203.5, 1), (204.0, 1)])
def test_the_cost_fails_above_three_instructions(
    monkeypatch: pytest.MonkeyPatch, process: float, code: int
) -> None:
    figures = {"unpatched": 200.0, "process": process}
    monkeypatch.setattr(measuring, "cost", lambda *_, **__: figures)
    done = CliRunner().invoke(app, ["kernel", "cost"])
    assert done.exit_code == code
    assert ("TOO MANY" in done.stdout) == bool(code)
    done = CliRunner().invoke(app, ["kernel", "cost", "--json"])
    assert done.exit_code == code
    assert json.loads(done.stdout) == {**figures, "limit": 3, "good": not code}
