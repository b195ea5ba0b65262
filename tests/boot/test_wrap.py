# SPDX-License-Identifier: GPL-2.0
"""Programs of other languages, linked by their own build systems, run as what they are."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.boot import echo_client
from tests.boot.harness import PROGRAMS, Built, Lab
from tests.conftest import OPTIONAL
from ukl import manifest
from ukl.model import Outcome
from ukl.vm.launch import Options
from ukl.wrap import settings

BUILD_SECONDS = 600
PORT = 5555


def built(lab: Lab, tmp_path: Path, name: str, program: str, *command: str) -> Built:
    """Return tests/boot/programs/NAME, built by `command` in a copy, linked into a kernel."""
    directory = tmp_path / name
    shutil.copytree(PROGRAMS / name, directory)
    environment = {**os.environ, **settings.environment(), "UKL_CACHE_DIR": str(lab.store.root)}
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return lab.build(manifest.resolve(str(directory / program)))


CXX_SAYS = """\
constructed before main
other own0
logic own1
other own2
logic own3
other own4
logic own5
other own6
logic own7
8 unwound, here own
from a future
bob at example
0xff 3.25
no such locale
comm cxx
"""


def test_cxx(lab: Lab, tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip(f"{OPTIONAL} no g++ on this machine")
    app = built(lab, tmp_path, "cxx", "cxx", "make", "CXX=ukl-c++")
    for user in (False, True):
        ran = lab.run(app, "7", options=Options(user=user), cpus=2)
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 7), ran.text
        assert ran.text.replace("\r\n", "\n") == CXX_SAYS


def serves(lab: Lab, app: Built, *said: str) -> None:
    """Boot an echo server as a unikernel and as a process, and see that it echoes."""

    async def whole(user: bool) -> None:
        options = Options(user=user, timeout=240)
        async with lab.boot(app, cpus=2, guest_port=PORT, options=options) as guest:
            await guest.says("listening")
            for text in said:
                await guest.says(text, timeout=1)
            print(await echo_client.load(guest.port, clients=20, messages=20, size=1024))
            await guest.stop()

    for user in (False, True):
        asyncio.run(whole(user))


def test_go(lab: Lab, tmp_path: Path) -> None:
    if not shutil.which("go"):
        pytest.skip(f"{OPTIONAL} no go on this machine")
    app = built(lab, tmp_path, "go-echo", "echo", "go", "build", "-o", "echo", ".")
    serves(lab, app, "recovered: runtime error: invalid memory address", "sum 6558550 true")


def test_rust(lab: Lab, tmp_path: Path) -> None:
    if not shutil.which("cargo") or not Path("/usr/share/cargo/registry").is_dir():
        pytest.skip(f"{OPTIONAL} no cargo, or no librust-tokio-dev, on this machine")
    program = "target/release/rust-echo"
    app = built(lab, tmp_path, "rust-echo", program, "cargo", "build", "--release", "--offline")
    serves(lab, app, "caught true", 'comm rust-echo {"a": 1}')
