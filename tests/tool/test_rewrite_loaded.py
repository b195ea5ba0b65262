# SPDX-License-Identifier: GPL-2.0
"""Rewritten programs and shared objects as normal processes, where the stubs use `syscall`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ukl.elf.reader import Elf
from ukl.syscalls import rewrite_loaded

PROGRAMS = Path(__file__).parent / "programs"
STATIC = [("-static",), ("-static-pie",), ("-static", "-s")]
LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")


def rewritten(file: Path, to: Path) -> Path:
    """Write the rewritten form of `file`."""
    made = rewrite_loaded.rewrite(Elf.open(file))
    assert made.data is not None
    assert made.counts.in_place + made.counts.stub > 2 * made.counts.kept
    to.write_bytes(made.data)
    to.chmod(0o755)
    return to


def compiled(tmp_path: Path, source: str, compiler: str, *words: str) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    program = tmp_path / "program"
    subprocess.run(
        [compiler, "-O2", "-pthread", *words, PROGRAMS / source, "-o", program], check=True
    )
    return program


def check(source: str, program: Path, **environment: str) -> None:
    done = subprocess.run(
        [program], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    said = "done at 3\n" if source == "calls.c" else "40 destructors, 100 exceptions\n"
    status = 23 if source == "calls.c" else 20
    assert (done.returncode, done.stdout) == (status, said)


@pytest.mark.parametrize(
    ("source", "compiler", "words"),
    [
        *(("calls.c", "gcc", words) for words in STATIC),
        *(("destructors.cc", "g++", words) for words in STATIC),
        ("calls.c", "musl-gcc", ("-static",)),
    ],
    ids=str,
)
def test_static(tmp_path: Path, source: str, compiler: str, words: tuple[str, ...]) -> None:
    program = compiled(tmp_path, source, compiler, *words)
    check(source, rewritten(program, tmp_path / "rewritten"))


def test_what_nothing_describes_stays(tmp_path: Path) -> None:
    """Functions of musl have no unwind information; without symbols they have no bounds."""
    program = compiled(tmp_path, "calls.c", "musl-gcc", "-static", "-s")
    assert b"\x0f\x05" in program.read_bytes()
    assert rewrite_loaded.rewrite(Elf.open(program)).data is None


@pytest.mark.parametrize(("source", "compiler"), [("calls.c", "gcc"), ("destructors.cc", "g++")])
def test_shared_libc(tmp_path: Path, source: str, compiler: str) -> None:
    if not LIBC.exists():
        pytest.skip("there is no glibc")
    rewritten(LIBC, tmp_path / LIBC.name)
    check(source, compiled(tmp_path, source, compiler), LD_LIBRARY_PATH=str(tmp_path))


def test_readelf_understands_the_file(tmp_path: Path) -> None:
    if not LIBC.exists():
        pytest.skip("there is no glibc")
    made = rewritten(LIBC, tmp_path / LIBC.name)
    done = subprocess.run(["readelf", "-aW", made], capture_output=True, text=True, check=True)
    assert "Error" not in done.stderr
    assert ".ukl.text" in done.stdout
