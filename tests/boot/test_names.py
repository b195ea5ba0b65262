# SPDX-License-Identifier: GPL-2.0
"""The C library finds services, protocols, time zones and a locale by their names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import Lab, mode_of
from ukl.base.model import Guest
from ukl.vm.launch import Options

FOUND = [
    "http 80",
    "ntp 123",
    "22 ssh",
    "udp 17",
    "tty 5",
    "2023-11-14 23:13:20 CET",
    "2023-11-14 17:13:20 EST",
    "locale C.UTF-8 1 c4",
]


@pytest.mark.parametrize("user", [False, True], ids=["ukl", "user"])
def test_names_are_found(lab: Lab, *, user: bool) -> None:
    spec = lab.program("names").spec
    named = replace(spec, name="named", env={"TZ": "Europe/Berlin"}, timezone="America/New_York")
    ran = lab.run(
        lab.build(named), env={"TZ": "Europe/Berlin"}, options=Options(Guest(mode=mode_of(user)))
    )
    assert ran.result.status == 0
    assert ran.lines == FOUND


def test_without_a_zone_it_is_utc(lab: Lab) -> None:
    assert lab.run(lab.program("names")).lines[5:7] == ["2023-11-14 22:13:20 UTC"] * 2
