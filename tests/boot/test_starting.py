# SPDX-License-Identifier: GPL-2.0
"""What an unprivileged process tries at and after the start of an application.

An attack is a row of a table here, and a row of the same name in programs/matrix: how to start
it in starting.c, what it finds of what was prepared in started.c, who can see and touch it in
access.c, where it can be led in leading.c.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.boot import matrix
from tests.boot.harness import Built, Lab
from tests.boot.matrix import Results
from ukl.base.model import Returns
from ukl.kernel import symbols

STARTS: Mapping[str, str] = {
    "user": "exited 44",
    "root": "exited 44",
    "no_new_privs": "EPERM",
    "no_new_privs, root": "exited 44",
    "no_new_privs, CAP_SYS_RAWIO": "exited 44",
    # With no_new_privs, which it takes.
    "filter": "EPERM",
    "filter of root's": "exited 44",
    "filter that answers brk()": "EPERM",
    # In which the one above wants to have the application's data.
    "memory of the kernel": "as it was",
    "traced": "EPERM",
    "traced from outside": "EPERM",
    # The tracer has CAP_SYS_PTRACE, but the process nothing.
    "traced with root's credentials": "EPERM",
    "traced, root": "exited 44",
    "traced, root without CAP_SYS_PTRACE": "EPERM",
    "shared directory": "EPERM",
    "shared directory, root": "exited 44",
    "second thread": "exited 44",
    "posix_spawn": "exited 44",
    "namespace": "EPERM",
    "namespace of root's": "EPERM",
    # Its root is not root: not a marker at all.
    "namespace, marker of its own": "EACCES",
    "namespace, traced": "EPERM",
    "bounding set": "EPERM",
    "bounding set, root": "EPERM",
    "script": "exited 44",
    "script, no_new_privs": "EPERM",
    "descriptor": "exited 44",
    "descriptor, no_new_privs": "EPERM",
    "set-user-ID marker": "exited 44",
    "set-user-ID marker, no_new_privs": "EPERM",
    "set-user-ID marker, traced": "EPERM",
}
"""How a process starts it -> what comes of it."""

STATES: Mapping[str, tuple[str, str]] = {
    "AT_SECURE": ("1", "0"),
    "environment": (
        "has MALLOC_ARENA_MAX OTHER",
        "has LD_PRELOAD LD_LIBRARY_PATH GCONV_PATH LOCPATH TMPDIR GLIBC_TUNABLES "
        "MALLOC_ARENA_MAX OTHER",
    ),
    # The C library opens those that are closed.
    "standard descriptors": ("1 1 1", "0 0 0"),
    # x86-64 always clears READ_IMPLIES_EXEC.
    "personality": ("0", "0x340000"),
    "address of the stack": ("another", "the same"),
    "address of a mapping": ("another", "the same"),
    "limit of the stack": ("8192 KiB", "none"),
    "signal when the parent dies": ("0", "10"),
}
"""What is prepared -> what is found of it where that was not trusted, and where it was."""

SECURE = (
    *("user", "user, script", "user, descriptor", "user, set-user-ID marker"),
    # To compare with: what Linux does anyway.
    "user, set-user-ID program",
)

TRUSTED = ("root", "CAP_SYS_RAWIO", "user, normal program")

ATTEMPTS = (
    *("PTRACE_ATTACH", "PTRACE_SEIZE", "process_vm_readv", "process_vm_writev"),
    *("mem", "maps", "auxv", "environ", "syscall", "pagemap", "exe", "descriptor's link"),
    *("pidfd_getfd", "perf_event_open", "kcmp", "get_robust_list", "address in stat", "wchan"),
)

WHO: Mapping[str, str] = {"user": "refused", "namespace's root": "refused", "root": "done"}

DUMPABLE = tuple(
    f"suid_dumpable {value}{word}" for value in range(3) for word in ("", ", dumpable")
)
"""What the process counts as; ", dumpable": it has said so itself."""

EVENTS: Mapping[str, tuple[str, str, str]] = {
    "application": ("gone", "gone", "gone"),
    "application, script": ("gone", "gone", "gone"),
    # With fs.suid_dumpable=1 Linux lets them live.
    "set-user-ID program": ("gone", "counts", "gone"),
    "normal program": ("counts", "counts", "counts"),
}
"""What is executed -> what becomes of a perf event of before, by fs.suid_dumpable."""

TRACER: Mapping[str, str] = {
    # As after a stop at which nothing was changed.
    "its own registers, in a stub": "done",
    "its own address": "done",
    # Where one may enter them: see ukl_valid_ip().
    "addresses in the stubs, taken": "4",
    "registers with ukl_syscall": "done",
    "registers with ukl_return_to_ip": "EIO",
    "behind the stubs": "EIO",
    "kernel text": "EIO",
    "application text": "done",
    "user half": "done",
}
"""Where root as a tracer lets it go on."""

SIGRETURNS: Mapping[str, str] = {
    # Fifty times in the clock's functions, which have no other way back.
    "where it was interrupted": "exited 7",
    "ukl_return_to_ip": "killed SEGV",
    "ukl_return_to_call": "killed SEGV",
    "ukl_return_by_ret": "killed SEGV",
    "__ukl_text_end": "killed SEGV",
    "ukl_syscall_kernel": "killed SEGV",
    # Where the kernel itself puts an interrupted call: see arch/x86/ukl/frame.h and signal.c.
    "ukl_syscall": "exited 7",
    "ukl_syscall_restart": "exited 7",
    "ukl_fast_ret": "exited 7",
    "ukl_call": "exited 7",
}
"""Where a signal frame leads; 7: it has come to the application's function behind that."""

