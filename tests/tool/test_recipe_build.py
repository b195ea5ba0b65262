# SPDX-License-Identifier: GPL-2.0
"""Recipes are built by their own build system: once per content, whole or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.app import captured
from ukl.base.errors import InputError, MissingError, UklError
from ukl.base.model import AppSpec
from ukl.base.progress import Progress
from ukl.flow.bootable import prepared
from ukl.flow.context import Context
from ukl.host import exec as host_exec
from ukl.host.store import Store
from ukl.recipe import build, fetch
from ukl.settings import manifest

MAIN = r"""
#include <stdio.h>
#include "text.h"
#include "level.h"
int main(void) { printf("%s %d\n", TEXT, LEVEL); return 0; }
"""
MAKEFILE = """
out/prog: main.c text.h
	mkdir -p out
	$(CC) -O2 -DLEVEL=$(LEVEL) -o $@ main.c
"""
RECIPE = """
[build]
source = { directory = "src" }
commands = ["make -j$JOBS CC=$CC"]
program = "out/prog"
env = { LEVEL = "3" }
patches = ["fix.patch"]
overlay = ["level.h"]
files = { "/etc/text.h" = "text.h" }
"""
PATCH = """
--- a/text.h
+++ b/text.h
@@ -1 +1 @@
-#define TEXT "plain"
+#define TEXT "patched"
"""


@pytest.fixture
def project(tmp_path: Path, need: Callable[..., None]) -> Path:
    need("gcc", "make", "patch")
    directory = tmp_path / "prog"
    (directory / "src" / ".git").mkdir(parents=True)
    (directory / "src" / "main.c").write_text(MAIN)
    (directory / "src" / "text.h").write_text('#define TEXT "plain"\n')
    (directory / "src" / "Makefile").write_text(MAKEFILE)
    (directory / "src" / "link").symlink_to("nowhere")
    (directory / "fix.patch").write_text(PATCH)
    (directory / "level.h").write_text("#ifndef LEVEL\n#error no level\n#endif\n")
    (directory / "ukl.toml").write_text(RECIPE)
    return directory


def made(project: Path, store: Store) -> AppSpec:
    return build.prepared(manifest.load(project), store, Progress.quiet())


def nothing_half_made(store: Store) -> bool:
    return not any(store.root.glob("recipe*/.*"))


def test_a_directory_is_built(project: Path, store: Store, progress: Progress) -> None:
    spec = made(project, store)
    assert spec.build is None
    assert spec.program is not None
    assert spec.files["/etc/text.h"].read_text() == '#define TEXT "patched"\n'
    run = subprocess.run([spec.program], capture_output=True, text=True, check=True)
    assert run.stdout == "patched 3\n"
    # It has its unikernel form, and that is an application like any other.
    app = captured.build(spec, store, progress)
    run = subprocess.run([app.user], capture_output=True, text=True, check=True)
    assert run.stdout == "patched 3\n"
    # The source is as it was, and a second time nothing is built.
    assert not (project / "src" / "out").exists()
    before = spec.program.stat().st_ino
    again = made(project, store)
    assert again.program == spec.program
    assert again.program.stat().st_ino == before


def test_what_changes_makes_another(project: Path, store: Store) -> None:
    first = made(project, store).program
    (project / "src" / ".git" / "HEAD").write_text("no part of it")
    assert made(project, store).program == first
    (project / "src" / "main.c").write_text(MAIN.replace("%s", "<%s>"))
    second = made(project, store).program
    assert second != first
    (project / "ukl.toml").write_text(RECIPE.replace('"3"', '"4"'))
    third = made(project, store).program
    assert third not in {first, second}
    run = subprocess.run([str(third)], capture_output=True, text=True, check=True)
    assert run.stdout == "<patched> 4\n"


def test_a_command_that_fails(project: Path, store: Store) -> None:
    (project / "src" / "main.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(InputError) as caught:
        made(project, store)
    assert "`make" in caught.value.message
    assert "nothing" in caught.value.message
    assert caught.value.where == str(project / "ukl.toml")
    assert caught.value.log is not None
    assert "nothing" in caught.value.log.read_text()
    assert nothing_half_made(store)


def test_a_program_that_is_not_made(project: Path, store: Store) -> None:
    (project / "ukl.toml").write_text(RECIPE.replace("out/prog", "out/other"))
    with pytest.raises(InputError, match="did not make out/other") as caught:
        made(project, store)
    assert caught.value.remedy


def test_a_program_without_a_unikernel_form_is_not_kept(project: Path, store: Store) -> None:
    (project / "ukl.toml").write_text(RECIPE.replace('"3" }', '"3", UKL_WRAP_SKIP = "prog" }'))
    with pytest.raises(InputError, match="out/prog has no unikernel form") as caught:
        made(project, store)
    assert "UKL_WRAP_SKIP" in str(caught.value.remedy)
    assert not [*(store.root / build.KIND).glob("*")]


def test_a_patch_that_does_not_apply(project: Path, store: Store) -> None:
    (project / "fix.patch").write_text(PATCH.replace("plain", "something else"))
    with pytest.raises(InputError, match=r"patch fix\.patch"):
        made(project, store)
    (project / "fix.patch").unlink()
    with pytest.raises(InputError, match="no such patch"):
        made(project, store)


def test_ctrl_c_leaves_nothing(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = host_exec.run

    def interrupted(argv: list[str], **options: object) -> host_exec.Completed:
        if argv[0] == "sh":
            raise KeyboardInterrupt
        return run(argv, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(host_exec, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(project, store)
    assert nothing_half_made(store)
    monkeypatch.undo()
    assert made(project, store).program is not None


def test_a_tarball(project: Path, store: Store, tmp_path: Path) -> None:
    tarball = tmp_path / "prog-1.tar.gz"
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(project / "src", "prog-1")
    good = hashlib.sha256(tarball.read_bytes()).hexdigest()
    source = f'url = "file://{tarball}", sha256 = "%s"'
    text = RECIPE.replace('directory = "src"', source)
    (project / "ukl.toml").write_text(text % ("0" * 64))
    with pytest.raises(InputError, match=good):
        made(project, store)
    (project / "ukl.toml").write_text(text % good)
    assert made(project, store).program is not None
    tarball.unlink()
    (project / "fix.patch").write_text(PATCH.replace("patched", "again"))
    assert made(project, store).program is not None  # not downloaded again


@pytest.mark.parametrize("content", [b"no tarball", b""])
def test_what_is_no_tarball(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "source.tar").write_bytes(content)
    with pytest.raises(InputError, match="not a tarball"):
        fetch._extract(tmp_path / "source.tar", tmp_path / "tree", "https://host/x")


def test_an_address_that_does_not_answer(project: Path, store: Store) -> None:
    source = f'url = "http://127.0.0.1:9/x.tar", sha256 = "{"0" * 64}"'
    (project / "ukl.toml").write_text(RECIPE.replace('directory = "src"', source))
    with pytest.raises(UklError, match="could not be downloaded") as caught:
        made(project, store)
    assert caught.value.remedy


def test_only_inputs_count(project: Path, store: Store) -> None:
    chosen = '"src", inputs = ["*.c", "text.h", "Makefile"]'
    (project / "ukl.toml").write_text(RECIPE.replace('"src"', chosen))
    first = made(project, store).program
    (project / "src" / "notes").write_text("no input")
    assert made(project, store).program == first


def test_packages_that_are_missing(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKL_NO_INSTALL", "1")
    spec = manifest.load(project)
    assert spec.build is not None
    wanted = replace(spec, build=replace(spec.build, packages=("libnobody-dev", "libc6")))
    with pytest.raises(MissingError, match="libnobody-dev") as caught:
        prepared(wanted, Context(store, Progress.quiet()))
    assert caught.value.remedy is not None
    assert caught.value.remedy.endswith("install --no-install-recommends libnobody-dev")
