# SPDX-License-Identifier: GPL-2.0
"""What `ukl doctor --report` collects; what fails is in it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ukl.base.errors import UklError
from ukl.base.progress import Progress
from ukl.bench.samples import Key, Meter, Report
from ukl.flow import measuring, report, selftest
from ukl.flow.context import Context
from ukl.host.doctor import Finding, Level
from ukl.host.store import Store

FINDINGS = [Finding("KVM", Level.OK, "a tiny guest ran with it")]


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(suites: object, wanted: measuring.Wanted, context: object) -> Report:
        assert isinstance(suites, tuple)
        [suite] = suites
        if suite.name == "faults":
            raise UklError("it does not boot", remedy="try again")
        assert wanted.meters == (Meter.TIME,)
        return Report({"qemu": "7.2"}, {Key(suite.name, "row", "fast", Meter.TIME): ((1.5,),)})

    def run(groups: object, *_: object) -> Counter[str]:
        assert groups == {"boot"}
        return Counter(passed=5, failed=1)

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(selftest, "run", run)
    monkeypatch.setattr(selftest, "failures", lambda group: [f"{group}::test_x"])
    found = report.gather(FINDINGS, Context(Store(tmp_path), Progress()))
    found = json.loads(json.dumps(found))
    assert found["doctor"][0]["level"] == "ok"
    assert set(found["bench"]) == set(report.MEASURED)
    assert found["bench"]["boot"]["series"][0]["rounds"] == [[1.5]]
    assert found["bench"]["faults"]["error"] == "it does not boot"
    assert found["tests"] == {"passed": 5, "failed": 1, "names of the failed": ["boot::test_x"]}


def test_names_of_failed_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_checkout", lambda: tmp_path)
    (tmp_path / selftest.RESULTS).mkdir(parents=True)
    (tmp_path / selftest.RESULTS / "boot.xml").write_text(
        '<testsuite><testcase classname="a" name="b"><failure/></testcase>'
        '<testcase classname="a" name="c"/></testsuite>'
    )
    assert selftest.failures("boot") == ["a::b"]
