# SPDX-License-Identifier: GPL-2.0
"""Looking at processes from a test."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until a condition holds; False if it did not, even for a busy machine."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def eventually_of(
    process: subprocess.Popen[Any], condition: Callable[[], bool], seconds: float = 60.0
) -> None:
    """Wait until a condition holds; a process must not end before."""

    def look() -> bool:
        if condition():
            return True
        assert process.poll() is None, process.communicate()
        return False

    assert eventually(look, seconds)


def without_locking(program: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that may not lock memory."""
    argv = ["prlimit", "--memlock=0:0"]
    if os.geteuid() == 0:  # whom limits do not bind
        argv += ["setpriv", "--bounding-set=-all"]
    return subprocess.run([*argv, program], capture_output=True, text=True, check=False)
