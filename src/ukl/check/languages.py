# SPDX-License-Identifier: GPL-2.0
"""Detects languages other than C, and reports what is known about each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ukl.check.model import Finding, Subject, finding
from ukl.check.rules import Severity


@dataclass(frozen=True, slots=True)
class Language:
    """A language, the symbols or sections that identify it, and the text of the finding.

    `sections` identify files that are not partially linked: the partial link merges sections.
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
        "Go's own linker makes no relocatable object; in external mode it uses the C compiler",
        "CGO_ENABLED=1 CC=ukl-cc go build -ldflags=-linkmode=external",
        sections=frozenset({".go.buildinfo", ".note.go.buildid"}),
    ),
    Language(
        "Rust",
        frozenset({"rust_eh_personality", "__rust_alloc", "rust_begin_unwind"}),
        "Rust links with the C compiler",
        'linker = "ukl-cc" for the target x86_64-unknown-linux-gnu, rustflags '
        '["-C", "target-feature=+crt-static"]',
    ),
    Language(
        "Java (native image)",
        frozenset({"graal_create_isolate", "graal_attach_thread"}),
        "a native image is a static program; not tested",
        "build it with --static, and with ukl-cc as C compiler",
    ),
    Language(
        "Python",
        frozenset({"Py_BytesMain", "Py_InitializeFromConfig", "Py_Initialize"}),
        "extension modules (*.so) are loaded with dlopen and do not work; built-in modules do",
        "build the modules in (Modules/Setup.local), and link libpython*-pic.a",
        Severity.WARNING,
    ),
)


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield one finding for each language detected in the files."""
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
