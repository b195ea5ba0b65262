# SPDX-License-Identifier: GPL-2.0
"""Ctrl-C while a program of ours works: it ends, and the cache has nothing half-made."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TOP
from tests.processes import eventually_of

SLOW = """\
#!/bin/sh
# Stops where the test wants to interrupt, and is otherwise the real program.
case "$*" in
*{word}*) touch {started}; exec sleep 300 ;;
esac
exec {real} "$@"
"""


def slow(directory: Path, name: str, word: str) -> Path:
    """Put a program before the real one that hangs when `word` is in its arguments.

    Returns the file that appears when it does.
    """
    started = directory / "started"
    program = directory / "bin" / name
    program.parent.mkdir()
    real = shutil.which(name)
    program.write_text(SLOW.format(word=word, started=started, real=real))
    program.chmod(0o755)
    return started


def tarball(directory: Path) -> str:
    """Return what names a tarball that looks like a kernel's."""
    top = directory / "linux-6.12.999"
    top.mkdir()
    (top / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 999\n")
    path = directory / "linux-6.12.999.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(top, top.name)
    return f"{path}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"


def processes_of(directory: Path) -> list[str]:
    """Return the command lines that name `directory`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(file.read_text(errors="replace").replace("\0", " "))
    return [line for line in found if str(directory) in line]


@pytest.mark.parametrize(
    ("program", "word", "stage"),
    [("tar", "--extract", "source"), ("gcc", "-MD", "object"), ("ld", "-r", "app")],
)
def test_nothing_is_left(
    program: str, word: str, stage: str, tmp_path: Path, need: Callable[..., None]
) -> None:
    need(program, "gcc", "ld")
    started = slow(tmp_path, program, word)
    (tmp_path / "prog.c").write_text("int main(void) { return 0; }\n")
    cache = tmp_path / "cache"
    argv = ["kernel", "fetch", "--kernel-source", tarball(tmp_path)]
    if program != "tar":
        argv = ["build", str(tmp_path / "prog.c"), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "ukl", "--cache-dir", str(cache), *argv],
        env={
            **os.environ,
            "PYTHONPATH": str(TOP / "src"),
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually_of(process, started.exists)
        assert list((cache / stage).glob(".*.tmp"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.endswith("ukl: interrupted\n")
    assert "Traceback" not in errors
    assert list((cache / stage).iterdir()) == []
    assert not (tmp_path / "out").exists()
    assert processes_of(tmp_path) == []
