# SPDX-License-Identifier: GPL-2.0
"""Files that cannot run as programs: one line with the reason, and nothing is left behind."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ukl.base.errors import ExitCode, InputError
from ukl.base.progress import Progress
from ukl.flow import bootable
from ukl.flow.context import Context
from ukl.host import packages
from ukl.host.store import Store
from ukl.settings import manifest

pytestmark = pytest.mark.tool

LOADER = b"/lib64/ld-linux-x86-64.so.2"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a dynamic program."""
    top = tmp_path_factory.mktemp("good")
    (top / "good.c").write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "good.c", "-o", "good"], check=True, cwd=top)
    return (top / "good").read_bytes()


def changed(layout: str, offset: int, value: int) -> Callable[[bytes], bytes]:
    """Return what replaces one number of the ELF header."""

    def change(data: bytes) -> bytes:
        found = bytearray(data)
        struct.pack_into(layout, found, offset, value)
        return bytes(found)

    return change


LOAD, DYNAMIC, INTERPRETER = 1, 2, 3
OFFSET, ADDRESS, FILE_SIZE, MEMORY_SIZE = 8, 16, 32, 40
"""Where the numbers of a program header are in it."""


def header(kind: int, which: int, field: int, value: int) -> Callable[[bytes], bytes]:
    """Return what replaces one number of a program header, the `which`-th of a kind."""

    def change(data: bytes) -> bytes:
        (start,), (count,) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<H", data, 56)
        places = range(start, start + count * 56, 56)
        found = [place for place in places if struct.unpack_from("<I", data, place)[0] == kind]
        return changed("<Q", found[which] + field, value)(data)

    return change


HEADERS = "program headers are damaged"

CASES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "text": (lambda data: b"#!/bin/sh\necho x\n", "neither a ukl.toml nor a C file"),
    "empty": (lambda data: b"", "neither a ukl.toml nor a C file"),
    "magic-alone": (lambda data: data[:4], "not an ELF file that can be read"),
    "header-cut-off": (lambda data: data[:40], "not an ELF file that can be read"),
    "cut-off": (lambda data: data[:3000], "the file ends before its section headers"),
    "arm": (changed("<H", 18, 183), r"another architecture \(EM_AARCH64\)"),
    "32-bit": (changed("<B", 4, 1), "another architecture: it is not 64-bit"),
    "big-endian": (changed("<B", 5, 2), "another architecture: it is not 64-bit"),
    "program-headers-outside": (changed("<Q", 32, 1 << 40), HEADERS),
    "too-many-program-headers": (changed("<H", 56, 0xFFFF), HEADERS),
    "segment-outside": (header(LOAD, 1, OFFSET, 1 << 40), f"{HEADERS}: it is cut off"),
    "segment-too-long": (header(LOAD, -1, FILE_SIZE, 1 << 30), f"{HEADERS}: its segments overlap"),
    "segments-overlap": (header(LOAD, 1, ADDRESS, 0), f"{HEADERS}: its segments overlap"),
    "segment-not-aligned": (header(LOAD, 0, ADDRESS, 8), f"{HEADERS}: .* not aligned"),
    "segment-without-end": (header(LOAD, -1, MEMORY_SIZE, 1 << 62), f"{HEADERS}: .* no segments"),
    "interpreter-outside": (header(INTERPRETER, 0, OFFSET, 1 << 40), f"{HEADERS}: its PT_INTERP"),
    "dynamic-outside": (header(DYNAMIC, 0, OFFSET, 1 << 40), f"{HEADERS}: its PT_DYNAMIC"),
    "section-headers-outside": (changed("<Q", 40, 1 << 50), "before its section headers"),
    "no-entry": (changed("<Q", 24, 0), "a shared object, not a program"),
    "no-interpreter": (
        lambda data: data.replace(LOADER, b"/lib64/ld-none.so".ljust(len(LOADER), b"\0")),
        r"its interpreter /lib64/ld-none\.so is not on this machine",
    ),
    "no-library": (
        lambda data: data.replace(b"libc.so.6", b"libz.so.0"),
        r"it needs libz\.so\.0, which is not on this machine",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said(program: bytes, tmp_path: Path, store: Store, name: str) -> None:
    change, message = CASES[name]
    file = tmp_path / name
    file.write_bytes(change(program))
    file.chmod(0o755)
    with pytest.raises(InputError, match=message) as caught:
        bootable.bootable(manifest.resolve(str(file)), Context(store, Progress.quiet()))
    assert caught.value.code is ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message
    assert str(file) in str(caught.value.where)
    assert store.count() == 0
    assert list(tmp_path.iterdir()) == [file]


def test_what_nobody_may_execute(program: bytes, tmp_path: Path, store: Store) -> None:
    file = tmp_path / "data"
    file.write_bytes(program)
    with pytest.raises(InputError, match="not executable"):
        bootable.bootable(manifest.resolve(str(file)), Context(store, Progress.quiet()))
    assert store.count() == 0


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("libssl.so.3", "libssl3"),
        ("libpcre2-8.so.0", "libpcre2-8-0"),
        ("libGL_x.so.1", "libgl-x1"),
        ("libcurl.so.4", "libcurl4t64"),
        ("libunknown.so.1", None),
        ("plugin.so", None),
    ],
)
def test_the_package_of_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str | None
) -> None:
    """apt's lists know what is not installed, too."""
    fake = tmp_path / "apt-cache"
    fake.write_text(
        "#!/bin/sh\nfor name; do case $name in\n"
        "libssl3|libpcre2-8-0|libgl-x1|libcurl4t64) echo Package: $name;; esac; done\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert packages.of_object(name) == package


def test_a_missing_package_is_named(
    program: bytes, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "of_object", {"libz.so.0": "libz0"}.get)
    file = tmp_path / "prog"
    file.write_bytes(program.replace(b"libc.so.6", b"libz.so.0"))
    file.chmod(0o755)
    with pytest.raises(InputError) as caught:
        bootable.bootable(manifest.resolve(str(file)), Context(store, Progress.quiet()))
    assert str(caught.value.remedy).endswith("install --no-install-recommends libz0")
