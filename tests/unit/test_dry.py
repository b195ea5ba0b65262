# SPDX-License-Identifier: GPL-2.0
"""`--dry-run`: a cache that makes nothing, and steps that a shell would take."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukl.flow import dry
from ukl.flow.dry import DryStore, NotBuilt, Step
from ukl.host.store import Command, Store


def never(directory: Path) -> None:
    raise AssertionError("nothing is to be built")


def commands(directory: Path) -> list[Command]:
    return [Command(("cc", "-o", str(directory / "out")), Path("/a b"))]


def test_what_is_there_is_taken(tmp_path: Path) -> None:
    made = Store(tmp_path).make("initrd", "key", {}, lambda out: (out / "x").touch())
    store = DryStore(tmp_path)
    for _ in range(2):
        assert store.make("initrd", "key", {"name": "web"}, never) == made
    assert store.steps == [Step("initrd web", made, cached=True)]


def test_what_is_not_there_is_planned_and_not_made(tmp_path: Path) -> None:
    store = DryStore(tmp_path / "cache")
    with pytest.raises(NotBuilt):
        store.make("image", "key", {"name": "web"}, never, commands)
    # A compiled file's place is enough to go on.
    place = store.make("object", "key", {"source": "a.c"}, never, commands)
    [image, unit] = store.steps
    assert (image.title, image.cached, unit.title) == ("link vmlinux", False, "compile a.c")
    assert unit.commands == (Command(("cc", "-o", str(place / "out")), Path("/a b")),)
    assert not (tmp_path / "cache").exists()


def test_steps_as_a_shell_takes_them() -> None:
    steps = [
        Step("one", Path("/c/one"), cached=True),
        Step("two", Path("/c/two"), commands=(Command(("cc", "x y.c"), Path("/a b")),)),
        Step("three", commands=(Command(("qemu", "-m", "1k")),), note="a machine"),
        Step("four", Path("/c/four")),
    ]
    assert dry.text(steps) == [
        "# one: cached",
        "# two -> /c/two",
        "(cd '/a b' && cc 'x y.c')",
        "# three: a machine",
        "qemu -m 1k",
        "# four -> /c/four: to be built",
    ]
