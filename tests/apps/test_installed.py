# SPDX-License-Identifier: GPL-2.0
"""The suites of the recipes, against the programs of Debian's binary packages, as they are.

The packages are unpacked into the cache; nothing is installed. Each suite runs against the program
in ring 0 and as a normal process, and no test may differ.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from tests.conftest import OPTIONAL
from ukl.base.model import AppSpec, Code, Guest, Mode, SuiteSpec
from ukl.flow import compare
from ukl.flow.bootable import bootable, prepared
from ukl.recipe import build as recipe_build
from ukl.recipe import newest
from ukl.settings import manifest

LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Server:
    """A program of Debian: its packages, and where it is. `files` are further files of these,
    path in the guest -> path in the packages; `args` follow those of the recipe."""

    packages: tuple[str, ...]
    program: str
    files: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()


SERVERS = {
    "redis": Server(
        ("redis-server", "redis-tools", "libjemalloc2", "liblzf1"), "usr/bin/redis-server"
    ),
    "memcached": Server(("memcached",), "usr/bin/memcached"),
    "nginx": Server(
        ("nginx", "nginx-common"),
        "usr/sbin/nginx",
        {"/var/lib/nginx": "var/lib/nginx"},
        ("-g", "pcre_jit on;"),
    ),
    "sqlite": Server(("sqlite3",), "usr/bin/sqlite3"),
}


def unpacked(lab: Lab, name: str, packages: tuple[str, ...]) -> Path:
    """Return a directory with the files of Debian packages; skips where they cannot be had."""
    if shutil.which("apt-get") is None:
        pytest.skip(f"{OPTIONAL} not a Debian system")
    top = lab.store.own("debian-packages") / name
    if not top.is_dir():
        made = top.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for package in packages:
            got = subprocess.run(
                ["apt-get", "-q", "download", package], cwd=made, capture_output=True, check=False
            )
            if got.returncode != 0:
                pytest.skip(f"{OPTIONAL} {package} could not be downloaded")
        for file in sorted(made.glob("*.deb")):
            subprocess.run(["dpkg", "-x", file, made], check=True)
            file.unlink()
        made.rename(top)
    return top


def installed(lab: Lab, spec: AppSpec, server: Server) -> AppSpec:
    """Return the recipe with the packages' program in the place of its own."""
    assert spec.suite is not None
    top = unpacked(lab, spec.name, server.packages)
    libraries = {f"/{LIBRARIES}/{file.name}": file for file in (top / LIBRARIES).glob("lib*.so.*")}
    more = {guest: top / path for guest, path in server.files.items()}
    return replace(
        spec,
        build=None,
        program=top / server.program,
        files={**libraries, **spec.files, **spec.suite.files, **more},
        args=(*spec.args, *server.args),
        code=Code.JIT,
    )


def built_tree(lab: Lab, spec: AppSpec) -> Path:
    """Return the built source of a recipe, in which its suite runs."""
    assert spec.build is not None
    return recipe_build.tree_of(prepared(spec, lab.context), spec.build)


def compared(lab: Lab, spec: AppSpec, suite: SuiteSpec, tree: Path) -> None:
    """Run a suite against a program in both modes; fail unless all passes in both."""
    made = bootable(spec, lab.context, Guest(mode=Mode.PROCESS))
    assert made.spec.executable
    runner = compare._Lab(made, suite, lab.context, quick=False, watch=None)
    results = {
        mode: runner.runs(mode) if suite.runs else runner.commands(mode, tree) for mode in Mode
    }
    found = compare.Comparison(f"{spec.name} as it is", results)
    text = "\n".join(compare.table(found))
    print(text)
    assert found.is_good, text


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", SERVERS)
def test_suite(lab: Lab, name: str) -> None:
    spec = newest.named(manifest.resolve(name))
    assert spec.suite is not None
    compared(lab, installed(lab, spec, SERVERS[name]), spec.suite, built_tree(lab, spec))
