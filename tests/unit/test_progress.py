# SPDX-License-Identifier: GPL-2.0
"""progress.py: one line per stage, wherever it is printed."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re

import pytest

from tests.processes import eventually
from ukl.base import progress as room
from ukl.base.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (292, "4m52s"),
     (3600, "1h00m"), (59.6, "1m00s")],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_of_done_cached_and_failed_stages() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    with progress.stage("kernel objects") as stage:
        stage.note("a note")
    with progress.stage("link") as stage:
        stage.cached()
    with pytest.raises(ZeroDivisionError), progress.stage("bad"):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), progress.stage("stopped"):
        raise KeyboardInterrupt
    lines = stream.getvalue().splitlines()
    assert lines[0] == "  a note"
    assert re.fullmatch(r"✓ kernel objects +\d\.\ds", lines[1])
    assert re.fullmatch(r"✓ link +cached", lines[2])
    assert re.fullmatch(r"× bad +\d\.\ds  failed", lines[3])
    assert re.fullmatch(r"× stopped +\d\.\ds  interrupted", lines[4])


def test_long_stages_say_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(room, "PLAIN_INTERVAL", 0.0)
    with Progress(stream).stage("download") as stage:
        stage.update(50, 200, "of linux")
        stage.update(7, None)
    assert stream.getvalue().splitlines()[:2] == ["  download: 25% of linux", "  download: 7"]


def test_a_stage_that_reports_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(room, "PLAIN_INTERVAL", 0.0)
    monkeypatch.setattr(room, "PULSE", 0.001)
    with Progress(stream).stage("take prog"):
        eventually(lambda: stream.getvalue().count("\n") >= 3)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("  take prog: ")
    assert lines[-1].startswith("✓ take prog")
    stopped = len(lines)
    assert len(stream.getvalue().splitlines()) == stopped


def test_a_slow_stage_shows_what_it_reported_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PULSE", 0.001)
    monkeypatch.setattr(room, "PLAIN_INTERVAL", 0.005)
    stream = io.StringIO()
    with Progress(stream).stage("compile") as stage:
        stage.update(1, 4, "about 2 min left")
        eventually(lambda: stream.getvalue().count("\n") >= 3)
    lines = stream.getvalue().splitlines()
    assert lines.count("  compile: 25% about 2 min left") == len(lines) - 1


def test_updates_are_sparse() -> None:
    stream = io.StringIO()
    with Progress(stream).stage("download") as stage:
        for done in range(1000):
            stage.update(done, 1000)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_bar_is_drawn_on_a_terminal_and_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BAR_DELAY", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, Progress(terminal).stage("kernel objects") as stage:
        stage.update(1, 2)
        stage.update(2, 2)
    text = ""
    with contextlib.suppress(OSError):  # EIO: all of it was read
        while data := os.read(master, 1 << 16):
            text += data.decode()
    os.close(master)
    assert "100%" in text
    assert re.search(r"✓ kernel objects +\d+\.\ds\r\n$", text)


def test_ascii_streams_get_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with Progress(stream).stage("größe"):
        pass
    stream.flush()
    assert raw.getvalue().startswith(b"+ gr??e")


def test_quiet_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress.quiet().stage("x") as stage:
        stage.update(1, 2)
        stage.note("n")
    assert capfd.readouterr() == ("", "")
