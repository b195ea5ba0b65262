# SPDX-License-Identifier: GPL-2.0
"""A server that is measured from outside of the guest: `ukl bench --meter exits` and `time`."""

from __future__ import annotations

import pytest

from tests.boot.harness import Lab
from ukl.bench import stats, table
from ukl.bench.samples import Meter
from ukl.bench.suites import SUITES
from ukl.bench.variants import chosen
from ukl.flow import measuring


@pytest.mark.timeout(900)
def test_each_request_is_counted(lab: Lab) -> None:
    suite = next(suite for suite in SUITES if suite.name == "tcp-echo")
    wanted = measuring.Wanted(chosen(["process", "fast"]), (Meter.EXITS,), rounds=1)
    report = measuring.measure([suite], wanted, lab.context)
    found = stats.figures(report, "tcp-echo", Meter.EXITS)

    def value(variant: str, event: str, clients: str = "1 client") -> float:
        return found[f"echo 64 B, {clients}: {event}", variant].value

    text = "\n".join(table.tables(report))
    for variant in ("process", "fast"):
        # One packet comes, one goes, and the program waits between.
        assert value(variant, "kicks") == pytest.approx(1, abs=0.1), text
        assert value(variant, "exits") >= value(variant, "kicks") + value(variant, "HLT"), text
        assert 5_000 < value(variant, "instructions") < 60_000, text
        # The more come at once, the fewer notifications.
        assert value(variant, "kicks", "10 clients") < 0.95, text
    # epoll_wait(), read(), write(), and the read() that finds nothing.
    assert value("process", "syscall") == pytest.approx(round(value("process", "syscall")), abs=0.1)
    assert value("process", "syscall") >= 3, text
    assert value("process", "syscall") == pytest.approx(value("process", "sysret"), abs=0.1), text
    assert value("fast", "syscall") < 0.05, text
    assert report.environment["clients' network"] in {"tap", "user"}
