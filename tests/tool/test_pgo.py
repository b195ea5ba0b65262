# SPDX-License-Identifier: GPL-2.0
"""What gcc makes of counts that are the kernel's."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from ukl.pgo import gcda
from ukl.pgo.flags import COUNTED, COUNTING

PROGRAM = """
int main(int argc, char **argv)
{
    int i, n = 0;

    for (i = 0; i < 1000; i++)
        n += i % 7 ? argc : (int)(unsigned long)argv;
    return n == 12345;
}
"""
TURNS = 1000


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A directory with a program's source, and the counts of a run without a summary."""
    (tmp_path / "main.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O1", *COUNTING, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run(["./main"], cwd=tmp_path, check=True)
    [file] = tmp_path.glob("*.gcda")
    data = file.read_bytes()
    begin = gcda._header(data)
    tag, length = struct.unpack_from("<II", data, begin)
    assert tag == gcda.SUMMARY
    size = length * (1 if gcda._release(data) >= gcda.BYTES_SINCE else 4)
    file.unlink()
    (tmp_path / "main.gcda").write_bytes(data[:begin] + data[begin + 8 + size :])
    return tmp_path


def known(directory: Path) -> bool:
    """Whether gcc takes the program's counts for precise, which it says in a dump."""
    argv = ["gcc", "-O1", *COUNTED, "-fdump-ipa-profile", "-c", "main.c", "-o", "main.o"]
    subprocess.run(argv, cwd=directory, check=True)
    [dump] = directory.glob("*.profile")
    return "(precise)" in dump.read_text()


def test_gcc_reads_counts_of_the_kernel_once_they_have_a_summary(counted: Path) -> None:
    assert not known(counted)
    file = counted / "main.gcda"
    most = gcda.highest(file.read_bytes())
    assert most in {TURNS, TURNS + 1}
    file.write_bytes(gcda.with_summary(file.read_bytes(), most))
    assert known(counted)


def test_a_summary_is_made_once(counted: Path) -> None:
    once = gcda.with_summary((counted / "main.gcda").read_bytes(), TURNS)
    assert gcda.with_summary(once, 1) == once


def test_another_file_has_no_counts() -> None:
    with pytest.raises(ValueError, match="gcda file"):
        gcda.highest(b"\0" * 16)
