# SPDX-License-Identifier: GPL-2.0
"""A guest's second interface: a network of guests, a tap device, or a bridge of the host.

The first interface is always QEMU's user network: it needs no root, and forwards ports.

A network of guests needs neither root nor an extra process: each QEMU sends its frames to a
multicast group on the loopback interface, and receives those of the others. The group is a
digest of the cache and the network's name. Any process on the host that may send packets can
take part.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from ukl.base.errors import InputError, MissingError, UklError
from ukl.base.model import SUBNET, Network, NetworkKind

TUN = Path("/dev/net/tun")

# linux/if_tun.h, linux/sockios.h, linux/if.h
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_SIOCBRADDIF = 0x89A2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def label(network: Network) -> str:
    """Return the network as written in a guest's record; empty for none. Pure."""
    if network.kind in {NetworkKind.NONE, NetworkKind.SHARED}:
        return network.name
    return f"{network.kind.value}:{network.name}"


def next_address(taken: Iterable[str]) -> str:
    """Return the first free address of a network of guests; raises InputError. Pure."""
    used = {each.partition("/")[0] for each in taken}
    subnet = ipaddress.IPv4Network(SUBNET)
    for host in subnet.hosts():
        # The first is reserved for a router.
        if host != subnet[1] and str(host) not in used:
            return f"{host}/{subnet.prefixlen}"
    raise InputError("the network has no free address", remedy="set one with --ip")


def hardware_address(guest: str, cache: Path) -> str:
    """Return the interface's MAC address, a digest of host name, cache and guest's name."""
    text = f"{os.uname().nodename}\0{cache}\0{guest}"
    first, second, third = hashlib.sha256(text.encode()).digest()[:3]
    return f"52:54:00:{first:02x}:{second:02x}:{third:02x}"


def group(network: str, cache: Path) -> tuple[str, int]:
    """Return multicast address and port of a network of guests. Pure."""
    # 239.255.0.0/16 is site-local (RFC 2365), and the packets do not leave loopback.
    high, low, first, second = hashlib.sha256(f"{cache}\0{network}".encode()).digest()[:4]
    return f"239.255.{high}.{low}", 20000 + (first << 8 | second) % 20000


def qemu_words(network: Network, descriptor: int | None) -> list[str]:
    """Return QEMU's options; `descriptor` is that of the tap device, if any. Pure."""
    if network.kind is NetworkKind.NONE:
        return []
    if network.kind is NetworkKind.SHARED:
        address, port = group(network.name, network.cache)
        backend = f"socket,id=net1,mcast={address}:{port},localaddr=127.0.0.1"
    else:
        backend = f"tap,id=net1,fd={descriptor}"
    device = f"virtio-net-pci,netdev=net1,romfile=,mac={network.mac}"
    return ["-netdev", backend, "-device", device]


# --- tap devices ------------------------------------------------------------------

DEVICES = frozenset({NetworkKind.TAP, NetworkKind.BRIDGE})
"""The kinds that need an interface of the host."""


def check(network: Network) -> None:
    """Raise InputError if the network needs an interface that does not exist."""
    if network.descriptor is not None:
        return
    if network.kind in DEVICES and not Path("/sys/class/net", network.name).exists():
        raise InputError(f"this machine has no interface {network.name}", remedy=_remedy(network))


def open_device(network: Network) -> int | None:
    """Return the descriptor of the tap device that `network` needs, None if it needs none.

    A tap device made for this user needs no privilege, a bridge does. Raises MissingError if
    the kernel has no tap devices, UklError if this user may not use the device.
    """
    if network.kind not in DEVICES:
        return None
    if network.descriptor is not None:
        return os.dup(network.descriptor)
    is_bridge = network.kind is NetworkKind.BRIDGE
    try:
        descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise MissingError(
            f"this machine has no tap devices: {error.strerror}",
            where=TUN,
            remedy="load the kernel module `tun`, or use --network, which needs none",
        ) from error
    try:
        name = "ukl%d" if is_bridge else network.name
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        made = fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        if is_bridge:
            _attach(network.name, made[:16].rstrip(b"\0"))
    except OSError as error:
        os.close(descriptor)
        raise _refused(network, error) from error
    return descriptor


def _attach(bridge: str, device: bytes) -> None:
    index = socket.if_nametoindex(device.decode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCBRADDIF, struct.pack("16si20x", bridge.encode(), index))
        request = struct.pack("16sH22x", device, 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(handle, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH22x", device, flags | _IFF_UP))


def _refused(network: Network, error: OSError) -> UklError:
    if error.errno == errno.EBUSY:
        return UklError(
            "another program uses this tap device",
            where=network.name,
            remedy="end that program (`ukl ps` lists the guests), or use another device",
        )
    if error.errno in {errno.EPERM, errno.EACCES}:
        what = "this user may not use the device"
    else:
        what = f"cannot use the device: {error.strerror}"
    return UklError(what, where=network.name, remedy=_remedy(network))


def _remedy(network: Network) -> str:
    tap = "tap0" if network.kind is NetworkKind.BRIDGE else network.name
    lines = [f"sudo ip tuntap add {tap} mode tap user $USER", f"sudo ip link set {tap} up"]
    if network.kind is NetworkKind.BRIDGE:
        lines[1] = f"sudo ip link set {tap} master {network.name} up"
    return f"make a tap device once, and use --tap {tap}:\n" + "\n".join(lines)
