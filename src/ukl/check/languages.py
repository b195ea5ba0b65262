# SPDX-License-Identifier: GPL-2.0
"""Traces of languages other than C, and what is known about each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ukl.check.model import Finding, Subject, finding
from ukl.check.rules import Severity


@dataclass(frozen=True, slots=True)
class Language:
    """A language: symbols or sections that give it away, and what to say.

    `sections` count where a file still has its own.
    """

    name: str
    symbols: frozenset[str]
    happens: str
    remedy: str
    severity: Severity = Severity.INFO
    sections: frozenset[str] = frozenset()


LANGUAGES = (
    Language(
        "Go",
        frozenset({"runtime.rt0_go.abi0", "runtime.goexit.abi0"}),
        "Go's own linker leaves no relocatable object; its external mode links by the C compiler",
        "CGO_ENABLED=1 CC=ukl-cc go build -ldflags=-linkmode=external",
        sections=frozenset({".go.buildinfo", ".note.go.buildid"}),
    ),
    Language(
        "Rust",
        frozenset({"rust_eh_personality", "__rust_alloc", "rust_begin_unwind"}),
        "Rust links by the C compiler",
        'linker = "ukl-cc" for the target x86_64-unknown-linux-gnu, rustflags '
        '["-C", "target-feature=+crt-static"]',
    ),
    Language(
        "Java (native image)",
        frozenset({"graal_create_isolate", "graal_attach_thread"}),
        "a native image is one static program; it has not been tried",
        "build it with --static, and the C compiler ukl-cc",
    ),
    Language(
        "Python",
        frozenset({"Py_BytesMain", "Py_InitializeFromConfig", "Py_Initialize"}),
        "extension modules (*.so) are loaded with dlopen and do not work; those built in do",
        "build the modules in (Modules/Setup.local), and link libpython*-pic.a",
        Severity.WARNING,
    ),
    Language(
        "JavaScript (V8)",
        frozenset({"v8_Default_embedded_blob_", "v8_inspector_protocol"}),
        "V8 compiles at run time and jumps into that memory: SIGSEGV",
        "start it with --jitless",
        Severity.WARNING,
    ),
)


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield one finding for each language that the files show."""
    for language in LANGUAGES:
        for unit in subject.units:
            sections = {section.name for section in unit.elf.sections}
            if language.symbols & unit.defined or language.sections & sections:
                yield finding(
                    "language",
                    [unit.whole],
                    f"{language.name}: {language.happens}",
                    severity=language.severity,
                    remedy=language.remedy,
                )
                break
