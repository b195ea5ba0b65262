# SPDX-License-Identifier: GPL-2.0
"""A core dump of the application can be opened with gdb, and says where it crashed."""

from __future__ import annotations

import base64
import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.boot import matrix
from tests.boot.harness import Built, Lab
from tests.conftest import TOP


def recipe() -> str:
    """Return the commands of the documentation, with the guest's files in /tmp."""
    text = (TOP / "docs" / "reference" / "differences.md").read_text()
    part = text.split("do it by hand:")[1].split("On the host")[0]
    return "".join(line.strip() + "\n" for line in part.splitlines() if line.startswith("    "))


TWICE = """
for mode in USER UKL; do
    eval program=\\$$mode
    rm -f /tmp/core*
    $program tracing.crash
    $program tracing.crash
    echo $mode $(ls /tmp/core* | wc -l)
done
"""

SCRIPT = """
echo 2 > /proc/sys/fs/suid_dumpable; ulimit -c unlimited
for mode in USER UKL; do
    eval program=\\$$mode
    echo /tmp/core.$mode > /proc/sys/kernel/core_pattern
    $program tracing.crash
    echo "<<<$mode"; gzip < /tmp/core.$mode | base64; echo ">>>$mode"
done
echo 0 > /proc/sys/fs/suid_dumpable; rm /tmp/core.*
$UKL tracing.crash
test -e /tmp/core.UKL && echo a core without having been asked for
true
"""


@pytest.fixture(scope="module")
def built(lab: Lab) -> Built:
    if shutil.which("gdb") is None:
        pytest.skip("optional: no gdb on this machine")
    return matrix.plain(lab)


@pytest.fixture(scope="module")
def cores(lab: Lab, built: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    # Else gdb would have to be told how far the kernel has moved.
    ran = lab.script(built, SCRIPT, append=("nokaslr",))
    assert "a core without" not in ran.text
    found = {}
    for mode, text in re.findall(r"<<<(\w+)\n(.*?)>>>", ran.text, re.DOTALL):
        path = found[mode] = tmp_path_factory.mktemp("core") / mode
        path.write_bytes(gzip.decompress(base64.b64decode(text)))
    return found


def test_the_documented_commands_keep_each_dump(lab: Lab, built: Built) -> None:
    lines = lab.script(built, recipe() + TWICE).lines
    assert "USER 2" in lines
    assert "UKL 2" in lines


def gdb(program: Path, core: Path, *commands: str) -> str:
    """Return what gdb says of a core file."""
    argv = ["gdb", "-batch", "-nx", "-ex", "set trust-readonly-sections on"]
    for command in (f"file {program}", f"core-file {core}", *commands):
        argv += ["-ex", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr


def test_core_of_the_application(built: Built, cores: dict[str, Path]) -> None:
    """The text is the kernel's: vmlinux is the program that gdb has to be given."""
    text = gdb(
        built.image.vmlinux, cores["UKL"], "bt", "info registers cs", "p *(int *)&crash_number"
    )
    assert "terminated with signal SIGSEGV" in text
    assert re.search(r"^#0 +0xffffffff\w+ in crash_inner \(", text, re.MULTILINE), text
    assert re.search(r"^#1 +0xffffffff\w+ in crash_outer \(", text, re.MULTILINE), text
    # What the tracer of any 64-bit process sees.
    assert re.search(r"^cs +0x33 ", text, re.MULTILINE), text
    assert "$1 = 2007" in text


def test_core_has_all_threads(built: Built, cores: dict[str, Path]) -> None:
    text = gdb(built.image.vmlinux, cores["UKL"], "thread apply all bt 1")
    assert len(re.findall(r"^Thread \d+ ", text, re.MULTILINE)) == 2, text
    # From glibc 2.41 on pause() waits in a function that it calls.
    assert re.search(r" in (pause|__syscall_cancel_arch) \(", text), text
