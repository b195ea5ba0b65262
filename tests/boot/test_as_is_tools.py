# SPDX-License-Identifier: GPL-2.0
"""Debuggers and tracers at a program that runs in ring 0 as it is: as at a normal process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from tests.boot.test_lifecycle import Cli, cli
from tests.conftest import OPTIONAL
from ukl.base.model import AppSpec

__all__ = ["cli"]  # the fixture

SOURCE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((noinline)) int turn(int number)
{
	int fd = open("/etc/hosts", O_RDONLY);

	close(fd);
	usleep(20000);
	return number + 1;
}

int main(void)
{
	unsigned long cs;

	asm volatile("mov %%cs, %0" : "=r" (cs));
	printf("level %lu\n", cs & 3);
	fflush(stdout);
	for (int number = 0;;)
		number = turn(number);
}
"""

SCRIPT = """
until PID=$(pidof turning); do sleep 0.1; done
strace -q -e trace=openat -o /tmp/trace -p $PID &
sleep 2; kill %1; wait
grep -c 'openat(AT_FDCWD, "/etc/hosts", O_RDONLY) = [0-9]' /tmp/trace | sed 's/^[1-9].*/traced/'
gdb -q -nx -batch -ex 'break turn' -ex continue -ex 'bt 2' -ex 'print number > 0' -ex stepi \\
	-ex 'info registers cs' -ex 'delete' -ex 'finish' -ex detach -p $PID 2>&1
sleep 0.3
grep -E '^(State|TracerPid)' /proc/$PID/status
"""


def test_samples(cli: Cli, tmp_path: Path) -> None:
    """Stacks go from the first function through libc into the kernel."""
    (tmp_path / "turning.c").write_text(SOURCE)
    program = tmp_path / "turning"
    subprocess.run(["gcc", "-O1", tmp_path / "turning.c", "-o", program], check=True)
    name, stacks = f"turning-{os.getpid()}", tmp_path / "stacks"
    code, _, err = cli("run", "-d", "--name", name, str(program))
    assert code == 0, err
    try:
        code, _, err = cli("perf", "record", name, "-t", "6", "-o", str(stacks))
        assert code == 0, err
    finally:
        cli("stop", name)
        cli("rm", name)
    whole = r"^turning;_start;__libc_start_main;.*;main;turn;.*(open|close|sleep).*_\[k\]"
    assert re.search(whole, stacks.read_text(), re.MULTILINE), stacks.read_text()


def test_strace_and_gdb(lab: Lab, tmp_path: Path) -> None:
    if shutil.which("gdb") is None or shutil.which("strace") is None:
        pytest.skip(f"{OPTIONAL} no gdb or strace on this machine")
    (tmp_path / "turning.c").write_text(SOURCE)
    program = tmp_path / "turning"
    subprocess.run(["gcc", "-g", "-O1", tmp_path / "turning.c", "-o", program], check=True)
    tools = {f"/usr/bin/{name}": Path(f"/usr/bin/{name}") for name in ("gdb", "strace")}
    library = Path("/usr/lib") / Path("/usr/bin/python3").resolve().name
    own = (library, Path("/usr/share/gdb"))  # what gdb itself is written in
    files = {**tools, **{str(each): each for each in own if each.is_dir()}}
    spec = AppSpec("turning", program, tmp_path, program=program, files=files, memory=768 << 20)
    ran = lab.script(lab.build(spec), SCRIPT, start=True)
    assert "level 0" in ran.lines, ran.text
    assert "traced" in ran.lines, ran.text
    for found in (
        "Breakpoint 1, turn (number=",  # a software breakpoint, in text of ring 0
        " in main () at ",
        "$1 = 1",
        "Value returned is $2 = ",
    ):
        assert found in ran.text, ran.text
    assert "TracerPid:\t0" in ran.lines, ran.text
    assert not any(line.startswith("State:\tt") for line in ran.lines), ran.text
