# SPDX-License-Identifier: GPL-2.0
"""The normal userspace beside the application: it sees it as any other process."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab
from tests.boot.test_endings import RUNNER, qemu_of
from tests.conftest import TOP
from tests.processes import alive
from ukl.base.model import Outcome
from ukl.vm import launch
from ukl.vm.launch import Options
from ukl.vm.status import Type

FIND = "PID=$(pidof checks); echo pid $PID\n"


def beside(lab: Lab, checks: Built, script: str) -> str:
    """Run a script beside `checks hang`; return what it printed."""
    ready = "while ! pidof checks >/dev/null; do sleep 0.1; done; sleep 0.5\n"
    ran = lab.script(checks, ready + FIND + script, start=True, args=("hang",))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    return ran.text


def test_ps_and_top_show_it(lab: Lab, checks: Built) -> None:
    text = beside(lab, checks, "ps -o pid,user,args; echo ---; top -b -n1")
    pid = re.search(r"^pid (\d+)$", text, re.MULTILINE)
    assert pid is not None
    before, _, after = text.partition("---\n")
    assert re.search(rf"^ *{pid[1]} root +checks hang$", before, re.MULTILINE), before
    assert re.search(rf"^ *{pid[1]} .* checks hang$", after, re.MULTILINE), after
    assert "Mem:" in after


def test_the_kernel_does_not_guess_its_clocks(lab: Lab, checks: Built) -> None:
    words = launch.clock_words(lab.accelerator, Options())
    told = dict(word.split("=") for word in words)
    if "tsc_early_khz" not in told:
        pytest.skip("these guests are not told how fast their clocks are")
    khz = int(told["tsc_early_khz"])
    text = lab.script(checks, "dmesg", append=("apic=verbose",)).text
    # The timer's, in bus clock cycles per tick (arch/x86/kernel/apic/apic.c).
    calibrated = re.search(r"lapic timer already calibrated (\d+)", text)
    assert calibrated is not None
    assert int(told["ukl.lapic_khz"]) * 1000 % int(calibrated[1]) == 0
    assert "Calibrating APIC timer" not in text
    # The counter's rate has a line of its own where a trial against the timer gave the
    # processor another (arch/x86/kernel/tsc.c, determine_cpu_tsc_frequencies()).
    detected = re.findall(r"tsc: Detected ([0-9.]+) MHz (?:processor|TSC)", text)
    assert detected, text
    assert detected[-1] == f"{khz // 1000}.{khz % 1000:03}"
    assert "PIT calibration" not in text


def test_proc_shows_its_memory(lab: Lab, checks: Built) -> None:
    text = beside(
        lab, checks, "cat /proc/$PID/maps; echo ---; cat /proc/$PID/status /proc/$PID/stat"
    )
    maps, _, status = text.partition("---\n")
    for name in ("[heap]", "[stack]", "ukl:checks"):
        assert name in maps, maps
    # Its data is where a normal program's would be; its text is the kernel's.
    assert re.search(r"^00[0-9a-f]{6}-[0-9a-f]+ r--p .*ukl:checks", maps, re.MULTILINE), maps
    assert re.search(r"^ffffffff[0-9a-f]{8}-[0-9a-f]+ r-xp .*\[ukl\]$", maps, re.MULTILINE), maps
    assert len(re.findall(r"^[0-9a-f]+-[0-9a-f]+ ..x", maps, re.MULTILINE)) == 1, maps
    assert "Name:\tchecks" in status
    assert re.search(r"VmRSS:\s+[1-9]", status)


def test_kill_ends_it(lab: Lab, checks: Built) -> None:
    text = beside(
        lab,
        checks,
        "kill -STOP $PID; sleep 0.2; grep State /proc/$PID/status\n"
        "kill -CONT $PID; sleep 0.2; grep State /proc/$PID/status\n"
        "kill $PID; sleep 0.5; test ! -e /proc/$PID && echo gone\n",
    )
    assert "State:\tT (stopped)" in text
    assert "State:\tS (sleeping)" in text
    assert "gone" in text


def test_killed_application_is_reported(lab: Lab, checks: Built) -> None:
    async def whole() -> None:
        async with lab.boot(checks, "hang") as guest:
            await guest.says("hanging")
            started = await guest.session.until(Type.STARTED)
            assert started.number("pid")
            guest.session.stop()
            ran = await guest.end()
            assert ran.result.status == signal.SIGTERM

    asyncio.run(whole())


# --- the interactive shell -----------------------------------------------------------

SHELL_RUNNER = RUNNER.replace("Guest(timeout=60)", "Guest(shell=True), input=0")


class Terminal:
    """`ukl run --shell` on a pseudo-terminal."""

    def __init__(self, lab: Lab, checks: Built, directory: Path) -> None:
        self.leader, self.follower = pty.openpty()
        self.before = termios.tcgetattr(self.follower)
        assert checks.image.marker is not None
        files = (directory, checks.image.bzimage, checks.image.marker, checks.initrd)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHELL_RUNNER, *files, "hang", lab.accelerator.value],
            env={**os.environ, "PYTHONPATH": str(TOP / "src")},
            stdin=self.follower,
            stdout=self.follower,
            stderr=self.follower,
            text=True,
            start_new_session=True,
        )
        self.qemu = qemu_of(self.process)
        self.seen = b""

    def type(self, data: bytes) -> None:
        os.write(self.leader, data)

    def says(self, pattern: bytes, seconds: float = 60.0) -> re.Match[bytes]:
        """Wait for a pattern in what came since the last one."""
        end = time.monotonic() + seconds
        while (match := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < end, self.seen
            if select.select([self.leader], [], [], 0.2)[0]:
                self.seen += os.read(self.leader, 4096)
        self.seen = self.seen[match.end() :]
        return match

    def ends(self) -> int:
        """Wait for the end; the terminal must be as it was, and QEMU gone."""
        code = self.process.wait(30)
        assert termios.tcgetattr(self.follower) == self.before
        assert not alive(self.qemu)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.follower)


@pytest.fixture
def terminal(lab: Lab, checks: Built, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(lab, checks, tmp_path / "runs")
    yield made
    made.close()


def test_shell_with_job_control(terminal: Terminal) -> None:
    terminal.says(rb"checks:/# ")
    terminal.type(b"ps | grep [c]hecks\r")
    terminal.says(rb"\d+ root +checks hang")
    terminal.says(rb"checks:/# ")
    # Ctrl-C ends the foreground job in the guest, not us.
    terminal.type(b"sleep 1000\r")
    time.sleep(1)
    terminal.type(b"\x03")
    terminal.says(rb"checks:/# ")
    terminal.type(b"sleep 500 &\r")
    terminal.says(rb"checks:/# ")
    terminal.type(b"jobs; tty\r")
    terminal.says(rb"Running +sleep 500")
    terminal.says(rb"/dev/ttyS0")
    terminal.says(rb"checks:/# ")
    terminal.type(b"exit 4\r")
    terminal.says(rb"outcome exited")
    assert terminal.ends() == 0


@pytest.mark.parametrize("keys", [b"\x1d", b"\x01x"])
def test_quit_keys(terminal: Terminal, keys: bytes) -> None:
    terminal.says(rb"checks:/# ")
    terminal.type(keys)
    terminal.says(rb"outcome stopped")
    assert terminal.ends() == 0


def test_terminal_is_restored_after_a_signal(terminal: Terminal) -> None:
    terminal.says(rb"checks:/# ")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.says(rb"outcome stopped")
    assert terminal.ends() == 0