LOG: Mapping[str, str] = {
    "write": "killed SEGV, as linked",
    "text": "killed SEGV, as linked",
    # Its instruction pointer is in its data.
    "jump": "killed SEGV, no address of the kernel half",
    "address": "killed SEGV, as linked",
    "ud2": "killed ILL, as linked",
    "int3": "killed TRAP, as linked",
    "divide": "killed FPE, as linked",
    "frame": "killed SEGV, as linked",
}
"""A mistake of the application -> its end, and what the kernel's log has for an address."""

CHECKS = tuple(
    f"starting.{name}"
    for name in ("start", "state", "access", "events", "tracer", "sigreturn", "log")
)

MOVED = "starting.moved 1500"


@pytest.fixture(scope="module")
def built(lab: Lab) -> Built:
    """Return the program, in the kernel that has namespaces and kcmp()."""
    return matrix.full(lab)


@pytest.fixture(scope="module")
def results(lab: Lab, built: Built) -> Results:
    setup = f"export UKL {addresses(built)}\n"
    return matrix.run(lab, built, CHECKS, setup=setup, modes=("USER",), seconds=90)


def addresses(built: Built) -> str:
    """Return the variables with the addresses that the checks look at."""
    known = symbols.read_map(built.image.system_map)
    offset = known["poweroff_cmd"][0] - known["_stext"][0]
    return f"CANARY={offset:x} LINKED={known['__ukl_text_start'][0]:x}"


@pytest.fixture(scope="module")
def of_program(lab: Lab, built: Built) -> Results:
    """Return what happens if the program is not linked in: a marker file names it."""
    marker = symbols.with_flags(symbols.program_marker("/program"), Returns.IRET)
    octal = "".join(f"\\{byte:03o}" for byte in marker)
    setup = (
        f"cp $USER /program; printf '{octal}' > /program.marker; chmod 755 /program.marker\n"
        f"export UKL=/program.marker {addresses(built)}\n"
    )
    return matrix.run(
        lab,
        built,
        [f"starting.{name}" for name in ("start", "state", "access", "events")],
        setup=setup,
        modes=("USER",),
        seconds=90,
        append=("ukl.programs=1",),
    )


def said(results: Results, name: str) -> dict[str, str]:
    """Return what a check has found: row -> what came of it."""
    [check] = results[f"starting.{name}"]
    assert check.status == 0, check.text
    pairs = [detail.rpartition(": ") for detail in check.details]
    return {row: text for row, _, text in pairs}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", STARTS)
def test_who_may_start_it(results: Results, row: str) -> None:
    assert said(results, "start")[row] == STARTS[row]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", STATES)
def test_what_it_finds(results: Results, row: str) -> None:
    secure, trusted = STATES[row]
    expected = dict.fromkeys(SECURE, secure) | dict.fromkeys(TRUSTED, trusted)
    found = said(results, "state")
    assert {way: found[f"{row}, {way}"] for way in expected} == expected


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", ATTEMPTS)
def test_who_may_see_and_touch_it(results: Results, row: str) -> None:
    found = said(results, "access")
    expected = {f"{who}, {how}": end for who, end in WHO.items() for how in DUMPABLE}
    assert {case: found[f"{row}, {case}"] for case in expected} == expected


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", EVENTS)
def test_events_of_before(results: Results, row: str) -> None:
    found = said(results, "events")
    assert tuple(found[f"{row}, suid_dumpable {value}"] for value in range(3)) == EVENTS[row]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", TRACER)
def test_where_a_tracer_leads_it(results: Results, row: str) -> None:
    assert said(results, "tracer")[row] == TRACER[row]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", SIGRETURNS)
def test_where_a_signal_frame_leads_it(results: Results, row: str) -> None:
    assert said(results, "sigreturn")[row] == SIGRETURNS[row]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", LOG)
def test_what_the_log_tells(results: Results, row: str) -> None:
    assert said(results, "log")[row] == LOG[row]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["start", "state", "access", "events"])
def test_a_program_that_is_not_linked_in(results: Results, of_program: Results, name: str) -> None:
    """The rules are the same."""
    found, linked = (
        # Its text is in the user half, so root sees no address of the kernel half.
        {row: text for row, text in said(all_, name).items() if "address in stat, root" not in row}
        for all_ in (of_program, results)
    )
    assert found == linked


@pytest.mark.timeout(1800)
def test_each_row_is_expected(results: Results) -> None:
    """A row that is only in the program would be looked at by nobody."""
    found = {name: set(said(results, name)) for name in ("start", "tracer", "sigreturn", "log")}
    assert found == {
        "start": set(STARTS),
        "tracer": set(TRACER),
        "sigreturn": set(SIGRETURNS),
        "log": set(LOG),
    }
    assert len(said(results, "state")) == len(STATES) * len(SECURE + TRUSTED)
    assert len(said(results, "access")) == len(ATTEMPTS) * len(WHO) * len(DUMPABLE)
    assert len(said(results, "events")) == len(EVENTS) * 3


@pytest.mark.timeout(900)
def test_started_on_the_way_to_another_processor(lab: Lab) -> None:
    built = matrix.plain(lab)
    results = matrix.run(
        lab, built, (MOVED,), cpus=4, setup="export UKL\n", modes=("USER",), seconds=200
    )
    [check] = results[MOVED]
    assert check.status == 0, check.text
    assert check.details == ["exited 44: 1500 of 1500"]
