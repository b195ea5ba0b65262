# SPDX-License-Identifier: GPL-2.0
"""`ukl bench report`: the plots that it draws, and what it prints."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import Cli
from ukl.base.errors import MissingError
from ukl.bench import plots, samples, table
from ukl.bench.samples import Key, Meter, Report, Rounds

ROUNDS: Rounds = ((100.0, 110.0, 120.0), (105.0, 115.0, 125.0))


def report(*, scale: float = 0.5) -> Report:
    half = tuple(tuple(sample * scale for sample in boot) for boot in ROUNDS)
    series: dict[Key, Rounds] = {}
    for meter in (Meter.INSTRUCTIONS, Meter.TIME):
        for row in ("loop", "read & write"):
            # In another order than the columns have.
            series[Key("syscalls", row, "base", meter)] = half if row != "loop" else ((1.0,),) * 2
            series[Key("syscalls", row, "unpatched", meter)] = (
                ROUNDS if row != "loop" else ((1.0,),) * 2
            )
    return Report({"accelerator": "tcg", "processor": "<none>"}, series)


def test_bars_are_shares_of_the_first_variant() -> None:
    rows, variants, shares = plots.relative(report(), "syscalls", Meter.INSTRUCTIONS)
    assert rows == ["read & write"]
    assert variants == ["unpatched", "base"]
    assert shares["read & write", "unpatched"].value == 1
    # The loop is subtracted from both, and the lower of two boots is the median.
    assert shares["read & write", "base"].value == pytest.approx(49 / 99)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def drawn(directory: Path) -> list[plots.Plot]:
    """Return the plots of the report, which are in the directory."""
    return plots.draw(report(), directory)


def test_each_plot_is_there_in_each_format(directory: Path, drawn: list[plots.Plot]) -> None:
    assert [plot.name for plot in drawn] == [
        "syscalls-instructions-bars",
        "syscalls-time-bars",
        "syscalls-time-distributions",
    ]
    for plot in drawn:
        assert (directory / f"{plot.name}.png").read_bytes().startswith(b"\x89PNG")
        picture = ElementTree.parse(directory / f"{plot.name}.svg")
        text = "".join(picture.getroot().itertext())
        assert "read & write" in text
        assert "unpatched" in text


@pytest.mark.usefixtures("drawn")
def test_the_same_samples_give_the_same_files(directory: Path, tmp_path: Path) -> None:
    plots.draw(report(), tmp_path)
    names = sorted(file.name for file in directory.iterdir())
    assert names == sorted(file.name for file in tmp_path.iterdir())
    for name in names:
        assert (directory / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_percentiles_are_those_of_times() -> None:
    lines = table.percentiles(report())
    assert lines[1] == "syscalls: distribution of the times"
    assert lines[2].split() == ["variant", "samples", "50", "%", "90", "%", "99", "%", "99.9", "%"]
    # Six samples of each variant, less the one nanosecond of the loop.
    assert [line.split() for line in lines[3:]] == [
        [
            *[
                "read",
                "&",
                "write",
                "unpatched",
                "6",
                "112",
                "ns",
                "122",
                "ns",
                "124",
                "ns",
                "124",
                "ns",
            ]
        ],
        [
            *[
                "read",
                "&",
                "write",
                "base",
                "6",
                "55.2",
                "ns",
                "60.2",
                "ns",
                "61.4",
                "ns",
                "61.5",
                "ns",
            ]
        ],
    ]


def test_the_verb_prints_tables_and_names_the_plots(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "samples.json"
    file.write_text(samples.dump(report()))
    done = cli("bench", "report", str(file), "-o", "drawn", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "QEMU TCG, which is emulation" in done.stdout
    assert "distribution of the times" in done.stdout
    for line in done.stdout.splitlines():
        if line.endswith(".svg, .png"):
            assert (tmp_path / line.strip().removesuffix(", .png")).is_file(), line
    assert len(list((tmp_path / "drawn").glob("*.svg"))) == 3
    assert not list((tmp_path / "drawn").glob("*.html"))


def test_without_matplotlib_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def absent(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return original(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingError) as caught:
        plots.draw(report(), tmp_path)
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith(f"{sys.executable} -m pip install 'matplotlib")
    assert list(tmp_path.iterdir()) == []
