# SPDX-License-Identifier: GPL-2.0
"""What a program loads is found in its file and in those of its libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.elf.needed import needed, parse_cache

pytestmark = pytest.mark.tool

LISTING = """\
3 libs found in cache `/etc/ld.so.cache'
	libz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1
	libz.so.1 (libc6) => /lib/i386-linux-gnu/libz.so.1
	libz.so.1 (libc6,x86-64, OS ABI: Linux 3.2.0) => /usr/local/lib/libz.so.1
"""


def test_the_cache() -> None:
    assert parse_cache(LISTING) == {"libz.so.1": "/lib/x86_64-linux-gnu/libz.so.1"}


def compiled(directory: Path, name: str, source: str, *words: str) -> Path:
    (directory / f"{name}.c").write_text(source)
    argv = ["gcc", str(directory / f"{name}.c"), "-o", str(directory / name), *words]
    subprocess.run(argv, check=True, cwd=directory)
    return directory / name


def test_libraries_of_libraries(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    compiled(tmp_path, "lib/libinner.so", "int inner(void) { return 1; }", "-shared", "-fPIC")
    compiled(
        tmp_path,
        "lib/libouter.so",
        "int inner(void); int outer(void) { return inner(); }",
        *("-shared", "-fPIC", "-Llib", "-linner", "-Wl,-rpath,$ORIGIN"),
    )
    program = compiled(
        tmp_path,
        "program",
        "int outer(void); int main(void) { return outer(); }",
        *("-Llib", "-louter", "-Wl,-rpath-link,lib", "-Wl,-rpath,$ORIGIN/x/../lib"),
    )
    found = needed(program, {})
    assert found[f"{tmp_path}/lib/libouter.so"] == tmp_path / "lib/libouter.so"
    assert found[f"{tmp_path}/lib/libinner.so"] == tmp_path / "lib/libinner.so"
    assert "/lib64/ld-linux-x86-64.so.2" in found
    assert any(path.endswith("/libc.so.6") for path in found)

    (tmp_path / "lib/libinner.so").unlink()
    with pytest.raises(InputError, match=r"libinner\.so") as caught:
        needed(program, {})
    assert str(caught.value.where) == f"{tmp_path}/lib/libouter.so"


def test_a_static_program_loads_nothing(tmp_path: Path) -> None:
    program = compiled(tmp_path, "static", "int main(void) { return 0; }", "-static")
    assert needed(program, {}) == {}


def test_a_missing_interpreter(tmp_path: Path) -> None:
    source = "int main(void) { return 0; }"
    program = compiled(tmp_path, "odd", source, "-Wl,--dynamic-linker=/lib/ld-nowhere.so.1")
    with pytest.raises(InputError, match=r"/lib/ld-nowhere\.so\.1"):
        needed(program, {})
