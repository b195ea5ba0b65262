# SPDX-License-Identifier: GPL-2.0
"""The guest's files by which the C library finds names."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.base.model import AppSpec
from ukl.image import names

SPEC = AppSpec(name="x", origin=Path("/x"), directory=Path("/x"), sources=())


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    (tmp_path / "zones" / "Europe").mkdir(parents=True)
    (tmp_path / "zones" / "Europe" / "Berlin").write_bytes(b"TZif berlin")
    (tmp_path / "localtime").write_bytes(b"TZif here")
    return tmp_path / "zones"


def found(zones: Path, tz: str = "", timezone: str = "") -> dict[str, bytes]:
    spec = replace(SPEC, env={"TZ": tz} if tz else {}, timezone=timezone)
    entries = names.zones(spec, zones, zones.parent / "localtime")
    return {path: entry.data for path, entry in entries.items()}


def test_the_zone_that_is_named(zones: Path) -> None:
    berlin = {"/usr/share/zoneinfo/Europe/Berlin": b"TZif berlin"}
    assert found(zones, "Europe/Berlin") == found(zones, ":Europe/Berlin") == berlin
    for other in (
        "",
        "UTC",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "Nowhere/Here",
        "../localtime",
        "/etc/x",
    ):
        assert found(zones, other) == {}
    assert found(zones, timezone="host") == {"/etc/localtime": b"TZif here"}
    assert found(zones, timezone="Europe/Berlin") == {"/etc/localtime": b"TZif berlin"}
    with pytest.raises(InputError, match="no time zone 'Europe/Bonn'"):
        found(zones, timezone="Europe/Bonn")


def test_a_machine_without_zones_says_what_to_install(tmp_path: Path) -> None:
    for tz, timezone in (("Europe/Berlin", ""), ("", "Europe/Berlin")):
        with pytest.raises(InputError) as caught:
            found(tmp_path / "zones", tz, timezone)
        assert "tzdata" in str(caught.value.remedy)
    assert found(tmp_path / "zones", "UTC") == {}


def test_the_terminal_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "b" / "v").mkdir(parents=True)
    (tmp_path / "b" / "v" / "vt100").write_bytes(b"terminal")
    places = (tmp_path / "a", tmp_path / "b")
    found = {path: entry.data for path, entry in names.terminal("vt100", places).items()}
    assert found == {"/etc/terminfo/v/vt100": b"terminal"}
    for other in ("", "vt101", "../b/v/vt100", "/etc"):
        assert names.terminal(other, places) == {}


def test_services_are_those_of_this_machine() -> None:
    entries = names.services()
    lines = entries["/etc/services"].data.decode().splitlines()
    known = [line.split() for line in lines if not line.startswith("#")]
    assert ["http", "80/tcp", "www"] in known
    for name, place, *_ in known:
        port, _, protocol = place.partition("/")
        assert protocol in {"tcp", "udp"}
        try:
            here = socket.getservbyname(name, protocol)
        except OSError:  # an older list, or none
            continue
        assert here == int(port)


def test_the_locale_is_copied_as_it_is(tmp_path: Path) -> None:
    assert names.locale(tmp_path) == {}
    (tmp_path / "C.utf8" / "LC_MESSAGES").mkdir(parents=True)
    (tmp_path / "C.utf8" / "LC_CTYPE").write_bytes(b"types")
    (tmp_path / "C.utf8" / "LC_MESSAGES" / "SYS_LC_MESSAGES").write_bytes(b"messages")
    assert {path: entry.data for path, entry in names.locale(tmp_path).items()} == {
        "/usr/lib/locale/C.utf8/LC_CTYPE": b"types",
        "/usr/lib/locale/C.utf8/LC_MESSAGES/SYS_LC_MESSAGES": b"messages",
    }
