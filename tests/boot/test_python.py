# SPDX-License-Identifier: GPL-2.0
"""A Python program in the kernel: its standard library, processes, threads, and its end."""

from __future__ import annotations

import os

import pytest

from tests.boot.harness import PROGRAMS, Built, Lab, mode_of
from ukl.base.errors import UklError
from ukl.base.model import Guest
from ukl.settings import manifest
from ukl.vm.launch import Options

SCRIPT = PROGRAMS / "python" / "app.py"


@pytest.fixture(scope="module")
def app(lab: Lab) -> Built:
    """Return the program, built; skips where the interpreter's sources cannot be had."""
    try:
        return lab.build(manifest.load(SCRIPT))
    except UklError as error:
        if "could not be downloaded" not in error.message:
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("user", [False, True], ids=["unikernel", "process"])
def test_a_script(lab: Lab, app: Built, user: bool) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a line\n")
    os.close(writer)
    try:
        ran = lab.run(
            app,
            "one",
            "two words",
            options=Options(Guest(mode=mode_of(user)), input=reader),
        )
    finally:
        os.close(reader)
    interpreter = f"{'/user' if user else '/ukl'}/python"
    assert ran.lines[:9] == [
        "argv ['/app/app.py', 'one', 'two words']",
        "input a line",
        "modules ok",
        "child 7",
        f"again 5 {interpreter}",
        "busybox sub",
        "threads 20",
        "asyncio 3",
        "shared ImportError True",
    ]
    assert '  File "/app/app.py", line ' in ran.text
    assert ran.lines[-1] == "KeyError: 'the end'"
    assert ran.result.status == 1
