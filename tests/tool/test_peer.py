# SPDX-License-Identifier: GPL-2.0
"""The client of a measured server, where it can have no tap device."""

from __future__ import annotations

from pathlib import Path

from ukl.base.model import NO_NETWORK
from ukl.bench.peer import Peer

# With a socket it sends no device; without one, it is where the host's network is.
CLIENT = """#!/bin/sh
if [ $# = 2 ]; then
    printf x >&$2
    cat
    exit
fi
while read -r word rest; do
    [ "$1 $word" = "127.0.0.1 connect" ] && echo ready
done
"""


def test_without_a_tap_device_it_uses_the_hosts_network(tmp_path: Path) -> None:
    program = tmp_path / "client"
    program.write_text(CLIENT)
    program.chmod(0o755)
    with Peer(program, tmp_path / "log") as peer:
        assert peer.network is NO_NETWORK
        peer.connect("redis", 0, 6379, 1, 1)
