# SPDX-License-Identifier: GPL-2.0
"""Guests on a network of their own: one talks TCP to the other, by name and by address."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.boot.test_lifecycle import Cli, Guest, cli, detached

__all__ = ["cli"]  # the fixture

NETWORK = f"net-{os.getpid()}"
DHCP_SERVER = """
printf 'start 10.77.0.100\\nend 10.77.0.110\\ninterface eth1\\nopt subnet 255.255.255.0\\n' >/tmp/d
echo lease_file /tmp/leases >>/tmp/d; touch /tmp/leases
udhcpd /tmp/d >/dev/null 2>&1 </dev/null
"""


@pytest.fixture(scope="module")
def server(cli: Cli) -> Iterator[Guest]:
    with detached(cli, f"server-{os.getpid()}", "--network", NETWORK) as started:
        yield started


def test_two_guests(cli: Cli, server: Guest) -> None:
    name = f"client-{os.getpid()}"
    with detached(cli, name, "--network", NETWORK) as client:
        assert (server.inspect()["address"], client.inspect()["address"]) == (
            "10.77.0.2/24",
            "10.77.0.3/24",
        )
        # Known from the start: the server was there first.
        assert "10.77.0.2" in client.sh(f"grep {server.name} /etc/hosts")[1]
        assert client.sh(f"echo by name | nc -w 5 {server.name} 5555")[1] == "by name\n"
        assert client.sh("echo by address | nc -w 5 10.77.0.2 5555")[1] == "by address\n"
        # Told while it runs.
        server.until(f"grep {name} /etc/hosts")
        assert server.sh(f"echo back | nc -w 5 {name} 5555")[1] == "back\n"
    server.until(f"! grep {name} /etc/hosts")
    assert "localhost" in server.sh("cat /etc/hosts")[1]


def test_another_network_is_apart(cli: Cli, server: Guest) -> None:
    with detached(cli, f"apart-{os.getpid()}", "--network", f"{NETWORK}-b") as other:
        assert other.inspect()["address"] == "10.77.0.2/24"
        assert server.name not in other.sh("cat /etc/hosts")[1]
        # The address is its own there: nobody else answers for another one.
        assert other.sh("ping -c 2 -W 2 10.77.0.3")[0] != 0


def test_dhcp(cli: Cli, server: Guest) -> None:
    assert server.sh(DHCP_SERVER)[0] == 0
    extra = ("--network", NETWORK, "--ip", "dhcp")
    with detached(cli, f"leased-{os.getpid()}", *extra) as leased:
        # The server chooses within its range by the client's hardware address.
        assert re.search(r" 10\.77\.0\.1[01]\d/24 ", leased.sh("ip -4 addr show dev eth1")[1])
        assert leased.sh(f"echo leased | nc -w 5 {server.name} 5555")[1] == "leased\n"
