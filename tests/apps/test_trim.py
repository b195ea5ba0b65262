# SPDX-License-Identifier: GPL-2.0
"""A smaller kernel for one program: found, built, and proved by the program's own work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import Lab
from tests.boot.test_trim import misread
from ukl.base.model import Outcome
from ukl.flow import running, trimming, workload
from ukl.flow.bootable import linked
from ukl.flow.workload import Bench
from ukl.settings import manifest
from ukl.trim.decide import Why, Wishes


@pytest.mark.timeout(3 * 3600)
def test_hello_in_a_kernel_smaller_than_the_small_one(lab: Lab) -> None:
    bench = Bench(lab.context)
    spec = replace(manifest.resolve("hello"), profile="tiny")
    report = trimming.trim(spec, workload.chosen(spec, None, bench), bench)
    assert report.proved, report.trials
    assert report.after is not None
    assert "NET" in report.proposal.names
    assert report.after.bzimage < 0.85 * report.before.bzimage
    assert report.after.text < 0.75 * report.before.text
    # What a person pastes into the manifest is that kernel: nothing is left to build.
    smaller = replace(spec, kernel_options=report.options)
    image = linked(smaller, lab.context).image
    assert image.bzimage.stat().st_size == report.after.bzimage
    assert misread(lab, spec, smaller) == []
    said: list[bytes] = []
    result = running.run_app(smaller, running.RunOptions(), lab.context, said.append)
    assert b"Hello from supervisor mode." in b"".join(said)
    assert (result.outcome, result.status) == (Outcome.EXITED, 0)


@pytest.mark.timeout(3 * 3600)
def test_what_a_workload_needs_is_put_back(lab: Lab) -> None:
    """`--drop` of what is used: the trial fails, and the search says which option it was."""
    bench = Bench(lab.context, timeout=120)
    spec = replace(manifest.resolve("tcp-echo"), profile="tiny")
    work = workload.chosen(spec, "true", bench)
    wishes = Wishes(drop=frozenset({"EPOLL"}))
    report = trimming.trim(spec, work, bench, builds=3, wishes=wishes)
    assert not report.trials[0].good
    kept = {each.option: each.why for each in report.proposal.kept}
    assert kept["EPOLL"] is Why.FAILED
