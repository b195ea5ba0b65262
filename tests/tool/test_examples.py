# SPDX-License-Identifier: GPL-2.0
"""Every example with sources of its own builds, and runs as a normal process.

Recipes need a source package and minutes: tests/tool/test_recipe_build.py has the way, and
tests/boot and tests/apps have the recipes themselves.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ukl.app.build import build
from ukl.base import resources
from ukl.base.model import AppObject
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.settings import manifest

EXAMPLES = sorted(
    path.parent
    for path in resources.path("examples").glob("*/ukl.toml")
    if manifest.load(path.parent).build is None
)


def example(name: str, store: Store) -> AppObject:
    spec = manifest.load(resources.path(f"examples/{name}"))
    return build(spec, store, Progress.quiet())


def output(app: AppObject, *args: str, status: int = 0) -> str:
    done = subprocess.run(
        [app.user, *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"MARK": "x y"},
    )
    assert done.returncode == status, done
    return done.stdout


@pytest.mark.parametrize("directory", EXAMPLES, ids=lambda path: path.name)
def test_it_builds_without_a_warning(directory: Path, store: Store) -> None:
    spec = manifest.load(directory)
    assert spec.name == directory.name
    app = build(spec, store, Progress.quiet())
    for log in store.root.glob("object/*/compile.log"):
        assert "warning" not in log.read_text()
    assert app.facts.text_size > 0


def test_hello(store: Store) -> None:
    text = output(example("hello", store), "7", status=7)
    assert "Hello from user mode." in text
    assert "argv[1]: 7\n" in text
    assert "env: MARK=x y\n" in text


def test_ring0_is_polite_in_user_mode(store: Store) -> None:
    text = output(example("ring0", store))
    assert "privilege level 3 (user mode)" in text
    assert "CR0" not in text
    assert "[stack]" in text
    # The map shows what the linker script promises, relocation read-only included.
    modes = [line.split()[1] for line in text.splitlines() if line.endswith("/user")]
    assert modes[:5] == ["r--p", "r-xp", "r--p", "r--p", "rw-p"]
