# SPDX-License-Identifier: GPL-2.0
""".ci/distribution runs commands in a root, and leaves nothing mounted or running."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TOP

SCRIPT = TOP / ".ci/distribution"
PROGRAMS = ("bash", "cat", "env", "ls", "mount", "sleep", "umount")


@pytest.fixture
def root(tmp_path: Path, need: Callable[..., None]) -> Path:
    """Give a root that seems to be made already, with a few programs of this machine."""
    need("unshare", "pivot_root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("optional: this user may not mount")
    made = tmp_path / "root"
    for name in ("dev", "etc/apt/apt.conf.d", "mnt", "proc", "root/ukl", "sys", "usr/bin"):
        (made / name).mkdir(parents=True)
    (made / "etc/apt/apt.conf.d/70host").touch()
    for name in PROGRAMS:
        program = shutil.which(name)
        assert program is not None
        shutil.copy(program, made / "usr/bin" / name)
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        for library in re.findall(r"(/\S+) \(0x", libraries.stdout):
            (made / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, made / library[1:])
    (tmp_path / "debootstrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "debootstrap").chmod(0o755)
    return made


def run(root: Path, command: str) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = [SCRIPT, "-d", root, "trixie", "bash", "-c", command]
    path = f"{root.parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "http_proxy": "http://p", "SECRET": "s"}
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=100)


def test_a_command_is_in_the_root_alone(root: Path) -> None:
    done = run(root, 'echo "$PWD:$http_proxy:${SECRET-}"; ls /; cat /proc/mounts; exit 7')
    assert done.returncode == 7, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "/root/ukl:http://p:"
    assert "root" in rest
    assert "home" not in rest
    assert any(line.startswith("proc /proc ") for line in rest)
    assert not any(str(root) in line for line in rest)


def test_nothing_is_left(root: Path) -> None:
    done = run(root, "sleep 54321 & echo $!; ls /dev/null")
    assert done.returncode == 0, done.stderr
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    assert not list((root / "dev").iterdir())
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            commands.append(file.read_bytes())
    assert b"sleep\x0054321\0" not in commands
