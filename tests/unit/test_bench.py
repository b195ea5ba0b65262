# SPDX-License-Identifier: GPL-2.0
"""bench/: from what programs print to samples, figures, verdicts and tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError, UklError, UsageError
from ukl.base.model import AppSpec
from ukl.bench import environment, samples, stats, table, variants
from ukl.bench.samples import Key, Meter, Report, Rounds
from ukl.bench.stats import Verdict
from ukl.bench.suites import SUITES, ProgramSuite

CONSOLE = (
    "a line of the kernel's\r\n"
    '{"bench": "bench-x", "mode": "user"}\r\n'
    '{"row": "loop", "count": 10, "ticks": [30, 20], "ns": [10, 11]}\r\n'
    '{"row": "getppid", "count": 10, "ticks": [2020, 2030], "ns": [100, 120]}\r\n'
)


def report(
    meter: Meter = Meter.TIME, suite: str = "syscalls", **rows: tuple[tuple[float, ...], ...]
) -> Report:
    series: dict[Key, Rounds] = {
        Key(suite, row, "base", meter): rounds for row, rounds in rows.items()
    }
    return Report({"accelerator": "tcg", "date": "now"}, series)


def verdict(before: Rounds, after: Rounds, meter: Meter = Meter.TIME) -> Verdict:
    [change] = stats.compare(report(meter, row=before), report(meter, row=after))
    return change.verdict


# --- what programs print ----------------------------------------------------------


def test_samples_are_per_operation_and_of_the_meter() -> None:
    assert samples.parse(CONSOLE, "user", Meter.INSTRUCTIONS) == {
        "loop": (3, 2),
        "getppid": (202, 203),
    }
    assert samples.parse(CONSOLE, "user", Meter.TIME)["getppid"] == (10, 12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\n",
        '{"bench": "x", "mode": "user"}\n',
        '{"row": "loop"}\n',
        '{"row": "loop", "count": 0, "ticks": [1], "ns": [1]}\n',
        '{"row": "loop", \n',
    ],
)
def test_a_run_without_a_result_is_an_error(text: str) -> None:
    with pytest.raises(UklError, match="printed"):
        samples.parse(text, "user", Meter.TIME)


def test_the_wrong_mode_is_an_error() -> None:
    with pytest.raises(UklError, match="ran in user mode"):
        samples.parse(CONSOLE, "supervisor", Meter.TIME)


# --- the file ------------------------------------------------------------------------


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    written = report(loop=((1.0, 2.0),), row=((3.0, 4.5),))
    (tmp_path / "x").write_text(samples.dump(written))
    assert samples.load(tmp_path / "x") == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2}',
        '{"format": 1, "environment": {}}',
        '{"format": 1, "environment": {}, "series": [{"suite": "s", "row": "r"}]}',
        json.dumps(
            {
                "format": 1,
                "environment": {},
                "series": [
                    {"suite": "s", "row": "r", "variant": "v", "meter": "time", "rounds": []}
                ],
            }
        ),
    ],
)
def test_another_file_is_bad_input(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(InputError, match="not a file of samples"):
        samples.load(tmp_path / "x")


# --- figures ---------------------------------------------------------------------------


def test_the_loop_is_subtracted_from_the_other_rows_of_its_boot() -> None:
    found = stats.figures(
        report(Meter.INSTRUCTIONS, loop=((3, 2), (4, 5)), row=((202, 203), (304, 305))),
        "syscalls",
        Meter.INSTRUCTIONS,
    )
    assert found["row", "base"] == stats.Estimate(200, 200, 300)
    assert found["loop", "base"].low == 2


def test_counts_are_the_fewest_and_times_the_median() -> None:
    rounds = ((5.0, 1.0, 9.0),)
    assert stats.estimate(rounds, Meter.INSTRUCTIONS).value == 1
    assert stats.estimate(rounds, Meter.TIME).value == 5


def test_an_interval_contains_the_figure_and_is_the_same_each_time() -> None:
    rounds = tuple((float(boot), boot + 1.0, boot + 2.0) for boot in (10, 12, 11, 30, 13))
    found = stats.estimate(rounds, Meter.TIME)
    assert found.low < found.value == 13 < found.high
    assert found == stats.estimate(rounds, Meter.TIME)


# --- verdicts --------------------------------------------------------------------------

STEADY = tuple((100 + boot / 10, 100.0, 100.1) for boot in range(5))


def scaled(rounds: Rounds, factor: float) -> Rounds:
    return tuple(tuple(sample * factor for sample in boot) for boot in rounds)


def test_times_that_do_not_differ_much_have_not_changed() -> None:
    assert verdict(STEADY, STEADY) is Verdict.SAME
    assert verdict(STEADY, scaled(STEADY, 1.01)) is Verdict.SAME


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_times_that_differ_have_changed(factor: float) -> None:
    assert verdict(STEADY, scaled(STEADY, factor)) is Verdict.CHANGED


def test_times_that_scatter_say_nothing() -> None:
    wild = ((50.0, 60.0), (100.0, 110.0), (180.0, 190.0))
    assert verdict(wild, scaled(wild, 1.05)) is Verdict.UNKNOWN


def test_one_instruction_is_a_change_where_boots_agree() -> None:
    counts = ((200.0, 201.0), (200.0, 230.0))
    assert verdict(counts, counts, Meter.INSTRUCTIONS) is Verdict.SAME
    more = ((201.0,), (201.0,))
    assert verdict(counts, more, Meter.INSTRUCTIONS) is Verdict.CHANGED


def test_where_boots_do_not_agree_their_range_decides() -> None:
    counts = ((200.0,), (210.0,))
    assert verdict(counts, ((205.0,), (206.0,)), Meter.INSTRUCTIONS) is Verdict.UNKNOWN
    assert verdict(counts, ((250.0,), (260.0,)), Meter.INSTRUCTIONS) is Verdict.CHANGED


def test_only_what_both_have_is_compared() -> None:
    assert stats.compare(report(one=STEADY), report(other=STEADY)) == []


def test_the_environment_is_compared_but_for_what_always_differs() -> None:
    before = {"qemu": "7.2", "date": "1", "commit": "a"}
    assert environment.differing(before, {"qemu": "7.2", "date": "2", "commit": "b"}) == []
    assert environment.differing(before, {"qemu": "8.0", "libc": "x"}) == ["qemu", "libc"]


# --- tables ----------------------------------------------------------------------------


def test_a_table_says_how_the_guest_ran() -> None:
    text = "\n".join(table.tables(report(row=STEADY)))
    assert "QEMU TCG, which is emulation" in text
    counted = table.tables(report(Meter.INSTRUCTIONS, row=((206.0,), (206.0,))))
    assert "-icount" in counted[0]
    assert counted[2].split() == ["row", "206.0"]


def test_a_comparison_closes_with_the_number_of_each_verdict() -> None:
    found = stats.compare(report(row=STEADY), report(row=scaled(STEADY, 2)))
    lines = table.changes(found, ["qemu"])
    assert any("+100.1%" in line or "+100.0%" in line for line in lines)
    assert "the environment differs: qemu" in lines
    assert lines[-1] == "1 changed, 0 no change, 0 cannot tell"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.34, "12.3 ns"),
        (1234, "1.23 us"),
        (5.6e6, "5.6 ms"),
        (999.6e6, "1000 ms"),
        (9.4e9, "9.4 s"),
        (1234e9, "1234 s"),
    ],
)
def test_times_have_units(value: float, text: str) -> None:
    assert table.number(value, Meter.TIME) == text


# --- variants and suites -----------------------------------------------------------------


def test_variants_are_chosen_by_name_in_our_order() -> None:
    assert [each.name for each in variants.chosen(["base", "process"])] == ["process", "base"]
    assert variants.chosen([], pgo=True) == tuple(variants.VARIANTS)
    with pytest.raises(UsageError, match="unknown variant"):
        variants.chosen(["fastest"])


def test_a_variant_that_needs_counts_is_there_with_them_only() -> None:
    assert "pgo" not in [each.name for each in variants.chosen([])]
    with pytest.raises(UsageError, match="needs branch counts"):
        variants.chosen(["base", "pgo"])
    assert [each.name for each in variants.chosen(["pgo"], pgo=True)] == ["pgo"]


def test_a_normal_process_keeps_its_syscall_instructions() -> None:
    spec = AppSpec("x", Path("x"), Path(), ())
    for variant in variants.VARIANTS:
        if variant.is_process:
            assert not variant.applied(spec).rewrite_syscalls
        assert variant.patched or variant.is_process
    assert (
        variants.chosen(["base"])[0].applied(replace(spec, rewrite_syscalls=False)).rewrite_syscalls
    )


def test_programs_of_suites_are_there() -> None:
    for suite in SUITES:
        if isinstance(suite, ProgramSuite):
            assert all(source.is_file() for source in suite.spec().sources)
