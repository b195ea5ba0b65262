# SPDX-License-Identifier: GPL-2.0
"""Runs a host command against the guest's application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.model import AppSpec, PortForward, Protocol
from ukl.flow import suite
from ukl.host import exec as host_exec
from ukl.vm import ports as vm_ports


def with_free_ports(spec: AppSpec) -> AppSpec:
    """Return `spec` with its ports forwarded from free host ports."""
    return replace(spec, ports=vm_ports.with_free_hosts(spec.ports))


@dataclass(frozen=True, slots=True)
class HostCommand:
    """A shell command. `timeout` is in seconds; `env` are further environment variables."""

    command: str
    timeout: float
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, guest: suite.Guest, ports: tuple[PortForward, ...], log: Path) -> int:
        """Run the command when the guest accepts connections, and return its exit status.

        TimeoutExpired if it takes too long; UklError if the guest ends before the command starts.
        """
        tcp = [port.host for port in ports if port.protocol is Protocol.TCP]
        if tcp:
            suite.wait_for_port(tcp[0], guest)
        return host_exec.run(
            ["sh", "-c", self.command],
            cwd=Path.cwd(),
            env={**vm_ports.environment(ports), **self.env},
            log=log,
            check=False,
            timeout=self.timeout,
        ).returncode
