# SPDX-License-Identifier: GPL-2.0
"""The rules and their reference, licences, and the report's two forms."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import TOP
from ukl.base.model import SyscallCounts
from ukl.check import licences, target, text
from ukl.check.model import Kind, LinkedLibrary, Report, Subject, finding
from ukl.check.rules import RULES, Severity
from ukl.check.unit import Place
from ukl.host.store import Store
from ukl.kernel.symbols import DATA_BASE


def test_reference_lists_the_rules() -> None:
    table = (TOP / "docs" / "reference" / "check.md").read_text()
    rows = re.findall(r"(?m)^\| `([a-z0-9-]+)` \| (\w+) \| (.*?) \| (.*?) \|$", table)
    assert [name for name, *_ in rows] == list(RULES)
    for name, severity, happens, remedy in rows:
        assert severity == RULES[name].severity
        assert remedy == RULES[name].remedy
        assert happens == RULES[name].happens or not RULES[name].happens


def test_every_hazard_has_a_remedy() -> None:
    for name, rule in RULES.items():
        if rule.severity is not Severity.INFO and name not in {"build", "missing-file"}:
            assert rule.remedy, name


def report(*rules: str) -> Report:
    places = [Place("a.o", "", ".text", f"f{n}", n) for n in range(6)]
    findings = tuple(finding(rule, places) for rule in rules)
    return Report("a.o", Kind.OBJECT, SyscallCounts(3, 2, 1), findings)


def test_only_errors_fail() -> None:
    assert report("gs").failed
    assert not report("dlopen", "tls").failed


def test_text() -> None:
    shown = text.lines(report("gs"))
    assert shown[0] == (Severity.ERROR, f"gs: {RULES['gs'].happens}")
    assert (None, "at a.o: f0") in shown
    assert (None, "at a.o: f1+0x1") in shown
    assert (None, "and at 2 more places (--json)") in shown
    assert shown[-1][1] == f"→ {RULES['gs'].remedy}"
    assert "3 in place, 2 by stub, 1 kept; 1 errors, 0 warnings" in text.summary(report("gs"))


def test_json_has_all_places() -> None:
    [found] = text.as_json(report("gs"))["findings"]
    assert len(found["places"]) == found["count"] == 6
    assert found["places"][1]["offset"] == 1


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("GPL-2", True),
        ("GPL-2+", True),
        ("GPL-2.0-only", True),
        ("LGPL-2.1+", True),
        ("Expat", True),
        ("BSD-3-clause", True),
        ("zlib", True),
        ("public-domain", True),
        ("GPL-3+ with GCC-exception", True),
        ("GPL-3+", False),
        ("LGPL-3+", False),
        ("Apache-2.0", False),
        ("BSD-4-clause", False),
        ("OpenSSL", False),
        ("CDDL-1.0", False),
        ("Apache-2.0 or GPL-2", True),
        ("LGPL-3+ or GPL-2+", True),
        ("Expat and Apache-2.0", False),
        ("Expat, BSD-2-clause", True),
        ("Expat and Something", None),
        ("", None),
    ],
)
def test_compatibility(expression: str, verdict: bool | None) -> None:
    assert licences.compatible(expression) is verdict


DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: debian/*
License: GPL-3

Files: *
Copyright: somebody
License: Apache-2.0
 with more words
"""


def test_copyright_files() -> None:
    assert licences.name_of(DEP5) == "Apache-2.0"
    prose = "under the GNU Lesser General Public\nLicense; either version 2.1 of the License"
    assert licences.name_of(prose) == "LGPL-2.1+"
    assert "exception" in licences.name_of("… GCC Runtime Library Exception …")
    assert licences.name_of("All rights reserved.") == ""


def test_licence_findings() -> None:
    subject = Subject(
        Kind.APPLICATION,
        (),
        frozenset(),
        0,
        True,
        (
            LinkedLibrary("/a.a", "one"),
            LinkedLibrary("/b.a", "one"),
            LinkedLibrary("/c.a", None),
            LinkedLibrary("/d.a", "two"),
        ),
    )
    texts = {"one": DEP5, "two": DEP5.replace("Apache-2.0", "Expat")}
    found = list(licences.findings(subject, texts.get))
    assert [(item.rule, item.places[0].file) for item in found] == [
        ("licence", "/a.a"),
        ("licence-unknown", "/c.a"),
        ("licences", "/d.a"),
    ]


# --- the limit of data ---------------------------------------------------------------


def kernel_in_the_cache(store: Store, name: str, begin: int, text: int, age: float) -> None:
    file = store.root / "kernel" / name / "objects/System.map"
    file.parent.mkdir(parents=True)
    base = 0xFFFFFFFF80000000
    lines = [(base + begin, "_text"), (base + begin + text, "__ukl_text_start")]
    file.write_text("".join(f"{address:016x} T {symbol}\n" for address, symbol in lines))
    os.utime(file, (age, age))


def test_the_limit_is_that_of_a_kernel_at_the_same_address(tmp_path: Path) -> None:
    store = Store(tmp_path)
    usual, small = target.start(), target.start("tiny")
    assert small < usual
    assert target.start(options={"CONFIG_PHYSICAL_START": "0x6000000"}) == 0x6000000
    assert target._data_limit(store, usual) == (usual - DATA_BASE, False)
    kernel_in_the_cache(store, "a", usual, 8 << 20, 1.0)
    kernel_in_the_cache(store, "b", small, 4 << 20, 2.0)  # the youngest
    assert target._data_limit(store, usual) == (usual + (8 << 20) - DATA_BASE, True)
    assert target._data_limit(store, small) == (small + (4 << 20) - DATA_BASE, True)
