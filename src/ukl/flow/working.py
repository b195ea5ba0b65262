# SPDX-License-Identifier: GPL-2.0
"""A command on this machine that has an application in a guest work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.model import AppSpec, PortForward, Protocol
from ukl.flow import suite
from ukl.host import exec as host_exec
from ukl.vm import ports as ports_room


def served(spec: AppSpec) -> AppSpec:
    """Return `spec` with its ports at free ones of this machine."""
    return replace(spec, ports=ports_room.with_free_hosts(spec.ports))


@dataclass(frozen=True, slots=True)
class Work:
    """A command of the shell, and for how many seconds it may run; `env` are further variables."""

    command: str
    timeout: float
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, guest: suite.Guest, ports: tuple[PortForward, ...], log: Path) -> int:
        """Run it once the guest takes connections, and return its status.

        TimeoutExpired if it takes too long; UklError when the guest ends before it has begun.
        """
        tcp = [port.host for port in ports if port.protocol is Protocol.TCP]
        if tcp:
            suite.wait_for_port(tcp[0], guest)
        return host_exec.run(
            ["sh", "-c", self.command],
            cwd=Path.cwd(),
            env={**ports_room.environment(ports), **self.env},
            log=log,
            check=False,
            timeout=self.timeout,
        ).returncode
