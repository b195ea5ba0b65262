# SPDX-License-Identifier: GPL-2.0
"""The marker file of an application: an ELF file that describes its executable."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ukl.app.build import build
from ukl.base.model import AppObject, AppSpec, Code, Returns
from ukl.base.progress import Progress
from ukl.elf import described
from ukl.elf.reader import Elf
from ukl.host.store import Store
from ukl.kernel import symbols

pytestmark = pytest.mark.tool

SOURCE = """\
#include <link.h>
#include <stdio.h>

static int each(struct dl_phdr_info *info, size_t size, void *data) { return ++*(int *)data > 9; }
int counted(void) { int n = 0; dl_iterate_phdr(each, &n); return n; }
int main(void) { printf("%d\\n", counted()); return 0; }
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> AppObject:
    place = tmp_path_factory.mktemp("described")
    (place / "app.c").write_text(SOURCE)
    sources = (place / "app.c",)
    spec = AppSpec("app", sources[0], place, sources=sources, cflags=("-g",))
    return build(spec, Store(place / "store"), Progress.quiet())


@pytest.fixture(scope="module")
def marker(app: AppObject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marker") / "app"
    path.write_bytes(symbols.elf_marker("app", bytes(range(20)), app.user))
    return path


def printed(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_the_note_is_where_the_kernel_looks(marker: Path) -> None:
    data = marker.read_bytes()
    note = data[64:144]
    assert note[:16] == b"\4\0\0\0\100\0\0\0\1\0\0\0UKL\0"
    assert note[16:] == symbols.marker("app", bytes(range(20)))
    flagged = symbols.with_flags(data, Returns.RET, Code.JIT)
    assert flagged[:140] + flagged[144:] == data[:140] + data[144:]
    assert flagged[140:144] == b"\7\0\0\0"


def test_readelf_understands_it(app: AppObject, marker: Path) -> None:
    assert re.search(r"UKL +0x00000040", printed("readelf", "-nW", marker))
    assert "DYN (" in printed("readelf", "-hW", marker)
    assert re.search(r"LOAD +0x000000 0x0+401000 ", printed("readelf", "-lW", marker))
    assert printed("readelf", "-sW", marker) == printed("readelf", "-sW", app.user)
    assert "app.c" in printed("readelf", "--debug-dump=decodedline", "-W", marker)


def test_symbolizers_find_function_and_line(app: AppObject, marker: Path) -> None:
    address = hex(Elf.open(app.user).addresses(["counted"])["counted"])
    found = printed("addr2line", "-f", "-e", marker, address).splitlines()
    assert found[0] == "counted"
    assert found[1].endswith("app.c:5")


def test_it_is_small(app: AppObject, marker: Path) -> None:
    assert marker.stat().st_size < app.user.stat().st_size / 3


def test_a_kernel_that_does_not_know_it_refuses_it(marker: Path) -> None:
    marker.chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([marker], check=False)


def test_a_normal_process_has_the_objects_of_the_c_library(app: AppObject, tmp_path: Path) -> None:
    source, plain = tmp_path / "app.c", tmp_path / "plain"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-static", source, "-o", plain], check=True)
    assert printed(app.user) == printed(plain)


@pytest.mark.parametrize("data", [b"", b"resources"])
def test_what_was_appended_stays_where_it_was(app: AppObject, marker: Path, data: bytes) -> None:
    whole = app.user.read_bytes() + data
    end, found = described.appended(Elf(whole))
    assert found == data
    made = described.with_appended(marker.read_bytes(), end, found)
    assert made[end:] == data
    assert made.startswith(marker.read_bytes())
    assert described.with_appended(whole + bytes(100), end, found)[-9:] != bytes(9) or not data
