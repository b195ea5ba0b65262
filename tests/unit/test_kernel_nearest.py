# SPDX-License-Identifier: GPL-2.0
"""A kernel build that begins with the objects of another one, or of an interrupted one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ukl.host.store import Store
from ukl.kernel import nearest

COMPILER = {"gcc": "gcc 12", "ld": "ld 2.40", "as": "as 2.40"}
A, B, C, D = (f"{number:032x}" for number in range(4))


def inputs(*options: str, tree: str = "tree") -> dict[str, object]:
    return {"tree": tree, "version": "6.12", "compiler": COMPILER, "options": [*options]}


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Store]:
    store = Store(tmp_path / "store")

    def make(key: str, **given: object) -> Store:
        def work(out: Path) -> None:
            (out / "objects").mkdir()
            (out / "objects/.a.o.cmd").write_text(f"cc -I/tree/.{key}.objects/objects a.c\n")
            (out / "objects/a.o").write_text(key)

        store.make("kernel", key, given, work)
        return store

    return make


def test_most_of_the_options_are_nearest(put: Callable[..., Store]) -> None:
    put(A, **inputs("CONFIG_A=y"))
    put(B, **inputs("CONFIG_A=y", "CONFIG_B=y"))
    store = put(C, **inputs("CONFIG_A=y", "CONFIG_B=y", "CONFIG_C=y", tree="other"))
    found = nearest.find(inputs("CONFIG_A=y", "CONFIG_B=y", "CONFIG_C=y"), store)
    assert found is not None
    assert found.name == B
    # Objects of an option that is off would be left.
    assert nearest.find(inputs("CONFIG_B=y"), store) is None
    assert nearest.find(inputs("CONFIG_A=y", tree="new"), store) is None
    assert nearest.find({**inputs("CONFIG_A=y"), "compiler": {"gcc": "gcc 13"}}, store) is None


def test_the_recorded_commands_name_the_new_directory(
    put: Callable[..., Store], tmp_path: Path
) -> None:
    store = put(A, **inputs("CONFIG_A=y"))
    work = tmp_path / f".{D}.objects"
    nearest.copy(store.place("kernel", A), work / "objects")
    assert (work / "objects/.a.o.cmd").read_text() == f"cc -I/tree/.{D}.objects/objects a.c\n"
    assert (work / "objects/a.o").read_text() == A
    time = (store.place("kernel", A) / "objects/a.o").stat().st_mtime_ns
    assert (work / "objects/a.o").stat().st_mtime_ns == time


def stop(work: Path, error: BaseException) -> None:
    with nearest.workplace(work):
        nearest.from_nothing(work)
        (work / "a.o").touch()
        raise error


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    work = tmp_path / ".objects"
    with pytest.raises(KeyboardInterrupt):
        stop(work, KeyboardInterrupt())
    with nearest.workplace(work) as continued:
        assert continued
        assert (work / "a.o").exists()
    assert not work.exists()


def test_what_failed_does_not_go_on(tmp_path: Path) -> None:
    work = tmp_path / ".objects"
    with pytest.raises(OSError, match="failed"):
        stop(work, OSError("failed"))
    assert not work.exists()


@pytest.mark.parametrize("copied", [True, False])
def test_a_killed_build_goes_on_if_no_object_can_be_cut_off(tmp_path: Path, copied: bool) -> None:
    work = tmp_path / ".objects"
    work.mkdir()
    (work / "a.o").touch()
    if not copied:
        nearest.from_nothing(work)
    with nearest.workplace(work) as continued:
        assert continued is not copied
        assert (work / "a.o").exists() is not copied
