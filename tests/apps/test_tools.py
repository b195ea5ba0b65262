# SPDX-License-Identifier: GPL-2.0
"""strace, gdb and `ukl perf` at programs of several languages, which run in ring 0 as they are.

test_as_is_tools.py has the tests of a C program.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from tests.boot.test_lifecycle import Cli
from tests.conftest import OPTIONAL, TOP
from ukl.base.model import AppSpec

GO = """\
package main

import "os"

//go:noinline
func turn(number int) int {
	file, _ := os.Open("/etc/hosts")
	file.Close()
	for i := 0; i < 100000; i++ {
		number = (number + i*7) % 1000003
	}
	return number
}

func main() {
	for number := 0; ; {
		number = turn(number)
	}
}
"""

RUST = """\
use std::fs::File;

#[inline(never)]
fn turn(mut number: u64) -> u64 {
    let file = File::open("/etc/hosts");
    drop(file);
    for i in 0..100000 {
        number = std::hint::black_box((number + i * 7) % 1000003);
    }
    number
}

fn main() {
    let mut number = 0;
    loop {
        number = turn(number);
    }
}
"""

PERL = "for (;;) { open F, '/etc/hosts'; close F; $n = ($n + $_ * 7) % 1000003 for 1 .. 1000 }"

PYTHON = """
n = 0
while True:
    open("/etc/hosts").close()
    for i in range(1000):
        n = (n + i * 7) % 1000003
"""


@dataclass(frozen=True)
class Subject:
    """A program that opens /etc/hosts in a loop, and computes.

    `source` has the name and the text of its source, `make` the command that compiles it into
    `turning`. Without these it is `program`, with `args` and `files`. `stop` is the function
    where gdb stops, `busy` what the samples have to show.
    """

    stop: str
    busy: str
    source: tuple[str, str] = ("", "")
    make: tuple[str, ...] = ()
    program: str = ""
    args: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


SUBJECTS = {
    "go": Subject(
        "main.turn",
        r"^turning;main\.turn\b",
        ("turning.go", GO),
        ("go", "build", "-o", "turning", "turning.go"),
    ),
    "rust": Subject(
        "turning::turn",
        r";turning::main::\w+;turning::turn::",
        ("turning.rs", RUST),
        ("rustc", "-g", "-O", "-o", "turning", "turning.rs"),
    ),
    "perl": Subject(
        "Perl_pp_open",
        r";perl_run;.*Perl_runops_standard",
        program="/usr/bin/perl",
        args=("-e", PERL),
    ),
    "python": Subject(
        "PyOS_FSPath",
        r";Py_BytesMain;.*_PyEval_EvalFrameDefault",
        program="/usr/bin/python3.11",
        args=("-c", PYTHON),
        files={"/usr/lib/python3.11": "/usr/lib/python3.11"},
    ),
}

SCRIPT = """
until PID=$(pidof %(name)s); do sleep 0.1; done
trace() {
	strace -f -q -e trace=openat -o /tmp/$1 -p $PID &
	until grep -q 'openat(AT_FDCWD, "/etc/hosts", .*) = [0-9]' /tmp/$1; do sleep 0.2; done
	kill %%1
	wait
	echo $1
}
trace traced
gdb -q -nx -batch -ex 'set breakpoint pending off' -ex 'break %(stop)s' -ex continue -ex 'bt 1' \\
	-ex stepi -ex delete -ex detach -p $PID 2>&1
sleep 0.5
grep -E '^(State|TracerPid)' /proc/$PID/status
trace again
"""


@pytest.fixture
def cli(lab: Lab) -> Cli:
    """Return the command line, with the cache of this machine."""
    cache = {"UKL_CACHE_DIR": str(lab.store.root), "PYTHONPATH": str(TOP / "src")}
    return Cli({**os.environ, **cache})


def made(subject: Subject, top: Path) -> Path:
    """Return the program, compiled in `top`; skips what is missing."""
    tool = subject.make[0] if subject.make else subject.program
    if shutil.which(tool) is None:
        pytest.skip(f"{OPTIONAL} no {tool} on this machine")
    if not subject.make:
        return Path(subject.program)
    (top / subject.source[0]).write_text(subject.source[1])
    subprocess.run(subject.make, check=True, cwd=top)
    return top / "turning"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SUBJECTS)
def test_strace_and_gdb(lab: Lab, tmp_path: Path, name: str) -> None:
    subject = SUBJECTS[name]
    program = made(subject, tmp_path)
    if shutil.which("gdb") is None or shutil.which("strace") is None:
        pytest.skip(f"{OPTIONAL} no gdb or strace on this machine")
    tools = {f"/usr/bin/{each}": Path(f"/usr/bin/{each}") for each in ("gdb", "strace")}
    library = Path("/usr/lib") / Path("/usr/bin/python3").resolve().name
    own = (library, Path("/usr/share/gdb"))  # what gdb itself is written in
    files = {**tools, **{str(each): each for each in own if each.is_dir()}}
    spec = AppSpec(f"tools-{name}", program, tmp_path, program=program, files=files, memory=1 << 30)
    script = SCRIPT % {"name": program.name, "stop": subject.stop}
    ran = lab.script(lab.build(spec), script, start=True, timeout=600, args=subject.args)
    assert "traced" in ran.lines, ran.text
    assert re.search(rf"Breakpoint 1, .*{re.escape(subject.stop)}", ran.text), ran.text
    assert "TracerPid:\t0" in ran.lines, ran.text
    assert not any(line.startswith("State:\tt") for line in ran.lines), ran.text
    assert "again" in ran.lines, ran.text


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SUBJECTS)
def test_perf(cli: Cli, tmp_path: Path, name: str) -> None:
    subject = SUBJECTS[name]
    program = made(subject, tmp_path)
    guest, stacks = f"tools-{name}-{os.getpid()}", tmp_path / "stacks"
    files = [f"--with-file={at}={file}" for at, file in subject.files.items()]
    code, _, err = cli(
        "run", "-d", "--name", guest, "-m", "512M", *files, str(program), "--", *subject.args
    )
    assert code == 0, err
    try:
        code, _, err = cli("perf", "record", guest, "-t", "6", "-o", str(stacks))
        assert code == 0, err
    finally:
        cli("stop", guest)
        cli("rm", guest)
    found = re.search(subject.busy, stacks.read_text(), re.MULTILINE)
    assert found, stacks.read_text()[-5000:]
