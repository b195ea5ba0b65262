# SPDX-License-Identifier: GPL-2.0
"""`ukl drgn`: the kernel's data of a guest that runs, and of one that has crashed.

Among the tests of applications for its kernel, which no other test needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.conftest import echo
from tests.boot.harness import PROGRAMS, Lab
from tests.boot.test_lifecycle import Cli, cli
from ukl.flow import kernel as kernels

__all__ = ["cli", "echo"]  # the fixtures

pytest.importorskip("drgn", reason="no drgn in this Python environment")


@pytest.fixture(scope="module")
def program(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program, to be run in a kernel that has debug information.

    The kernel is built here: that takes longer than a command of `cli` may.
    """
    kernels.build(kernels.Wanted(profile="dwarf"), lab.context)
    place = tmp_path_factory.mktemp("drgn")
    (place / "ukl.toml").write_text(f"""
[app]
name = "drgnapp"
sources = [{json.dumps(str(PROGRAMS / "crash.c"))}]
[kernel]
profile = "dwarf"
""")
    return place


@pytest.fixture(scope="module")
def guest(cli: Cli, program: Path) -> Iterator[str]:
    name = f"drgn-{os.getpid()}"
    code, _, err = cli("run", "-d", "--name", name, str(program), "--", "spin")
    assert code == 0, err
    yield name
    cli("rm", "--force", name)


TASKS = """
for task in for_each_task(prog):
    print(task.pid.value_(), task.comm.string_().decode())
"""


@pytest.mark.timeout(3600)  # the kernel's build included
def test_tasks(cli: Cli, guest: str) -> None:
    code, out, err = cli("drgn", guest, "-e", TASKS)
    assert code == 0, err
    tasks = dict(line.split(" ", 1) for line in out.splitlines())
    assert tasks["1"] == "init"
    assert "drgnapp" in tasks.values()
    # It stood still meanwhile, and goes on.
    code, out, err = cli("exec", guest, "--", "sh", "-c", "pidof drgnapp")
    assert (code, tasks[out.strip()]) == (0, "drgnapp"), err


STACK = """
from drgn.helpers.linux.mm import access_process_vm
[task] = [each for each in for_each_task(prog) if each.comm.string_() == b"drgnapp"]
prog.function("crash_inner")
marker = access_process_vm(task, task.mm.arg_start.value_(), 7)
print(len(cmdline(task)), marker.decode())
"""


def test_kernel_and_application(cli: Cli, guest: str) -> None:
    """The application's types are there, and its memory in the user half."""
    code, out, err = cli("drgn", guest, "-e", STACK)
    assert (code, out.split()) == (0, ["2", "drgnapp"]), err


def test_scripts(cli: Cli, guest: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text("import sys\nprint(sys.argv[1:], prog['jiffies'].value_() > 0)\nsys.exit(7)\n")
    code, out, err = cli("drgn", guest, "--", str(file), "-a", "b")
    assert (code, out) == (7, "['-a', 'b'] True\n"), err
    code, out, err = cli("drgn", guest, given=b"print(prog['init_task'].pid.value_())\n")
    assert (code, out) == (0, "0\n"), err


def test_a_dump(cli: Cli, program: Path) -> None:
    name = f"drgn-crash-{os.getpid()}"
    code, _, err = cli("run", "--timeout", "100", "--name", name, str(program), "--", "panic")
    assert code == 125, err
    code, out, err = cli("drgn", name, "--dump", "-e", TASKS + "print(get_dmesg(prog).decode())")
    assert code == 0, err
    assert " drgnapp\n" in out
    assert "Kernel panic - not syncing: sysrq triggered crash" in out


def test_an_exception_shows_the_script_alone(cli: Cli, guest: str) -> None:
    with cli.start("drgn", guest, "-e", "def f():\n  1/0\nf()") as run:
        _, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert err.count(b"  File ") == 2, err.decode()
    assert b"ZeroDivisionError" in err


def test_a_kernel_without_types(cli: Cli) -> None:
    name = f"plain-{os.getpid()}"
    code, _, err = cli("run", "-d", "--name", name, str(PROGRAMS / "crash.c"), "--", "spin")
    assert code == 0, err
    code, _, err = cli("drgn", name, "-e", "1")
    cli("rm", "--force", name)
    assert code == 1
    assert "--profile dwarf" in err
