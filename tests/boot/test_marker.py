# SPDX-License-Identifier: GPL-2.0
"""Who may start code in the kernel: the policy about marker files, tried in the guest."""

from __future__ import annotations

import re

import pytest

from tests.boot.harness import Built, Lab
from ukl.base.model import Guest, Outcome
from ukl.vm.launch import Options

SCRIPT = """
mkdir /tmp/m; cd /tmp/m
mount -t tmpfs none /tmp/m; cd /tmp/m
try() {
    "$2" exit 21 >/tmp/out 2>/tmp/err
    echo "$1: $?"
}
fresh() { rm -f m; dd if=$UKL of=m bs=16 skip=5 count=4 2>/dev/null; chmod 755 m; }
patch() { printf "$2" | dd of=m bs=1 seek=$1 conv=notrunc 2>/dev/null; }

fresh; try good ./m
cmp m /sys/kernel/ukl/checks/marker && echo "sysfs: same"
fresh; chown 1000 m; try other-owner ./m
fresh; chmod 775 m; try group-writable ./m
fresh; chmod 757 m; try world-writable ./m
fresh; chmod 644 m; try not-executable ./m
fresh; chmod 555 m; try read-only ./m
fresh; patch 40 '\\001\\002\\003'; try other-build ./m
fresh; patch 8 'x'; try other-name ./m
fresh; patch 4 '\\007'; try other-version ./m
fresh; patch 60 '\\001'; try known-flag ./m
fresh; patch 60 '\\040'; try unknown-flag ./m
fresh; patch 60 '\\004'; try flag-without-its-base ./m
fresh; patch 63 '\\200'; try highest-flag ./m
fresh; dd if=m of=n bs=1 count=63 2>/dev/null; chmod 755 n; try cut-short ./n
fresh; ln -s m link; try symlink ./link
# The marker of an ELF file is 80 bytes behind its beginning: 64 of the header, 16 of the note.
whole() { rm -f m; cat $UKL > m; chmod 755 m; }
whole; try elf ./m
whole; cmp -s -n 64 m /sys/kernel/ukl/checks/marker || echo "elf: another form"
whole; chown 1000 m; try elf-of-other-owner ./m
whole; patch 120 '\\001\\002\\003'; try elf-of-other-build ./m
whole; patch 140 '\\040'; try elf-with-unknown-flag ./m
whole; patch 72 '\\002'; try elf-with-other-note ./m
whole; dd if=m of=n bs=1 count=144 2>/dev/null; chmod 755 n; try elf-header-and-note ./n
whole; dd if=m of=n bs=1 count=100 2>/dev/null; chmod 755 n; try elf-cut-short ./n
for flag in nosuid noexec; do
    mkdir -p $flag; mount -t tmpfs -o $flag none $flag
    fresh; cp -p m $flag/m; try $flag $flag/m
done
dmesg | grep UKL: | tail -20
"""

STARTED = {"good", "known-flag", "read-only", "symlink", "elf", "elf-header-and-note"}

REFUSED = {
    *("other-owner", "group-writable", "world-writable", "not-executable"),
    *("other-build", "other-name", "other-version", "cut-short"),
    *("unknown-flag", "highest-flag", "flag-without-its-base"),
    *("nosuid", "noexec"),
    *("elf-of-other-owner", "elf-of-other-build", "elf-with-unknown-flag"),
    *("elf-with-other-note", "elf-cut-short"),
}


@pytest.fixture(scope="module")
def tried(lab: Lab, checks: Built) -> tuple[dict[str, int], str]:
    """Return the exit status of each attempt, and the kernel's words."""
    ran = lab.script(checks, SCRIPT)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    found = re.findall(r"^([a-z-]+): (\d+)$", ran.text, re.MULTILINE)
    return {name: int(status) for name, status in found}, ran.text


@pytest.mark.parametrize("name", sorted(STARTED))
def test_started(tried: tuple[dict[str, int], str], name: str) -> None:
    assert tried[0][name] == 21


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused(tried: tuple[dict[str, int], str], name: str) -> None:
    # 126: the shell could not execute it. Others: it took it for a script, whose end depends
    # on the build id in it. The program itself ends with 21.
    assert tried[0][name] not in {0, 21}


def test_marker_in_sysfs(tried: tuple[dict[str, int], str]) -> None:
    assert "sysfs: same" in tried[1]


def test_the_log_says_why(tried: tuple[dict[str, int], str]) -> None:
    assert "belongs to another kernel" in tried[1]


def test_any_user_may_start_it(lab: Lab, checks: Built) -> None:
    """The marker is root's word that this program may run in the kernel; as whom is free."""
    ran = lab.run(checks, "start", options=Options(Guest(uid=1000, gid=1000)))
    assert ran.result.status == 0
    assert "uid 1000 gid 1000 pid other" in ran.lines
