# SPDX-License-Identifier: GPL-2.0
"""The verdict about a run: each way to end gives its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import ExitCode, InputError, TimeoutExpired, UklError, VmLost
from ukl.base.model import Outcome, RunResult
from ukl.guest import rundesc
from ukl.guest.rundesc import GuestRun
from ukl.vm import outcome
from ukl.vm.outcome import Observed
from ukl.vm.status import Message, Type

HELLO = Message(Type.HELLO, 0.5, {"version": 1})
STARTED = Message(Type.STARTED, 0.6, {"who": "application", "pid": 33})
DONE = Message(Type.DONE, 0.9, {})
PANIC = b"[    1.0] Kernel panic - not syncing: sysrq triggered crash\r\n"
INIT_END = b"[    1.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x%08x\r\n"

BASE = Observed(
    messages=(HELLO, STARTED),
    tail=b"",
    companion=False,
    init_is_app=False,
    panicked=False,
    timed_out=False,
    stopped=False,
    shutdown="guest-shutdown",
    qemu_status=0,
)
INIT = replace(BASE, messages=(), init_is_app=True, shutdown="guest-panicked")


def exited(status: int, who: str = "application") -> Message:
    return Message(Type.EXITED, 0.8, {"who": who, "status": status})


def seen(*more: Message, **changes: object) -> Observed:
    return replace(BASE, messages=(*BASE.messages, *more), **changes)  # type: ignore[arg-type]


KILLED = Message(Type.SIGNALED, 0.8, {"who": "application", "signal": 11, "core": True})
NOEXEC = Message(
    Type.ERROR, 0.6, {"what": "execve", "errno": 8, "text": "Exec format error"}
)  # fmt: skip

CASES = [
    (seen(exited(7), DONE), Outcome.EXITED, 7),
    (seen(exited(0), DONE), Outcome.EXITED, 0),
    (seen(KILLED, DONE), Outcome.SIGNALED, 11),
    # A companion decides when there is one, whatever became of the application.
    (seen(KILLED, exited(3, "companion"), DONE, companion=True), Outcome.EXITED, 3),
    (seen(exited(3), companion=True), Outcome.LOST, None),
    # Powered off, reset, killed without a report.
    (seen(), Outcome.LOST, None),
    (seen(shutdown="guest-reset"), Outcome.LOST, None),
    (seen(shutdown=None, qemu_status=-9), Outcome.LOST, None),
    (seen(DONE), Outcome.LOST, None),
    # A panic weighs more than a report before it.
    (seen(panicked=True), Outcome.PANICKED, None),
    (seen(exited(0), DONE, panicked=True), Outcome.PANICKED, None),
    (seen(shutdown="guest-reset", tail=PANIC), Outcome.PANICKED, None),
    # Text on the console is not a panic by itself.
    (seen(exited(0), DONE, tail=PANIC), Outcome.EXITED, 0),
    (seen(timed_out=True, shutdown="host-qmp-quit"), Outcome.TIMEOUT, None),
    (seen(stopped=True, shutdown="host-qmp-quit"), Outcome.STOPPED, None),
    (seen(KILLED, DONE, stopped=True), Outcome.STOPPED, 11),
    (seen(NOEXEC, DONE), Outcome.FAILED, None),
    # The application as PID 1.
    (replace(INIT, tail=INIT_END % 0x700, panicked=True), Outcome.EXITED, 7),
    (replace(INIT, tail=INIT_END % 0x0B, panicked=True), Outcome.SIGNALED, 11),
    (replace(INIT, tail=PANIC, panicked=True), Outcome.PANICKED, None),
    (replace(INIT, tail=PANIC, shutdown="guest-reset"), Outcome.PANICKED, None),
    (replace(INIT, shutdown="guest-shutdown"), Outcome.EXITED, 0),
    (replace(INIT, timed_out=True, shutdown="host-qmp-quit"), Outcome.TIMEOUT, None),
    (replace(INIT, stopped=True, shutdown="host-qmp-quit"), Outcome.STOPPED, None),
    (replace(INIT, shutdown=None, qemu_status=1), Outcome.LOST, None),
]


@pytest.mark.parametrize(("observed", "expected", "status"), CASES)
def test_verdict(observed: Observed, expected: Outcome, status: int | None) -> None:
    verdict = outcome.judge(observed)
    assert (verdict.outcome, verdict.status) == (expected, status)


def test_details_say_what_happened() -> None:
    assert "without a report" in outcome.judge(seen()).detail
    assert "SIGKILL" in outcome.judge(seen(shutdown=None, qemu_status=-9)).detail
    assert outcome.judge(seen(NOEXEC, DONE)).detail == "execve: Exec format error"
    assert outcome.judge(seen(KILLED, DONE)).detail == "core dumped"
    assert outcome.judge(seen(panicked=True, tail=PANIC)).detail == "sysrq triggered crash"


def result(kind: Outcome, status: int | None, console: Path) -> RunResult:
    return RunResult(kind, status, console, 1.0, "why")


@pytest.mark.parametrize(
    ("kind", "status", "code", "error"),
    [
        (Outcome.EXITED, 0, 0, None),
        (Outcome.EXITED, 7, 7, None),
        (Outcome.SIGNALED, 11, 139, None),
        (Outcome.STOPPED, None, ExitCode.INTERRUPTED, None),
        (Outcome.TIMEOUT, None, ExitCode.TIMEOUT, TimeoutExpired),
        (Outcome.PANICKED, None, ExitCode.VM_LOST, VmLost),
        (Outcome.LOST, None, ExitCode.VM_LOST, VmLost),
        (Outcome.FAILED, None, ExitCode.FAILED, UklError),
    ],
)
def test_exit_codes_and_errors_agree(
    kind: Outcome, status: int | None, code: int, error: type[UklError] | None, tmp_path: Path
) -> None:
    file = tmp_path / "console.log"
    file.write_bytes(b"first\r\nlast words\r\n" + PANIC)
    ended = result(kind, status, file)
    assert outcome.exit_code(ended) == code
    found = outcome.error_of(ended)
    if error is None:
        assert found is None
        return
    assert type(found) is error
    assert found.code == code
    assert found.log == file
    assert found.remedy
    assert "last words" in found.message
    assert "why" in found.message


OOM = (
    "Out of memory: Killed process 33 (a (b)) total-vm:222kB, anon-rss:225280kB, file-rss:0kB, "
    "shmem-rss:0kB, UID:0 pgtables:480kB oom_score_adj:0"
)
REASON = "out of memory: the kernel killed process 33, a (b), which had 220 MiB; "


def test_out_of_memory_is_said(tmp_path: Path) -> None:
    killed = {"who": "application", "signal": 9, "core": False, "kernel": OOM}
    verdict = outcome.judge(seen(Message(Type.SIGNALED, 0.8, killed)))
    assert verdict.detail == REASON + "-m gives the guest more"
    failed = {"who": "application", "status": 1, "kernel": OOM}
    verdict = outcome.judge(seen(Message(Type.EXITED, 0.8, failed)))
    ended = replace(result(Outcome.EXITED, 1, tmp_path / "log"), detail=verdict.detail)
    assert outcome.death(ended).startswith(REASON)
    other = {"who": "application", "signal": 11, "core": False, "kernel": "x[33]: segfault at 8"}
    assert outcome.judge(seen(Message(Type.SIGNALED, 0.8, other))).detail == "x[33]: segfault at 8"
    exited_after = {"who": "application", "status": 1, "kernel": "x[33]: segfault at 8"}
    assert outcome.judge(seen(Message(Type.EXITED, 0.8, exited_after))).detail == ""
    deadlocked = replace(
        result(Outcome.PANICKED, None, tmp_path / "log"), detail="System is deadlocked on memory"
    )
    error = outcome.error_of(deadlocked)
    assert error is not None
    assert "-m" in str(error.remedy)


WX = "UKL: node[34] may not execute memory: it is writable"
JIT = "UKL: luajit[5] may not execute memory: the process can have written to it"
FILE = "UKL: x[5] may not execute y.so: not owned by root, writable by others, or on a nosuid mount"


@pytest.mark.parametrize(
    ("line", "end"),
    [(WX, "--code wx allows that"), (JIT, "--code jit allows that"), (FILE, "mount")],
)
def test_code_that_was_refused_is_said(tmp_path: Path, line: str, end: str) -> None:
    fields = {"who": "application", "signal": 5, "core": True, "kernel": line}
    detail = outcome.judge(seen(Message(Type.SIGNALED, 0.8, fields))).detail
    assert detail.startswith("core dumped; code was refused: ")
    assert detail.endswith(end)
    failed = {"who": "application", "status": 1, "kernel": line}
    verdict = outcome.judge(seen(Message(Type.EXITED, 0.8, failed)))
    ended = replace(result(Outcome.EXITED, 1, tmp_path / "log"), detail=verdict.detail)
    assert outcome.death(ended).endswith(end)


def test_files_that_do_not_fit_are_the_cause_of_what_follows(tmp_path: Path) -> None:
    tail = b"[    1.6] Initramfs unpacking failed: write error\r\n" + PANIC
    panicked = replace(BASE, messages=(), tail=tail, panicked=True)
    for observed in (panicked, replace(panicked, panicked=False, shutdown="guest-shutdown")):
        verdict = outcome.judge(observed)
        assert verdict.outcome is Outcome.FAILED
        assert verdict.detail.endswith("(write error)")
    ended = replace(
        result(Outcome.FAILED, None, tmp_path / "log"), detail=outcome.judge(panicked).detail
    )
    assert "volume" in str(getattr(outcome.error_of(ended), "remedy", None))
    # A program may print what it likes.
    assert outcome.judge(seen(tail=tail, panicked=True)).outcome is Outcome.PANICKED


def test_arguments_that_are_too_long_have_a_remedy(tmp_path: Path) -> None:
    failed = replace(
        result(Outcome.FAILED, None, tmp_path / "log"), detail="execve: Argument list too long"
    )
    assert "128 KiB" in str(getattr(outcome.error_of(failed), "remedy", None))
    with pytest.raises(InputError) as caught:
        rundesc.encode(GuestRun(name="a", argv=("x" * (1 << 20),)))
    assert "volume" in str(caught.value.remedy)


def test_a_death_by_signal_is_said(tmp_path: Path) -> None:
    assert outcome.death(result(Outcome.SIGNALED, 11, tmp_path)) == "killed by SIGSEGV (why)"
    assert outcome.death(result(Outcome.SIGNALED, 13, tmp_path)) == ""  # SIGPIPE
    assert outcome.death(result(Outcome.EXITED, 139, tmp_path)) == ""
    assert outcome.death(result(Outcome.STOPPED, 15, tmp_path)) == ""
