# SPDX-License-Identifier: GPL-2.0
"""Going on in the background: what the caller gets, and what the other side is left with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TOP
from tests.processes import eventually

SECONDS = 60.0

BODY = """
import os, sys, time
from pathlib import Path
from ukl.host.detach import detach

def work(report):
    with open("/proc/self/stat") as stat:
        pid, _, _, parent, group, session, terminal = stat.read().split()[:7]
    print("to the log", flush=True)
    if {die}:
        os._exit(3)
    report(f"{{pid}} {{session}} {{terminal}} {{os.getcwd()}}".encode())
    end = time.monotonic() + {seconds}
    while not Path({go!r}).exists() and time.monotonic() < end:
        time.sleep(0.01)
    Path({done!r}).write_text("x")

answer = detach(work, Path({log!r}))
print(os.getpid(), answer.decode())
"""


def run(tmp_path: Path, *, die: bool = False) -> str:
    names = {name: str(tmp_path / name) for name in ("go", "done", "log")}
    body = BODY.format(die=die, seconds=SECONDS, **names)
    # capture_output: returns only when nobody holds the pipes any more.
    done = subprocess.run(
        [sys.executable, "-c", body],
        env={"PYTHONPATH": str(TOP / "src")},
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    assert not done.stderr
    return done.stdout


@pytest.mark.process
def test_the_caller_goes_on_and_the_work_too(tmp_path: Path) -> None:
    caller, pid, session, terminal, directory = run(tmp_path).split()
    assert len({caller, pid, session}) == 3  # no leader of its session: never a terminal again
    assert (terminal, directory) == ("0", "/")
    assert (tmp_path / "log").read_text() == "to the log\n"
    assert not (tmp_path / "done").exists()
    (tmp_path / "go").touch()
    assert eventually((tmp_path / "done").exists)


@pytest.mark.process
def test_an_end_without_a_report_is_seen(tmp_path: Path) -> None:
    assert len(run(tmp_path, die=True).split()) == 1
