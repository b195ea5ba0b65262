# SPDX-License-Identifier: GPL-2.0
"""Detects just-in-time compilers, and reports what is known about each, in each form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ukl.base.errors import InputError
from ukl.check.model import Finding, Subject, finding
from ukl.check.rules import Severity
from ukl.check.unit import Unit


@dataclass(frozen=True, slots=True)
class Note:
    """What happens in one form, and what to do."""

    happens: str
    remedy: str
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True)
class Engine:
    """A compiler, and how it is known: a symbol's name begins with it, or a library is needed.

    `linked` is about programs that are linked into the kernel, `as_is` about others.
    """

    name: str
    symbol: str
    libraries: tuple[str, ...]
    linked: Note
    as_is: Note


_WX = Note("it has memory that is writable and executable at once", "allow it by `--code wx`")

ENGINES = (
    Engine(
        "PCRE2",
        "pcre2_jit_compile",
        (),
        Note(
            "patterns of pcre2_jit_compile() raise SIGSEGV when they are matched (nginx with "
            "`pcre_jit on`: its workers crash again and again); with --code jit they are "
            "interpreted, with --code wx compiled",
            "do not turn its compiler on, or allow it by `--code wx`",
        ),
        Note(
            "pcre2_jit_compile() fails, and patterns are interpreted, unless --code is wx",
            "allow it by `--code wx` if patterns should be compiled",
            Severity.INFO,
        ),
    ),
    Engine(
        "libffi",
        "ffi_prep_closure_loc",
        (),
        Note("the first call of a closure raises SIGSEGV", "allow it by `--code jit`"),
        Note("closures work, whatever --code is", "", Severity.INFO),
    ),
    Engine(
        "LuaJIT",
        "luaJIT_setmode",
        ("libluajit-",),
        Note(
            "its results are right, but its compiler needs memory near its text, and finds none "
            "in the kernel's half, whatever --code is: a hundred times slower than its interpreter",
            "turn the compiler off (`jit.off()`, -joff), or run the program as it is, with "
            "`--code jit`",
        ),
        Note("it stops with an error when it compiles a trace", "allow it by `--code jit`"),
    ),
    Engine(
        "V8",
        "_ZN2v8",
        ("libnode.so", "libv8.so"),
        Note(
            "it executes code in user pages: SIGSEGV; not tested",
            "run the program as it is, with `--code wx`, or start it with --jitless",
        ),
        _WX,
    ),
    Engine(
        "HotSpot",
        "JNI_CreateJavaVM",
        ("libjli.so", "libjvm.so"),
        Note("not tested", "run it as it is, with `--code wx`"),
        _WX,
    ),
)


def findings(subject: Subject, *, as_is: bool) -> Iterator[Finding]:
    """Yield one finding for each compiler that the files contain or load."""
    for engine in ENGINES:
        for unit in subject.units:
            if _contains(unit, engine, as_is=as_is):
                note = engine.as_is if as_is else engine.linked
                yield finding(
                    "engine",
                    [unit.whole],
                    f"{engine.name}: {note.happens}",
                    severity=note.severity,
                    remedy=note.remedy,
                )
                break


def _contains(unit: Unit, engine: Engine, *, as_is: bool) -> bool:
    # A program as it is only refers to what a shared object defines.
    if any(name.startswith(engine.symbol) for name in (unit.names if as_is else unit.defined)):
        return True
    return as_is and any(name.startswith(engine.libraries) for name in _needed(unit))


def _needed(unit: Unit) -> list[str]:
    try:
        return unit.elf.dynamic().get("DT_NEEDED", [])
    except InputError:
        return []
