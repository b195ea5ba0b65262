# SPDX-License-Identifier: GPL-2.0
"""Parses the settings of a guest's second interface: kind, name and address. Pure."""

from __future__ import annotations

import ipaddress
import re

from ukl.base.model import AUTOMATIC, DHCP, NO_NETWORK, SUBNET, Network, NetworkKind
from ukl.guest.rundesc import NAME

_INTERFACE = re.compile(r"[^\s/:%]{1,15}")
"""A name that Linux accepts for an interface (dev_valid_name())."""


def parse_address(text: str) -> str:
    """Return `10.77.0.5/24` for `10.77.0.5` or `10.77.0.5/24`, and `dhcp` for `dhcp`.

    Anything else is a ValueError. Pure.
    """
    if text == DHCP:
        return DHCP
    prefix = SUBNET.partition("/")[2]
    try:
        found = ipaddress.IPv4Interface(text if "/" in text else f"{text}/{prefix}")
    except ValueError:
        found = None
    if found is None or found.ip in {found.network.network_address, found.network[-1]}:
        raise ValueError(
            f"{text!r} is not an address for a guest; write it like 10.77.0.5, 10.77.0.5/24 or dhcp"
        )
    return str(found)


def chosen(network: str | None, tap: str | None, bridge: str | None, ip: str | None) -> Network:
    """Return the network that the command line's options select; NO_NETWORK without options.

    ValueError if options exclude each other. Pure.
    """
    asked = {
        NetworkKind.SHARED: network,
        NetworkKind.TAP: tap,
        NetworkKind.BRIDGE: bridge,
    }
    given = [(kind, name) for kind, name in asked.items() if name is not None]
    if len(given) > 1:
        raise ValueError("a guest has at most one network in addition to the first")
    if not given:
        if ip is not None:
            raise ValueError("an address needs a network, a tap device or a bridge")
        return NO_NETWORK
    [(kind, name)] = given
    pattern = NAME if kind is NetworkKind.SHARED else _INTERFACE
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name of a network or an interface")
    default = AUTOMATIC if kind is NetworkKind.SHARED else DHCP
    return Network(kind, name, default if ip is None else parse_address(ip))
