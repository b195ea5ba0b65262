# SPDX-License-Identifier: GPL-2.0
"""How a run ended: derives one verdict from what was observed. Pure.

The first rule that matches counts: a panic; the application's end that init reported; a
requested stop; a timeout; an error that init reported. Otherwise the machine was lost, even
if the guest powered off without a report.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ukl.base.errors import ExitCode, TimeoutExpired, UklError, VmLost
from ukl.base.model import Outcome, RunResult
from ukl.vm import console, log
from ukl.vm.status import APPLICATION, COMPANION, Message, Type

if TYPE_CHECKING:
    from ukl.debug.crash import Crash

SIGNAL_BASE = 128
"""A program killed by signal N gives the exit code SIGNAL_BASE + N, as in a shell."""

LOST_REMEDY = (
    "run it with --mode process: as a normal process it cannot crash the machine, and its "
    "errors become signals; `ukl --verbose run` shows the kernel's messages"
)
"""In the kernel, an error of the program is the most likely cause of the machine's end."""


MEMORY_REMEDY = "give the guest more memory with -m"

_REMEDIES = {
    "Argument list too long": "put them into a file that the program reads (`files` of [run], a "
    "volume): Linux takes 128 KiB for each argument and variable, and 2 MiB for all",
    "Out of memory": MEMORY_REMEDY,
    "No space left on device": MEMORY_REMEDY,
    "its files do not fit": f"{MEMORY_REMEDY}, or put them on a volume (-v) or a disk (--disk)",
}
"""Text of an error of init, as musl has it -> remedy."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What a session observed. `tail` is the end of the console's output.

    `shutdown` is the reason of QMP's SHUTDOWN event (`guest-shutdown`, `guest-reset`,
    `host-qmp-quit`, …), None without one. `qemu_status` is QEMU's exit status,
    `qemu_output` the end of its messages.
    """

    messages: Sequence[Message]
    tail: bytes
    companion: bool
    init_is_app: bool
    panicked: bool
    timed_out: bool
    stopped: bool
    shutdown: str | None
    qemu_status: int
    qemu_output: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended: a word, a number (exit status or signal) and a sentence."""

    outcome: Outcome
    status: int | None = None
    detail: str = ""


def judge(seen: Observed) -> Verdict:
    """Return the verdict on what was observed."""
    verdict = _judge_init(seen) if seen.init_is_app else _judge(seen)
    started = any(message.type is Type.STARTED for message in seen.messages)
    bad = verdict.outcome in {Outcome.PANICKED, Outcome.LOST, Outcome.TIMEOUT}
    reason = console.unpacking_error(seen.tail) if bad and not started else None
    if reason is None:
        return verdict
    # The cause of all that came after it.
    return Verdict(Outcome.FAILED, detail=f"its files do not fit into its memory ({reason})")


def _judge(seen: Observed) -> Verdict:
    ended = _ended(seen.messages, COMPANION if seen.companion else APPLICATION)
    if seen.panicked or _reset_by_panic(seen):
        return Verdict(Outcome.PANICKED, detail=_panic(seen))
    if ended is not None and not seen.timed_out:
        if seen.stopped:
            return Verdict(Outcome.STOPPED, _number(ended), "stopped on request")
        return Verdict(_how(ended), _number(ended), _why(ended))
    if seen.stopped:
        return Verdict(Outcome.STOPPED, detail="stopped on request")
    if seen.timed_out:
        return Verdict(Outcome.TIMEOUT, detail=_progress(seen.messages))
    if (error := _last(seen.messages, Type.ERROR)) is not None:
        return Verdict(Outcome.FAILED, detail=_error(error))
    return Verdict(Outcome.LOST, detail=_lost(seen))


def _judge_init(seen: Observed) -> Verdict:
    """Return the verdict for an application as PID 1, whose end is a panic of the kernel."""
    ended = console.init_exit(seen.tail)
    if ended is not None:
        status, number = ended
        if number is not None:
            return Verdict(Outcome.SIGNALED, number)
        return Verdict(Outcome.EXITED, status)
    if seen.panicked or _reset_by_panic(seen):
        return Verdict(Outcome.PANICKED, detail=_panic(seen))
    if seen.stopped:
        return Verdict(Outcome.STOPPED, detail="stopped on request")
    if seen.timed_out:
        return Verdict(Outcome.TIMEOUT, detail="the application was still running")
    if seen.shutdown == "guest-shutdown":
        return Verdict(Outcome.EXITED, 0, "the application powered off the machine")
    return Verdict(Outcome.LOST, detail=_lost(seen))


def _ended(messages: Sequence[Message], who: str) -> Message | None:
    for message in reversed(messages):
        if message.type in {Type.EXITED, Type.SIGNALED} and message.who == who:
            return message
    return None


def _last(messages: Sequence[Message], kind: Type) -> Message | None:
    return next((message for message in reversed(messages) if message.type is kind), None)


def _how(ended: Message) -> Outcome:
    return Outcome.EXITED if ended.type is Type.EXITED else Outcome.SIGNALED


def _number(ended: Message) -> int | None:
    return ended.number("status" if ended.type is Type.EXITED else "signal")


_KILLED = re.compile(r"Killed process (\d+) \((.*)\) .*anon-rss:(\d+)kB")
"""The OOM killer's line (the kernel's mm/oom_kill.c, __oom_kill_process())."""

_REFUSED = re.compile(r"UKL: (.*\[\d+\]) (may not execute .*: (.*))")
"""Code that was refused (the kernel's arch/x86/ukl/exec.c, ukl_may_execute())."""

_ALLOWS = {
    "it is writable": "; --code wx allows that",
    "the process can have written to it": "; --code jit allows that",
}

_OUT_OF_MEMORY = "out of memory"
_NOT_EXECUTED = "code was refused"
_OF_NOTE = (_OUT_OF_MEMORY, _NOT_EXECUTED)
"""How reasons begin that may also be those of a program that exits by itself."""


def kernel_reason(line: str) -> str:
    """Return what a line of the kernel's log means for the user, empty for an empty line."""
    if found := _KILLED.search(line):
        process, name, size = found.groups()
        return (
            f"{_OUT_OF_MEMORY}: the kernel killed process {process}, {name}, which had "
            f"{int(size) >> 10} MiB; -m gives the guest more"
        )
    if found := _REFUSED.search(line):
        who, what, why = found.groups()
        return f"{_NOT_EXECUTED}: {who} {what}{_ALLOWS.get(why, '')}"
    return line


def _why(ended: Message) -> str:
    reason = kernel_reason(str(ended.fields.get("kernel") or ""))
    if ended.fields.get("core") is True:
        refused = reason.startswith(_NOT_EXECUTED)
        return f"core dumped; {reason}" if refused else "core dumped"
    # A program that exits may have lost a process to the OOM killer. Other lines are no reason.
    exited = ended.type is Type.EXITED
    return "" if exited and not reason.startswith(_OF_NOTE) else reason


def _error(message: Message) -> str:
    what, text = message.fields.get("what"), message.fields.get("text")
    return f"{what}: {text}" if text else str(what)


def _reset_by_panic(seen: Observed) -> bool:
    # A kernel without the pvpanic driver: panic=-1 resets the machine.
    return seen.shutdown == "guest-reset" and console.panic_reason(seen.tail) is not None


def _panic(seen: Observed) -> str:
    return console.panic_reason(seen.tail) or "the kernel panicked"


def _progress(messages: Sequence[Message]) -> str:
    if not messages:
        return "the guest did not reach its init"
    if _last(messages, Type.STARTED) is None:
        return "the guest's init did not start the application"
    if _ended(messages, APPLICATION) or _ended(messages, COMPANION):
        return "the application had ended, but the machine did not power off"
    return "the application was still running"


def _lost(seen: Observed) -> str:
    match seen.shutdown:
        case "guest-shutdown":
            return "the guest powered off without a report of how the application ended"
        case "guest-reset":
            return "the guest reset itself"
        case "host-signal" | "host-qmp-quit":
            return "QEMU was told to quit"
    output = f": {seen.qemu_output}" if seen.qemu_output else ""
    if seen.qemu_status < 0:
        return f"QEMU was killed by {_signal_name(-seen.qemu_status)}{output}"
    return f"QEMU exited with status {seen.qemu_status}{output}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def error_of(result: RunResult, reports: Sequence[Crash] = ()) -> UklError | None:
    """Return the error of a run, None if the application or a requested stop ended it.

    `reports` are those about crashes in the run.
    """
    tail = log.tail(result.console)
    match result.outcome:
        case Outcome.EXITED | Outcome.SIGNALED | Outcome.STOPPED:
            return None
        case Outcome.TIMEOUT:
            return TimeoutExpired(
                _with_lines(
                    f"the guest did not end within {result.seconds:.1f} s ({result.detail})", tail
                )
                + (f"\n{lines}" if (lines := _about(reports, "TIMEOUT")) else ""),
                remedy="allow more time with --timeout",
                log=result.console,
            )
        case Outcome.PANICKED:
            text = f"the guest's kernel panicked: {result.detail}"
            lines = _about(reports, "PANIC") or console.panic_lines(tail)
            memory = "memory" in result.detail  # the OOM killer has found no process
            return VmLost(
                f"{text}\n{lines}" if lines else text,
                remedy=MEMORY_REMEDY if memory else LOST_REMEDY,
                log=result.console,
            )
        case Outcome.FAILED:
            return UklError(
                _with_lines(f"the guest could not run the application: {result.detail}", tail),
                remedy=next(
                    (remedy for text, remedy in _REMEDIES.items() if text in result.detail),
                    "`ukl --verbose run` shows the kernel's messages",
                ),
                log=result.console,
            )
        case Outcome.LOST:
            return VmLost(
                _with_lines(f"the virtual machine was lost: {result.detail}", tail)
                + (f"\n{lines}" if (lines := _about(reports, "RESET")) else ""),
                remedy=LOST_REMEDY,
                log=result.console,
            )


def _about(reports: Sequence[Crash], name: str) -> str:
    if not reports:
        return ""
    from ukl.debug.crash import Kind, lines_about  # noqa: PLC0415 - not for a guest that ends well

    found = [each for each in reports if each.kind is Kind[name]]
    if not found:
        return ""
    lines = lines_about(found[-1])
    return "\n".join(lines[1:] if found[-1].kind is Kind.PANIC else lines)


def _with_lines(text: str, tail: bytes) -> str:
    lines = console.last_lines(tail)
    return f"{text}; its last lines:\n{lines}" if lines else text


def death(result: RunResult) -> str:
    """Return a shell's message about a program killed by a signal, or what a program lost.

    As in a shell, a program whose reader is gone (`… | head -1`) is no reason for one.
    """
    return death_of(result.outcome, result.status, result.detail)


def death_of(outcome: str | None, status: int | None, detail: str) -> str:
    """Return that message for what the registry knows of an end."""
    if outcome == Outcome.EXITED and detail.startswith(_OF_NOTE):
        return detail
    if outcome != Outcome.SIGNALED or status in {None, signal.SIGPIPE}:
        return ""
    return f"killed by {_signal_name(status)}" + (f" ({detail})" if detail else "")


def exit_code(result: RunResult) -> int:
    """Return the exit code of `ukl run`: the application's if it has one."""
    match result.outcome:
        case Outcome.EXITED:
            return result.status or 0
        case Outcome.SIGNALED:
            return SIGNAL_BASE + (result.status or 0)
        case Outcome.STOPPED:
            return ExitCode.INTERRUPTED
        case Outcome.TIMEOUT:
            return ExitCode.TIMEOUT
        case Outcome.FAILED:
            return ExitCode.FAILED
        case Outcome.PANICKED | Outcome.LOST:
            return ExitCode.VM_LOST
