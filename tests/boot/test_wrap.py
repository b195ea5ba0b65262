# SPDX-License-Identifier: GPL-2.0
"""Programs of other languages, linked by their own build systems, run as what they are."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest

from tests.boot import echo_client, wrapped
from tests.boot.harness import PROGRAMS, Built, Lab, mode_of
from tests.conftest import OPTIONAL
from ukl.base import resources
from ukl.base.model import Guest, Outcome
from ukl.vm.launch import Options

PORT = 5555
EXAMPLES = resources.path("examples")


def built(
    lab: Lab, tmp_path: Path, source: Path, program: str, *command: str, **variables: str
) -> Built:
    """Return a program, built by `command` in a copy of `source`, linked into a kernel."""
    directory = tmp_path / source.name
    shutil.copytree(source, directory)
    (directory / "ukl.toml").unlink(missing_ok=True)
    return wrapped.build(lab, directory, program, *command, **variables)


def test_cxx(lab: Lab, tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip(f"{OPTIONAL} no g++ on this machine")
    app = built(lab, tmp_path, EXAMPLES / "cxx", "cxx", "make", "CXX=ukl-c++")
    for user in (False, True):
        ran = lab.run(app, "7", options=Options(Guest(mode=mode_of(user))), cpus=2)
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 7), ran.text
        assert "not ok" not in ran.text
        assert ran.lines[-1] == "ok a locale that is not there is an exception"


MUSL_SAYS = """\
threads 4
thread-local 0
signal 10
child 3
spawned 4
cancelled 5
cancelled 500, lost 0
sin 0.841471
clock goes
vdso clock
"""


def test_musl(lab: Lab, tmp_path: Path) -> None:
    if not shutil.which("musl-gcc"):
        pytest.skip(f"{OPTIONAL} no musl-gcc on this machine")
    command = ("ukl-cc", "-O1", "-o", "musl", "main.c", "-lm")
    app = built(lab, tmp_path, PROGRAMS / "musl", "musl", *command, UKL_CC_COMPILER="musl-gcc")
    for user in (False, True):
        ran = lab.run(app, "7", options=Options(Guest(mode=mode_of(user))), cpus=2)
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 7), ran.text
        assert ran.text.replace("\r\n", "\n") == MUSL_SAYS


OVERFLOW = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
	char *volatile block = malloc(20);
	memset(block, 255, 29);
	free(block);
	puts("went on");
}
"""


def test_musl_ends_a_program_with_a_corrupted_heap(lab: Lab, tmp_path: Path) -> None:
    """By a `hlt`, which ring 0 would execute, and go on."""
    if not shutil.which("musl-gcc"):
        pytest.skip(f"{OPTIONAL} no musl-gcc on this machine")
    (tmp_path / "main.c").write_text(OVERFLOW)
    app = wrapped.build(lab, tmp_path, "over", "ukl-cc", "main.c", "-o", "over",
                        UKL_CC_COMPILER="musl-gcc")  # fmt: skip
    for user, number in ((False, signal.SIGILL), (True, signal.SIGSEGV)):
        ran = lab.run(app, options=Options(Guest(mode=mode_of(user))))
        assert (ran.result.outcome, ran.result.status) == (Outcome.SIGNALED, number), ran.text
        assert "went on" not in ran.text


def serves(lab: Lab, app: Built, *said: str) -> None:
    """Boot an echo server as a unikernel and as a process, and see that it echoes."""

    async def whole(user: bool) -> None:
        options = Options(Guest(mode=mode_of(user), timeout=240))
        async with lab.boot(app, cpus=2, guest_port=PORT, options=options) as guest:
            await guest.says("listening")
            for text in said:
                await guest.says(text)
            print(await echo_client.load(guest.port, clients=20, messages=20, size=1024))
            await guest.stop()

    for user in (False, True):
        asyncio.run(whole(user))


def test_go(lab: Lab, tmp_path: Path) -> None:
    if not shutil.which("go"):
        pytest.skip(f"{OPTIONAL} no go on this machine")
    app = built(lab, tmp_path, PROGRAMS / "go-echo", "echo", "go", "build", "-o", "echo", ".")
    serves(lab, app, "recovered: runtime error: invalid memory address", "sum 6558550 true")


def test_rust(lab: Lab, tmp_path: Path) -> None:
    if not shutil.which("cargo") or not Path("/usr/share/cargo/registry").is_dir():
        pytest.skip(f"{OPTIONAL} no cargo, or no librust-tokio-dev, on this machine")
    program = "target/release/rust-echo"
    command = ("cargo", "build", "--release", "--offline")
    app = built(lab, tmp_path, PROGRAMS / "rust-echo", program, *command)
    serves(lab, app, "caught true", 'comm rust-echo {"a": 1}')
