# SPDX-License-Identifier: GPL-2.0
"""A program that runs as it is brings its files into the guest, and is recognised."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ukl.app import as_is
from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Code, Returns
from ukl.base.progress import Progress
from ukl.flow import bootable
from ukl.flow.context import Context
from ukl.host.store import Store
from ukl.image import initrd
from ukl.kernel import symbols
from ukl.settings import manifest

pytestmark = pytest.mark.tool


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A dynamic program of this machine's compiler."""
    (tmp_path / "prog.c").write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "prog.c", "-o", "prog"], check=True, cwd=tmp_path)
    return tmp_path / "prog"


def test_what_the_guest_gets(program: Path, store: Store) -> None:
    spec = manifest.resolve(str(program))
    assert as_is.is_as_is(spec, store)
    found = as_is.prepared(spec)
    assert found.executable == "/usr/local/bin/prog"
    assert found.files["/usr/local/bin/prog"] == program
    assert found.files["/lib64/ld-linux-x86-64.so.2"].is_file()
    assert any(path.endswith("/libc.so.6") for path in found.files)
    assert any(path.endswith("/libgcc_s.so.1") for path in found.files)  # which glibc opens


def test_a_program_of_the_system_keeps_its_path() -> None:
    assert as_is.guest_path(Path("/usr/bin/perl")) == "/usr/bin/perl"
    assert as_is.guest_path(Path("/home/me/usr/bin/perl")) == "/usr/local/bin/perl"


def test_a_link_leads_to_the_program(program: Path) -> None:
    link = program.parent / "link"
    link.symlink_to(program)
    (program.parent / "x").mkdir()
    found = as_is.prepared(manifest.resolve(str(link)))
    assert (found.executable, found.invoked) == ("/usr/local/bin/prog", "/usr/local/bin/link")
    above = replace(manifest.resolve(str(link)), program=program.parent / "x/../link")
    assert as_is.prepared(above).invoked == "/usr/local/bin/link"
    assert initrd.argument_vector(found, "/ukl/link") == ("/usr/local/bin/link",)
    assert as_is.prepared(manifest.resolve(str(program))).invoked == ""


def test_files_bring_what_they_need(program: Path, tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "readme").write_text("no program")
    source = "#include <math.h>\ndouble f(double x) { return cbrt(x); }\n"
    (tmp_path / "plug.c").write_text(source)
    words = ["-shared", "-fPIC", "-o", "plugins/plug.so", "plug.c", "-Wl,--no-as-needed", "-lm"]
    subprocess.run(["gcc", *words], check=True, cwd=tmp_path)
    spec = AppSpec("prog", program, tmp_path, program=program, files={"/plugins": plugins})
    assert any(path.endswith("/libm.so.6") for path in as_is.prepared(spec).files)


def test_a_given_library_is_the_one_that_is_needed(tmp_path: Path) -> None:
    (tmp_path / "own.c").write_text("int own(void) { return 0; }")
    (tmp_path / "main.c").write_text("int own(void); int main(void) { return own(); }")
    words = ["-shared", "-Wl,-soname,libown.so.1", "own.c", "-o", "libown.so"]
    for each in (words, ["main.c", "-o", "needs", "libown.so"]):
        subprocess.run(["gcc", *each], check=True, cwd=tmp_path)
    spec = AppSpec("needs", tmp_path / "needs", tmp_path, program=tmp_path / "needs")
    with pytest.raises(InputError, match=r"needs libown\.so\.1"):
        as_is.prepared(spec)
    for path in ("/usr/lib/libown.so.1", "/opt/lib/libown.so.1"):  # LD_LIBRARY_PATH may lead there
        found = as_is.prepared(replace(spec, files={path: tmp_path / "libown.so"}))
        assert found.files[path] == tmp_path / "libown.so"


def test_a_given_path_is_that_of_the_program(program: Path) -> None:
    spec = manifest.resolve(str(program))
    found = as_is.prepared(replace(spec, files={"/usr/lib/p/1/bin/prog": program}))
    assert found.executable == "/usr/lib/p/1/bin/prog"
    assert "/usr/local/bin/prog" not in found.files


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("--lto", {"lto": True}),
        ("--with", {"with_": (AppSpec("other", Path("other"), Path()),)}),
        ("--populate", {"populate": True}),
    ],
)
def test_what_only_a_link_can_do_is_refused(
    program: Path, store: Store, option: str, settings: dict[str, Any]
) -> None:
    spec = replace(manifest.resolve(str(program)), **settings)
    with pytest.raises(InputError, match=option):
        bootable.linked(spec, Context(store, Progress.quiet()))


def test_an_object_is_not_a_program(tmp_path: Path, store: Store) -> None:
    (tmp_path / "one.c").write_text("int one(void) { return 1; }")
    subprocess.run(["gcc", "-c", "one.c"], check=True, cwd=tmp_path)
    spec = AppSpec("one", tmp_path, tmp_path, program=tmp_path / "one.o")
    assert not as_is.is_as_is(spec, store)


def test_markers() -> None:
    """The kernel's struct ukl_program_marker."""
    empty = symbols.program_marker("/usr/bin/perl")
    assert len(empty) == 252
    assert empty[:8] == b"\177UKP\1\0\0\0"
    assert empty[12:].rstrip(b"\0") == b"/usr/bin/perl"
    flags = {
        (returns, code): symbols.with_flags(empty, returns, code)[8]
        for returns in Returns
        for code in Code
    }
    assert flags[Returns.IRET, Code.NONE] == flags[Returns.IRET, Code.FILES] == 2
    assert flags[Returns.RET, Code.JIT] == 7
    assert flags[Returns.IRET, Code.WX] == 14
    linked = symbols.marker("app", bytes(20))
    assert symbols.with_flags(linked, Returns.IRET, Code.JIT)[60] == 6
    assert len(symbols.with_flags(linked, Returns.RET, Code.NONE)) == 64
    for path in ("usr/bin/perl", "/" + "x" * 239):
        with pytest.raises(InputError, match="shorter than 240"):
            symbols.program_marker(path)
