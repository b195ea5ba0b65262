# SPDX-License-Identifier: GPL-2.0
"""The processor that the program requires: IFUNC variants, declared needs, AVX code."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator

from ukl.check.model import Finding, Subject, finding
from ukl.check.rules import Severity
from ukl.check.unit import Place, Unit
from ukl.elf.reader import STT_GNU_IFUNC

_NT_GNU_PROPERTY_TYPE_0 = 5
_X86_ISA_1_NEEDED = 0xC0008002  # GNU_PROPERTY_X86_ISA_1_NEEDED of elf.h
_LEVELS = {2: "x86-64-v2", 4: "x86-64-v3", 8: "x86-64-v4"}

_FEATURE = re.compile(
    r"(?:^|[_-])(sse2|ssse3|sse4_1|sse42|sse4_2|avx512\w*?|avx2?|evex(?:512)?|erms|rtm|fma4?|xop|"
    r"aesni|shaext|vpclmul\w*|vpmadd52\w*|vaes|gfni|adx|ifma\w*)(?=$|[_-])"
)
_CHOSEN = re.compile(r"avx|evex|fma|xop|aesni|vpmadd52|ifma|\d+x(vl)?$|_6x$|_dl_runtime_|zmm|ymm")
"""Names of variants, and of glibc's lazy binding, which checks the processor itself."""

_THROUGHOUT = 0.1
"""With more than this share of AVX functions, the whole program is compiled for AVX."""


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield the findings about the required processor."""
    yield from _ifuncs(subject)
    needed: dict[str, list[Place]] = {}
    for unit in subject.units:
        for level in _needed(unit):
            needed.setdefault(level, []).append(unit.whole)
    for level, places in sorted(needed.items()):
        severity = Severity.INFO if level == "x86-64-v2" else None
        yield finding("cpu-needed", places, level, severity=severity)
    yield from _vectors(subject)


def _ifuncs(subject: Subject) -> Iterator[Finding]:
    chosen = 0
    features: Counter[str] = Counter()
    for unit in subject.units:
        chosen += len(
            {(s.section, s.value) for s in unit.symbols if s.kind == STT_GNU_IFUNC and s.section}
        )
        features.update(
            match.split("_")[0] if match.startswith("avx512") else match.replace("_", ".")
            for name in unit.defined
            for match in _FEATURE.findall(name)
        )
    if chosen:
        text = f"{chosen} functions"
        if features:
            text += f" with variants for {', '.join(sorted(features))}"
        yield finding("ifunc", (), text, count=chosen)


def _needed(unit: Unit) -> Iterator[str]:
    """Yield the highest level that each GNU property of the file declares as needed."""
    for owner, kind, content in unit.elf.notes():
        if owner != "GNU" or kind != _NT_GNU_PROPERTY_TYPE_0:
            continue
        position = 0
        while position + 8 <= len(content):
            name, size = struct.unpack_from("<II", content, position)
            value = content[position + 8 : position + 8 + size]
            if name == _X86_ISA_1_NEEDED and len(value) == 4:
                bits = int.from_bytes(value, "little")
                if levels := [text for bit, text in _LEVELS.items() if bits & bit]:
                    yield levels[-1]
            position += 8 + (size + 7 & ~7)


def _vectors(subject: Subject) -> Iterator[Finding]:
    places = []
    total = 0
    for unit in subject.units:
        for number, sweep in unit.sweeps.items():
            total += len(unit.codes[number].functions)
            section = unit.elf.sections[number].name
            places += [
                Place(unit.file, unit.member, section, name)
                for name in sweep.vex
                if not _CHOSEN.search(f"{unit.member}-{name}")
                and name not in subject.runtime
                and not name.startswith(f"{section}+")  # code without a symbol
            ]
    if places:
        throughout = len(places) > _THROUGHOUT * total
        severity = Severity.WARNING if throughout else Severity.INFO
        yield finding("vector-code", places, f"{len(places)} functions", severity=severity)
