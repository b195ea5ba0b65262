# SPDX-License-Identifier: GPL-2.0
"""A guest's second interface: what the options mean, and what QEMU and the others are told."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Cli
from ukl.base.errors import InputError
from ukl.base.model import AUTOMATIC, NO_NETWORK, SUBNET, Network, NetworkKind
from ukl.guest.rundesc import MAX_NAME
from ukl.settings import networks
from ukl.vm import network, registry, status
from ukl.vm.registry import Given, Record, State


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.5", "10.0.0.5/24"), ("10.0.0.5/8", "10.0.0.5/8"), ("dhcp", "dhcp")],
)
def test_addresses(text: str, address: str) -> None:
    assert networks.parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "x", "10.0.0", "10.0.0.0/24", "10.0.0.255", "::1", "1.2.3.4/40"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        networks.parse_address(text)


def test_options() -> None:
    assert networks.chosen(None, None, None, None) == NO_NETWORK
    assert networks.chosen("lan", None, None, None).address == AUTOMATIC
    assert networks.chosen(None, "tap0", None, None) == Network(NetworkKind.TAP, "tap0", "dhcp")
    assert networks.chosen(None, None, "br0", "1.2.3.4").address == "1.2.3.4/24"
    for wrong in (
        ("lan", "tap0", None, None),
        (None, None, None, "dhcp"),
        ("a b", None, None, None),
        ("tap:x", None, None, None),
        (None, "x" * 16, None, None),
    ):
        with pytest.raises(ValueError, match=r"network|name"):
            networks.chosen(*wrong)


def test_groups_are_apart(tmp_path: Path) -> None:
    one, other = network.group("a", tmp_path), network.group("b", tmp_path)
    assert one == network.group("a", tmp_path)
    assert len({one, other, network.group("a", tmp_path / "x")}) == 3
    assert one[0].startswith("239.255.")
    assert 20000 <= one[1] < 40000


def test_qemu_words(tmp_path: Path) -> None:
    assert network.qemu_words(NO_NETWORK, None) == []
    shared = Network(NetworkKind.SHARED, "a", "10.77.0.2/24", "52:54:00:01:02:03", tmp_path)
    address, port = network.group("a", tmp_path)
    assert network.qemu_words(shared, None)[1] == (
        f"socket,id=net1,mcast={address}:{port},localaddr=127.0.0.1"
    )
    assert network.qemu_words(replace(shared, kind=NetworkKind.TAP), 7)[1] == "tap,id=net1,fd=7"
    assert network.hardware_address("a", tmp_path) != network.hardware_address("b", tmp_path)


def test_an_open_tap_device_is_used_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "device").open("wb") as device:
        given = Network(NetworkKind.TAP, "no such interface", descriptor=device.fileno())
        network.check(given)
        descriptor = network.open_device(given)
        assert descriptor is not None
        assert descriptor != device.fileno()
        assert os.fstat(descriptor).st_ino == os.fstat(device.fileno()).st_ino
        os.close(descriptor)


def member(name: str, address: str = "", where: str = "lan") -> Record:
    return Record(
        name,
        "app",
        registry.myself(),
        state=State.RUNNING,
        given=Given(network=where, address=address),
    )


def test_each_gets_an_address_of_its_own(tmp_path: Path) -> None:
    guests = registry.Registry(tmp_path)

    def claim(record: Record) -> str:
        return guests.claim(record, automatic=False).record.given.address

    assert claim(member("a")) == "10.77.0.2/24"
    assert claim(member("b")) == "10.77.0.3/24"
    assert claim(member("c", where="other")) == "10.77.0.2/24"
    assert claim(member("d", "dhcp")) == claim(member("e", "dhcp")) == "dhcp"
    assert claim(member("f", where="")) == ""
    with pytest.raises(InputError, match="the guest b has the address"):
        claim(member("g", "10.77.0.3/24"))
    guests.forget("a")
    assert claim(member("h")) == "10.77.0.2/24"
    words = status.hosts(guests.hosts("lan")).decode().splitlines()
    assert words == ["hosts", "host 10.77.0.3 b", "host 10.77.0.2 h", "hosts-end"]


def test_a_full_network() -> None:
    with pytest.raises(InputError, match="no free address"):
        network.next_address(str(host) for host in ipaddress.IPv4Network(SUBNET).hosts())


def test_no_name_is_too_long_for_the_guest() -> None:
    """guest/status.c takes lines of 128 bytes."""
    words = status.hosts([("255.255.255.255", "x" * MAX_NAME)])
    assert max(map(len, words.splitlines(keepends=True))) <= 128


def test_the_command_line(cli: Cli) -> None:
    done = cli("run", "hello", "--ip", "10.77.0.5")
    assert done.returncode == 2
    assert "needs a network" in done.stderr
    done = cli("run", "hello", "--tap", "no-such-tap")
    assert done.returncode == 4
    assert "ip tuntap add no-such-tap" in done.stderr
    done = cli("run", "hello", "--network", "lan", "--init", "app")
    assert done.returncode == 2
