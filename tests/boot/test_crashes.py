# SPDX-License-Identifier: GPL-2.0
"""What crashes says where, through kernel and application, and leaves a dump for gdb."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.boot.harness import PROGRAMS
from tests.conftest import TOP
from ukl.debug import core
from ukl.host.store import Store
from ukl.vm.postmortem import PANIC

CRASH = PROGRAMS / "crash.c"
LINE = 1 + CRASH.read_text().splitlines().index(
    "\t\t*(volatile int *)8 = 1;\t/* line of the crash */"
)
SECONDS = 300.0


@dataclass(frozen=True)
class Crashes:
    """The command line, and the cache in which the program is built."""

    store: Store

    def __call__(self, *argv: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "PYTHONPATH": str(TOP / "src"),
            "UKL_CACHE_DIR": str(self.store.root),
        }
        words = [sys.executable, "-m", "ukl", *argv]
        done = subprocess.run(
            words, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(self, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        name = f"{name}-{os.getpid()}"
        return self("run", "--timeout", "100", "--name", name, str(CRASH), *argv)

    def report(self, name: str) -> dict[str, Any]:
        [report] = json.loads(self("crash", f"{name}-{os.getpid()}", "--json").stdout)
        assert isinstance(report, dict)
        return report

    def gdb(self, name: str, *commands: str) -> str:
        if shutil.which("gdb") is None:
            pytest.skip("optional: no gdb on this machine")
        words = [word for command in commands for word in ("-ex", command)]
        return self("gdb", f"{name}-{os.getpid()}", "--dump", "--", "-batch", *words).stdout


@pytest.fixture(scope="module")
def crashes(shared_store: Store) -> Crashes:
    return Crashes(shared_store)


def functions(trace: dict[str, Any]) -> list[str]:
    return [place["function"] for place in trace["places"]]


@pytest.mark.parametrize("options", [(), ("--mode", "process")], ids=["unikernel", "process"])
def test_a_signal(crashes: Crashes, options: tuple[str, ...]) -> None:
    name = "segv" + "".join(options)
    done = crashes.run(name, *options, "--", "segv", "thread")
    assert done.returncode == 128 + 11
    assert "crash: killed by SIGSEGV (core dumped)" in done.stderr
    assert "SIGSEGV at address 0x8: nothing is mapped there" in done.stderr
    assert re.search(rf"#0 +crash_inner\+0x\w+ +crash\.c:{LINE}$", done.stderr, re.MULTILINE)
    first, second = crashes.report(name)["traces"]
    assert functions(first)[:3] == ["crash_inner", "crash_outer", "thread"]
    assert "main" in functions(second)
    said = crashes.gdb(name, "bt", "p depth")
    assert re.search(r"#0 .*crash_inner \(how=.*\"segv\"\) at crash\.c:\d+", said), said
    assert "$1 = 41" in said


@pytest.mark.parametrize("mode", ["unikernel", "process"])
def test_two_processes_crash(crashes: Crashes, mode: str) -> None:
    name = f"twice-{mode}"
    done = crashes.run(name, "--mode", mode, "--", "twice")
    assert done.returncode == 128 + 11
    path = "/ukl/crash" if mode == "unikernel" else "/user/crash"
    found = re.findall(rf"^process (\d+) \({path}, {mode}\): (\w+)", done.stderr, re.MULTILINE)
    assert [how for _, how in found] == ["SIGABRT", "SIGSEGV"], done.stderr
    assert found[0][0] != found[1][0]
    assert "crash_inner (how=" in crashes.gdb(name, "bt")
    first, second = (f"{name}-{os.getpid()}/crash-{number}" for number in (1, 2))
    assert f"open it: ukl gdb {first} --dump" in done.stderr
    assert "SIGABRT" in crashes("crash", first).stdout
    assert "SIGSEGV" in crashes("crash", second).stdout
    if shutil.which("gdb") is not None:
        said = crashes("gdb", first, "--dump", "--", "-batch", "-ex", "bt").stdout
        assert "in abort" in said, said


def test_a_program_as_it_is(crashes: Crashes, tmp_path: Path) -> None:
    program, name = tmp_path / "crash", f"as-is-{os.getpid()}"
    subprocess.run(["gcc", "-g", "-O1", CRASH, "-o", program], check=True)
    done = crashes("run", "--timeout", "100", "--name", name, str(program), "--", "twice")
    found = re.findall(r"^process \d+ \(.*/crash, unikernel\): (\w+)", done.stderr, re.MULTILINE)
    assert found == ["SIGABRT", "SIGSEGV"], done.stderr
    reports = json.loads(crashes("crash", name, "--all", "--json").stdout)
    for [trace] in (each["traces"] for each in reports):
        names = functions(trace)
        assert [each for each in names if each in {"crash_inner", "crash_outer", "main"}] == [
            *("crash_inner", "crash_outer", "main")
        ]
    assert "abort" in functions(reports[1]["traces"][0])
    assert reports[0]["traces"][0]["places"][0]["line"] == LINE
    if shutil.which("gdb") is not None:
        said = crashes("gdb", name, "--dump", "--", "-batch", "-ex", "bt").stdout
        assert re.search(r"#0 .* crash_inner \(.*\) at .*crash\.c:\d+", said), said


@pytest.mark.parametrize(
    ("how", "options", "why"),
    [
        ("data", (), core.NOT_EXECUTABLE),
        ("made", (), core.NO_CODE),
        ("data", ("--mode", "process"), core.NOT_EXECUTABLE),
    ],
)
def test_code_in_data(crashes: Crashes, how: str, options: tuple[str, ...], why: str) -> None:
    done = crashes.run(f"{how}{len(options)}", *options, "--no-dump", "--", how)
    assert done.returncode == 128 + 11
    assert re.search(rf"SIGSEGV at address 0x\w+: {re.escape(why)}$", done.stderr, re.MULTILINE)


def test_the_log_shows_the_code(crashes: Crashes) -> None:
    """The line of a crash in ring 0 has the bytes of the instructions, as that of a process."""
    name = f"code-{os.getpid()}"
    done = crashes(
        "--verbose",
        "run",
        "--timeout",
        "100",
        "--no-dump",
        "--name",
        name,
        str(CRASH),
        "--",
        "segv",
    )
    bytes_of_the_store = re.compile(r"crash\[\d+\]: segfault at 8 .*\n.*Code: .*<c7> 04 25 08 00")
    assert bytes_of_the_store.search(done.stdout.replace("\r", "") + done.stderr)


def test_a_panic(crashes: Crashes) -> None:
    done = crashes.run("panic", "--cpus", "2", "--", "panic")
    assert done.returncode == 125
    assert "panicked: sysrq triggered crash" in done.stderr
    report = crashes.report("panic")
    names = functions(report["traces"][0])
    assert names[0] in PANIC
    order = ["sysrq_handle_crash", "vfs_write", "crash_panic", "crash_outer", "main"]
    assert [name for name in names if name in order] == order
    assert len(report["traces"]) == 2
    assert [place["file"] for place in report["traces"][0]["places"]].count("crash.c") >= 3
    said = crashes.gdb("panic", "thread apply all bt", "p depth", "x/s &linux_banner")
    assert re.search(r"vfs_write .*\n(#.*\n)*#\d+ .*crash_panic .*at crash\.c:\d+", said), said
    assert "$1 = 40" in said
    assert '"Linux version ' in said


def test_process_1(crashes: Crashes) -> None:
    done = crashes.run("first", "--init", "app", "--", "segv")
    assert done.returncode == 128 + 11
    names = functions(crashes.report("first")["traces"][0])
    assert names[0] in PANIC
    assert names[-6:-3] == ["crash_inner", "crash_outer", "main"]
    # Its end is a panic even if all is well: nothing to report then.
    assert crashes.run("well", "--init", "app", "--", "not").returncode == 0
    assert crashes("crash", f"well-{os.getpid()}").returncode == 4


def test_a_reset(crashes: Crashes) -> None:
    done = crashes.run("reset", "--no-dump", "--", "reset")
    assert done.returncode == 125
    assert re.search(r"#0 +crash_inner\+0x\w+ +crash\.c:\d+", done.stderr), done.stderr
    assert "no dump: not requested" in done.stderr


def test_where_it_was_when_the_time_was_over(crashes: Crashes) -> None:
    name = f"spin-{os.getpid()}"
    done = crashes("run", "--timeout", "15", "--name", name, str(CRASH), "--", "spin")
    assert done.returncode == 124
    assert re.search(r"#\d+ +crash_inner\+0x\w+ +crash\.c:\d+", done.stderr), done.stderr


def test_a_guest_in_the_background(crashes: Crashes) -> None:
    name = f"behind-{os.getpid()}"
    started = crashes("run", "-d", "--name", name, str(CRASH), "--", "abort")
    try:
        assert started.returncode == 0, started.stderr
        assert f"{name}: killed by SIGABRT" in crashes("logs", "-f", name).stderr
        [record] = json.loads(crashes("inspect", name).stdout)
        assert Path(record["crash"], "crash.json").exists()
        assert "abort" in functions(crashes.report("behind")["traces"][0])
    finally:
        crashes("rm", "--force", name)
    assert crashes("crash", name).returncode == 4
