# SPDX-License-Identifier: GPL-2.0
"""The shell script of the kernel tree and our own partial link give the same object."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import skip_without
from ukl.app.build import build
from ukl.app.linking import SCRIPTS
from ukl.base import resources
from ukl.base.cflags import UKL_FLAGS
from ukl.base.model import AppSpec
from ukl.base.progress import Progress
from ukl.elf.names import STUBS
from ukl.elf.reader import Elf, facts
from ukl.host.store import Store
from ukl.syscalls import halts

PROGRAMS = Path(__file__).parent / "programs"
SAMPLE = resources.path("kernel/overlay/samples/ukl")


def script(*argv: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = ["/bin/sh", resources.path(SCRIPTS) / "link-app.sh", *argv]
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=120)


def compiled(source: Path, output: Path) -> Path:
    compiler = "g++" if source.suffix == ".cpp" else "gcc"
    subprocess.run([compiler, "-O2", *UKL_FLAGS, "-c", "-o", output, source], check=True)
    return output


def without_replaced(theirs: bytes, ours: bytes) -> bytes:
    """Return our bytes with the C library's `hlt` as the script leaves it (syscalls/halts.py)."""
    pairs = zip(theirs, ours, strict=True)
    was, becomes = halts.HALT[0], halts.INVALID[0]
    return bytes(was if pair == (was, becomes) else pair[1] for pair in pairs)


@pytest.mark.parametrize("name", ["order.c", "own.c", "ifunc.c", "exceptions.cpp"])
def test_same_facts_and_same_contents(name: str, tmp_path: Path, store: Store) -> None:
    if name.endswith(".cpp"):
        skip_without("g++")
    source = PROGRAMS / name
    spec = AppSpec(
        name="x", origin=source, directory=PROGRAMS, sources=(source,), rewrite_syscalls=False
    )
    ours = build(spec, store, Progress.quiet())
    theirs, user = tmp_path / "app.o", tmp_path / "user"
    libraries = ("-lstdc++", "-lm") if name.endswith("cpp") else ()
    script("-o", theirs, "-u", user, compiled(source, tmp_path / "x.o"), *libraries)

    assert facts(theirs) == ours.facts
    left, right = Elf.open(theirs), Elf.open(ours.path)
    for section in right.sections:
        if section.allocated:
            other = left.section(section.name)
            assert other is not None
            assert other.align == section.align, section.name
            assert left.content(other) == without_replaced(
                left.content(other), right.content(section)
            ), section.name
    assert {s.name for s in left.symbols} == {s.name for s in right.symbols} - {STUBS}
    run = [subprocess.run([p, "a"], capture_output=True, check=False) for p in (user, ours.user)]
    assert run[0].stdout == run[1].stdout
    assert run[0].returncode == run[1].returncode


def test_undefined_symbol(tmp_path: Path) -> None:
    source = tmp_path / "x.c"
    source.write_text("void nowhere(void);\nint main(void) { nowhere(); return 0; }\n")
    done = script("-o", tmp_path / "app.o", compiled(source, tmp_path / "x.o"), check=False)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert not (tmp_path / "app.o").exists()


def test_usage(tmp_path: Path) -> None:
    done = script(check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_temporary_files_go(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    link_app = resources.path(SCRIPTS) / "link-app.sh"
    command: list[str | Path] = ["/bin/sh", link_app, "-o", tmp_path / "app.o"]
    subprocess.run(
        [*command, compiled(PROGRAMS / "order.c", tmp_path / "x.o")],
        check=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert list(temporary.iterdir()) == []


def test_the_sample_builds_on_its_own(tmp_path: Path) -> None:
    kernel = tmp_path / "linux"
    for part in ("samples", "scripts"):
        subprocess.run(["mkdir", "-p", kernel / part], check=True)
        subprocess.run(
            ["cp", "-r", resources.path(f"kernel/overlay/{part}/ukl"), kernel / part], check=True
        )
    sample = kernel / "samples" / "ukl"
    subprocess.run(["make", "-C", sample], check=True, capture_output=True)
    assert facts(sample / "tcp-echo.ukl.o").text_size > 0
    for program in ("tcp-echo", "tcp-echo.user"):
        done = subprocess.run(
            [sample / program, "no-port"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "not a port" in done.stderr
    again = subprocess.run(["make", "-C", sample, "-q"], check=False, capture_output=True)
    assert again.returncode == 0
    subprocess.run(["make", "-C", sample, "clean"], check=True, capture_output=True)
    assert not (sample / "tcp-echo.ukl.o").exists()


def test_the_sample_and_our_compiler_use_the_same_flags() -> None:
    wanted = [flag for flag in UKL_FLAGS if flag != "-fno-lto"]
    for text in (
        (SAMPLE / "Makefile").read_text(),
        (SAMPLE / "README.rst").read_text(),
        (resources.path(SCRIPTS) / "link-app.sh").read_text(),
    ):
        assert all(flag in text for flag in wanted)
