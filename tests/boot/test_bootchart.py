# SPDX-License-Identifier: GPL-2.0
"""`ukl run --bootchart`: the time of a boot, end to end."""

from __future__ import annotations

import json
import signal
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from tests.boot.harness import free_port
from tests.boot.test_lifecycle import SECONDS, Cli, cli

__all__ = ["cli"]  # the fixture


def test_where_the_time_went(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("run", "--bootchart", str(tmp_path / "boot.json"), "hello")
    assert code == 0, err
    assert out.startswith("Hello from supervisor mode.")
    assert "QEMU starts" in err
    chart = json.loads((tmp_path / "boot.json").read_text())
    assert chart["notes"] == []
    outer = {"machine", "kernel", "init", "application"}
    spans = [each for each in chart["spans"] if each["lane"] in outer]
    assert spans[0]["begin"] == 0
    assert spans[-1]["end"] == chart["seconds"]
    assert all(before["end"] == after["begin"] for before, after in pairwise(spans))
    names = [each["name"] for each in spans]
    assert {"start_kernel()", "early initcalls, processors", "device initcalls"} <= set(names)
    assert names[-1] == "application until its first output"
    calls = {each["name"]: each for each in chart["spans"] if each["lane"] == "initcalls"}
    assert len(calls) > 100
    kernel = [each for each in spans if each["lane"] == "kernel"]
    begin, end = kernel[0]["begin"], kernel[-1]["end"]
    assert all(begin < each["begin"] <= each["end"] < end for each in calls.values())
    # Its probe is within the driver's initcall.
    driver = calls["virtio_net_driver_init"]
    probes = [each for each in chart["spans"] if each["lane"] == "probes"]
    assert any(driver["begin"] <= each["begin"] < driver["end"] for each in probes)


def test_a_guest_that_goes_on(cli: Cli, tmp_path: Path) -> None:
    """The chart is there while it runs, and that its memory was read has not hurt it."""
    file = tmp_path / "boot.svg"
    with cli.start("run", "--bootchart", str(file), "tcp-echo", "-p", f"{free_port()}:5555") as run:
        assert run.stderr is not None
        lines = []
        for line in run.stderr:
            lines.append(line.decode())
            if line.startswith(b"boot chart: "):
                break
        assert run.poll() is None, lines
        run.send_signal(signal.SIGINT)
        assert run.wait(SECONDS) == 130
    words = " ".join(ElementTree.parse(file).getroot().itertext())
    assert "init: execve of the application" in words
    assert "virtio_net_driver_init" in words
