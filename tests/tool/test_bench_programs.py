# SPDX-License-Identifier: GPL-2.0
"""The programs of `ukl bench` build without warnings and measure as normal processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ukl.app.build import build
from ukl.base.progress import Progress
from ukl.bench import samples
from ukl.bench.samples import Meter
from ukl.bench.suites import SUITES, BootSuite, ProgramSuite
from ukl.host.store import Store

MEASURING = [
    suite
    for suite in SUITES
    if isinstance(suite, ProgramSuite) and not isinstance(suite, BootSuite)
]


# Asks the kernel for what only root may have, and for a processor of its own.
ANYWHERE = [suite for suite in MEASURING if suite.name != "interrupts"]


def made(suite: ProgramSuite, store: Store) -> Path:
    return build(suite.spec(), store, Progress.quiet()).user


@pytest.mark.parametrize("suite", ANYWHERE, ids=lambda suite: suite.name)
def test_each_row_has_samples(suite: ProgramSuite, store: Store) -> None:
    program = made(suite, store)
    env = {**os.environ, "BENCH_SELF": str(program), "BENCH_OTHER": "/bin/true"}
    for words in (("instructions",), ("time", "1")):
        done = subprocess.run(
            [program, *words], env=env, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        for meter in Meter:
            rows = samples.parse(done.stdout, "user", meter)
            assert samples.LOOP in rows
            assert len(rows) > 5
            # An operation takes more than the empty loop.
            loop = min(rows.pop(samples.LOOP))
            assert all(min(taken) > loop for taken in rows.values())


@pytest.mark.parametrize("suite", ANYWHERE, ids=lambda suite: suite.name)
def test_rows_are_chosen_by_name(suite: ProgramSuite, store: Store) -> None:
    done = subprocess.run(
        [made(suite, store), "time", "1", "loop"], capture_output=True, text=True, check=True
    )
    assert set(samples.parse(done.stdout, "user", Meter.TIME)) == {"loop"}


def test_boot_tells_the_counter_only_where_it_counts_instructions(store: Store) -> None:
    [suite] = (suite for suite in SUITES if isinstance(suite, BootSuite))
    program = made(suite, store)
    for meter, rows in ((Meter.INSTRUCTIONS, 4), (Meter.TIME, 2)):
        done = subprocess.run([program, meter.value], capture_output=True, text=True, check=True)
        found = samples.parse(done.stdout, "user", meter)
        assert len(found) == rows
        assert found["kernel's clock at main"][0] > 0


@pytest.mark.parametrize("words", [[], ["often"], ["time"], ["time", "0"]])
def test_wrong_words_are_refused(words: list[str], store: Store) -> None:
    done = subprocess.run(
        [made(MEASURING[0], store), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_what_fails_is_no_sample(store: Store) -> None:
    [processes] = (suite for suite in MEASURING if suite.name == "processes")
    done = subprocess.run(
        [made(processes, store), "instructions", "fork, exec itself"],
        env={"BENCH_SELF": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "row" not in done.stdout
