# SPDX-License-Identifier: GPL-2.0
"""Samples by suite, row, variant and meter, and their file. Pure, except for reading the file.

The file is JSON:

    format        1
    environment   environment of the measurement (bench/environment.py)
    series        a list; each has suite, row, variant, meter, and `rounds`: for each boot
                  of the guest, the list of its samples per operation, in instructions or
                  nanoseconds
    functions     a list, which may be missing; each has suite, row, variant, and `layers`:
                  layer -> function -> instructions per request
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.bench.functions import Profile
from ukl.bench.variants import NAMES

FORMAT = 1

LOOP = "loop"
"""The row of the empty loop, which is subtracted from the other rows of its suite."""


class Meter(StrEnum):
    """What is measured: guest instructions under -icount, nanoseconds, or exits of the machine."""

    INSTRUCTIONS = "instructions"
    TIME = "time"
    EXITS = "exits"


@dataclass(frozen=True, slots=True)
class Key:
    """The subject of a series."""

    suite: str
    row: str
    variant: str
    meter: Meter


Rounds = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Profiled:
    """The requests that a profile is of."""

    suite: str
    row: str
    variant: str


@dataclass(frozen=True, slots=True)
class Report:
    """All series of one run, the environment of the measurement, and profiles by function."""

    environment: Mapping[str, object]
    series: Mapping[Key, Rounds]
    functions: Mapping[Profiled, Profile] = field(default_factory=dict)

    def rows(self, suite: str, meter: Meter) -> list[str]:
        """Return the rows of a suite, in the order of measurement."""
        found = (key.row for key in self.series if (key.suite, key.meter) == (suite, meter))
        return list(dict.fromkeys(found))

    def parts(self) -> list[tuple[str, Meter]]:
        """Return the pairs of suite and meter that were measured."""
        return list(dict.fromkeys((key.suite, key.meter) for key in self.series))

    def variants(self) -> list[str]:
        """Return the variants that were measured, in the order of bench/variants.py."""
        found = {key.variant for key in self.series}
        return [*(name for name in NAMES if name in found), *sorted(found - {*NAMES})]


def merged(reports: Iterable[Report]) -> Report:
    """Return one report with the series of all, and the environment of the first."""
    first, *others = reports
    series, functions = dict(first.series), dict(first.functions)
    for other in others:
        series.update(other.series)
        functions.update(other.functions)
    return Report(first.environment, series, functions)


def parse(console: str, mode: str, meter: Meter) -> dict[str, tuple[float, ...]]:
    """Return row -> samples per operation from the output of a benchmark program.

    Raises UklError when it printed no result, or ran in another mode than `mode`.
    """
    field = "ticks" if meter is Meter.INSTRUCTIONS else "ns"
    rows: dict[str, tuple[float, ...]] = {}
    actual = ""
    for line in console.splitlines():
        if not line.startswith(('{"bench": ', '{"row": ')):
            continue
        try:
            found = json.loads(line)
            if "bench" in found:
                actual = found["mode"]
            else:
                rows[found["row"]] = tuple(taken / found["count"] for taken in found[field])
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise UklError(f"the benchmark program printed an unknown line: {line}") from error
    if not rows:
        raise UklError("the benchmark program printed no result")
    if actual != mode:
        raise UklError(f"the benchmark program ran in {actual} mode, not in {mode} mode")
    return rows


# --- the file ----------------------------------------------------------------------


def dump(report: Report) -> str:
    """Return the content of the file."""
    return json.dumps(content(report), indent=1) + "\n"


def content(report: Report) -> dict[str, object]:
    """Return what `dump` writes, before it is JSON."""
    series = [{**asdict(key), "rounds": rounds} for key, rounds in report.series.items()]
    found: dict[str, object]
    found = {"format": FORMAT, "environment": report.environment, "series": series}
    if report.functions:
        found["functions"] = [
            {**asdict(key), "layers": _nested(each)} for key, each in report.functions.items()
        ]
    return found


def _nested(profile: Profile) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (layer, function), number in profile.items():
        found.setdefault(layer, {})[function] = number
    return found


def _flat(layers: Mapping[str, Mapping[str, float]]) -> Profile:
    return {
        (layer, function): float(number)
        for layer, functions in layers.items()
        for function, number in functions.items()
    }


def load(file: Path) -> Report:
    """Read a file with the output of `dump`. Raises InputError for other files."""
    try:
        content = json.loads(file.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, not {FORMAT}")
        series = {
            Key(each["suite"], each["row"], each["variant"], Meter(each["meter"])): _rounds(each)
            for each in content["series"]
        }
        functions = {
            Profiled(each["suite"], each["row"], each["variant"]): _flat(each["layers"])
            for each in content.get("functions", ())
        }
        return Report(dict(content["environment"]), series, functions)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"not a file of samples: {error}",
            where=file,
            remedy="give a file that `ukl bench SUITE -o FILE` wrote",
        ) from None


def _rounds(each: Mapping[str, Sequence[Sequence[float]]]) -> Rounds:
    rounds = tuple(tuple(map(float, samples)) for samples in each["rounds"])
    if not rounds or not all(rounds):
        raise ValueError("a series without samples")
    return rounds
