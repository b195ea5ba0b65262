# SPDX-License-Identifier: GPL-2.0
"""Members of archives made byte by byte, and linker scripts that stand for archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.elf import archive


def header(name: str, size: int) -> bytes:
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{'644':<8}{size:<10}`\n".encode()


def member(name: str, content: bytes) -> bytes:
    return header(name, len(content)) + content + b"\n" * (len(content) & 1)


def test_members(tmp_path: Path) -> None:
    names = b"a_very_long_member_name.o/\n"
    path = tmp_path / "lib.a"
    path.write_bytes(
        archive.MAGIC
        + member("/", bytes(4))
        + member("//", names)
        + member("short.o/", b"odd")
        + member("/0", b"even")
    )
    assert archive.is_archive(path)
    assert list(archive.members(path)) == [
        ("short.o", b"odd"),
        ("a_very_long_member_name.o", b"even"),
    ]


def test_thin_archive(tmp_path: Path) -> None:
    (tmp_path / "part.o").write_bytes(b"content")
    path = tmp_path / "lib.a"
    path.write_bytes(archive.THIN_MAGIC + member("//", b"part.o/\n") + header("/0", 7))
    assert list(archive.members(path)) == [("part.o", b"content")]


@pytest.mark.parametrize("rest", [b"garbage" * 20, header("x/", 5)[:-2] + b"xx"])
def test_damaged(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "lib.a"
    path.write_bytes(archive.MAGIC + rest)
    with pytest.raises(InputError, match="damaged"):
        list(archive.members(path))


def test_linker_script(tmp_path: Path) -> None:
    path = tmp_path / "libm.a"
    path.write_text("/* GNU ld script\n*/\nOUTPUT_FORMAT(elf64-x86-64)\nGROUP ( /x/a.a b.a )\n")
    assert archive.is_archive(path)
    assert archive.files(path) == (Path("/x/a.a"), tmp_path / "b.a")


def test_neither(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("INPUT is a word\n")
    assert not archive.is_archive(path)
    with pytest.raises(InputError):
        list(archive.members(path))
