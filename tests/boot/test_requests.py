# SPDX-License-Identifier: GPL-2.0
"""A server that is measured from outside of the guest: `ukl bench --meter exits`, by function."""

from __future__ import annotations

import pytest

from tests.boot.harness import Lab
from ukl.bench import samples, stats, table
from ukl.bench.functions import OTHER
from ukl.bench.samples import Key, Meter, Profiled
from ukl.bench.suites import SUITES
from ukl.bench.variants import chosen
from ukl.flow import counted as counted_places
from ukl.flow import measuring


@pytest.mark.timeout(900)
def test_each_request_is_counted(lab: Lab) -> None:
    suite = next(suite for suite in SUITES if suite.name == "tcp-echo")
    variants = chosen(["process", "fast"])
    wanted = measuring.Wanted(variants, (Meter.EXITS,), rounds=1, functions=True)
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
    check_functions(report)


LAYERS = {
    "tcp_v4_rcv": "TCP/IP",
    "tcp_ack": "TCP/IP",
    "sock_poll": "sockets",
    "__napi_poll": "packets",
    "start_xmit": "virtio",
    "do_epoll_wait": "epoll",
    "__check_object_size": "protections",
    "main": "application",
}
"""Functions without which there is no echo."""


def check_functions(report: samples.Report) -> None:
    row = "echo 64 B, 10 clients"
    for variant in ("process", "fast"):
        profile = report.functions[Profiled("tcp-echo", row, variant)]
        # Each instruction is in one function, and no other one is.
        [counted] = report.series[Key("tcp-echo", f"{row}: instructions", variant, Meter.EXITS)]
        assert sum(profile.values()) == pytest.approx(sum(counted) / len(counted))
        for function, layer in LAYERS.items():
            assert profile.get((layer, function), 0) > 1, (variant, function)
        # The kernel has a name for everything that it executes.
        unknown = [layer for layer, function in profile if function == counted_places.UNKNOWN]
        assert set(unknown) <= {OTHER}, unknown
        entry = profile.get(("entry and exit", "entry_SYSCALL_64"), 0)
        assert (entry > 20) == (variant == "process"), entry
    assert [each for each in table.profiles(report) if each.split()[0:1] == ["TCP/IP"]]
