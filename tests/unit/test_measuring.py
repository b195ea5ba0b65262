# SPDX-License-Identifier: GPL-2.0
"""measuring.py: turns, and the verdict about the cost. What it measures is in tests/boot."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ukl.app import as_is
from ukl.base.errors import UsageError
from ukl.base.model import AppObject, AppSpec, Image, KernelBuild, ObjectFacts
from ukl.base.progress import Progress
from ukl.bench.suites import SUITES
from ukl.bench.variants import VARIANTS, chosen
from ukl.cli.app import app
from ukl.elf.reader import Elf
from ukl.flow import measuring
from ukl.flow.bootable import Bootable
from ukl.flow.context import Context
from ukl.host.store import Store

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


def test_the_kernels_of_all_variants_are_known_beforehand(store: Store) -> None:
    wanted = measuring.Wanted(variants=tuple(VARIANTS[:3]), meters=())
    lab = measuring._Lab(wanted, Context(store, Progress.quiet()), {})
    for suite in SUITES:
        found = list(measuring._kernels(lab, [suite]))
        assert [each.patched for each in found] == [False, True, True], suite.name


@pytest.mark.parametrize("name", ["redis", "redis-shortcut"])
def test_a_server_runs_as_it_is_only_where_it_is_installed(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    suite = next(each for each in SUITES if each.name == name)
    wanted = measuring.Wanted(variants=chosen(["base", "dynamic", "as-is"]), meters=())
    lab = measuring._Lab(wanted, Context(store, Progress.quiet()), {})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [each.name for each in measuring._variants(lab, suite)] == ["base"]
    alone = replace(lab, wanted=replace(wanted, variants=chosen(["as-is"])))
    with pytest.raises(UsageError, match=f"`{name}` has no program"):
        measuring._measured(alone, [suite])
    assert measuring._measured(alone, SUITES) != [*SUITES]
    (tmp_path / "redis-server").write_text("")
    (tmp_path / "redis-server").chmod(0o755)
    found = [each.name for each in measuring._variants(lab, suite)]
    assert found == (["base", "dynamic", "as-is"] if name == "redis" else ["base"])


@pytest.mark.process
def test_as_it_is_a_program_is_dynamic(store: Store) -> None:
    suite = next(each for each in SUITES if each.name == "boot")
    [variant] = chosen(["as-is"])
    lab = measuring._Lab(measuring.Wanted((variant,), ()), Context(store, Progress.quiet()), {})
    spec = measuring._spec(lab, suite, variant)
    assert spec.program is not None
    assert as_is.is_as_is(spec, store)
    assert Elf.open(spec.program).section(".interp") is not None
