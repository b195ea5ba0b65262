# SPDX-License-Identifier: GPL-2.0
"""`ukl doctor --report`: what a machine that the developers do not have does with guests.

Most of all a machine with KVM: what differs there is otherwise not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from ukl import __version__
from ukl.base.errors import UklError
from ukl.bench import samples, suites, variants
from ukl.bench.samples import Meter
from ukl.flow import measuring, selftest
from ukl.flow.context import Context
from ukl.host.doctor import Finding

FORMAT = 1

MEASURED = ("boot", "syscalls", "faults", "interrupts", "processes", "tcp-echo")
"""The suites of `ukl bench` in the report: those that build no application's source."""


def gather(findings: Sequence[Finding], context: Context) -> Mapping[str, Any]:
    """Boot guests, run the tests that do so, and measure; return all that came of it.

    What fails is part of the report.
    """
    return {
        "format": FORMAT,
        "ukl": __version__,
        "doctor": [asdict(finding) for finding in findings],
        "bench": {
            suite.name: _or_error(partial(_measured, suite, context))
            for suite in suites.SUITES
            if suite.name in MEASURED
        },
        "tests": _or_error(partial(_tested, context)),
    }


def _measured(suite: suites.Suite, context: Context) -> Mapping[str, Any]:
    wanted = measuring.Wanted(variants.chosen((), pgo=False), (Meter.TIME,))
    return samples.content(measuring.measure((suite,), wanted, context))


def _tested(context: Context) -> Mapping[str, Any]:
    tally = selftest.run({"boot"}, context.store, context.progress)
    return {**tally, "names of the failed": selftest.failures("boot")}


def _or_error(work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return work()
    except UklError as error:
        return {"error": error.message, "where": str(error.where or ""), "remedy": error.remedy}
