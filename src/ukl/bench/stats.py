# SPDX-License-Identifier: GPL-2.0
"""Computes figures with intervals from samples, and compares two figures. Pure.

A boot of the guest is one observation: its samples share conditions such as the memory layout
and the load of the host. So each boot gives one figure, and intervals are over boots.

Time: a boot's figure is the median of its samples; the figure of several boots is the median
of theirs. The 95 % interval is a percentile bootstrap that draws boots, and within each its
samples.

Instructions: a boot's figure is the minimum of its samples, because a sample differs from the
minimum by what interrupted it. The interval is from the smallest to the largest boot's figure.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ukl.bench.samples import LOOP, Key, Meter, Report, Rounds

CONFIDENCE = 0.95
DRAWS = 2000
SEED = 1
"""Constant, so that the same samples give the same interval."""

LIMIT = 0.02
"""Relative difference up to which two times count as equal."""

EXACT = 0.001
"""The same for instructions, if the boots of a run differ; else any difference is a change."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure per operation, in instructions or nanoseconds, and its interval."""

    value: float
    low: float
    high: float


class Verdict(StrEnum):
    """Result of a comparison."""

    CHANGED = "changed"
    SAME = "no change"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Change:
    """The difference of a figure between two runs, relative to the first, with its interval."""

    key: Key
    before: Estimate
    after: Estimate
    change: float
    low: float
    high: float
    verdict: Verdict


def net(report: Report, key: Key) -> Rounds:
    """Return the samples of a series minus the empty loop's figure of the same boot."""
    rounds = report.series[key]
    loops = report.series.get(Key(key.suite, LOOP, key.variant, key.meter))
    if key.row == LOOP or loops is None:
        return rounds
    figures = [figure(samples, key.meter) for samples in loops]
    return tuple(
        tuple(sample - loop for sample in samples)
        for samples, loop in zip(rounds, figures, strict=True)
    )


def figure(samples: Sequence[float], meter: Meter) -> float:
    """Return the figure of one boot."""
    return min(samples) if meter is Meter.INSTRUCTIONS else statistics.median(samples)


def estimate(rounds: Rounds, meter: Meter) -> Estimate:
    """Return the figure of several boots, and its interval."""
    figures = [figure(samples, meter) for samples in rounds]
    if meter is Meter.INSTRUCTIONS:
        return Estimate(statistics.median_low(figures), min(figures), max(figures))
    source = random.Random(SEED)
    draws = [_draw(rounds, source) for _ in range(DRAWS)]
    return Estimate(statistics.median(figures), *_interval(draws))


def figures(report: Report, suite: str, meter: Meter) -> dict[tuple[str, str], Estimate]:
    """Return (row, variant) -> figure for a suite."""
    return {
        (key.row, key.variant): estimate(net(report, key), meter)
        for key in report.series
        if (key.suite, key.meter) == (suite, meter)
    }


def compare(before: Report, after: Report, limit: float = LIMIT) -> list[Change]:
    """Compare each figure that both runs have.

    `no change`: the whole interval of the difference is within `limit`. `changed`: it is not,
    and does not contain zero. `cannot tell`: neither.
    """
    common = [key for key in before.series if key in after.series]
    return [_change(before, after, key, limit) for key in common]


def _change(before: Report, after: Report, key: Key, limit: float) -> Change:
    old, new = net(before, key), net(after, key)
    first, second = estimate(old, key.meter), estimate(new, key.meter)
    if key.meter is Meter.INSTRUCTIONS:
        low, high = second.low - first.high, second.high - first.low
        middle = second.value - first.value
        limit = EXACT
        is_exact = first.low == first.high and second.low == second.high
    else:
        source = random.Random(SEED)
        low, high = _interval([_draw(new, source) - _draw(old, source) for _ in range(DRAWS)])
        middle = second.value - first.value
        is_exact = False
    # A figure may be 0, such as the empty loop's; then any difference is large.
    whole = abs(first.value) or 1e-9
    low, high, middle = low / whole, high / whole, middle / whole
    if is_exact:
        verdict = Verdict.CHANGED if middle else Verdict.SAME
    elif -limit <= low and high <= limit:
        verdict = Verdict.SAME
    elif low > 0 or high < 0:
        verdict = Verdict.CHANGED
    else:
        verdict = Verdict.UNKNOWN
    return Change(key, first, second, middle, low, high, verdict)


def _draw(rounds: Rounds, source: random.Random) -> float:
    boots = source.choices(rounds, k=len(rounds))
    return statistics.median(
        statistics.median(source.choices(samples, k=len(samples))) for samples in boots
    )


def _interval(draws: list[float]) -> tuple[float, float]:
    draws.sort()
    outside = round(len(draws) * (1 - CONFIDENCE) / 2)
    return draws[outside], draws[-1 - outside]
