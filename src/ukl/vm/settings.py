# SPDX-License-Identifier: GPL-2.0
"""The settings of a session (vm/session.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ukl.base.model import LogLimits
from ukl.vm import qemu
from ukl.vm.streams import Sink, Streams

STOP_GRACE = 2.0
"""Seconds that a guest has to end by itself after a stop; init kills after 1.5 of them."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What a session has that begins with a snapshot instead of a boot (vm/copies.py).

    `descriptor` is the open file. `rest` is the beginning of a frame of the program's streams.
    """

    descriptor: int
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a session.

    `directory` gets `console.log` and `qemu.log`; it must exist. `nonce` identifies the
    messages of the guest's init; None means that the application is PID 1, without a status
    channel. `companion` says that the run ends with the companion. `output` gets the
    console's bytes, `input` is a descriptor whose bytes go to the console (None: no input);
    `interactive` makes it, if it is a terminal, the guest's terminal. `timeout` is in
    seconds, from the start. `qemu_version` is None if unknown. `agent` gives the guest the
    agent's port (vm/agent.py), `cores` the port for core files (vm/cores.py). `log` limits
    the size of the console's log. `streams` are the application's, if it does not use the
    console. `copy` is None for a machine that boots.
    """

    directory: Path
    nonce: str | None
    output: Sink
    companion: bool = False
    input: int | None = None
    interactive: bool = False
    timeout: float | None = None
    stop_grace: float = STOP_GRACE
    qemu: str = qemu.QEMU
    qemu_version: tuple[int, ...] | None = None
    agent: bool = False
    cores: bool = False
    log: LogLimits | None = None
    streams: Streams | None = None
    copy: Copy | None = None

    @property
    def console_log(self) -> Path:
        """The log of the console."""
        return self.directory / "console.log"

    @property
    def qemu_log(self) -> Path:
        """The log of QEMU's messages."""
        return self.directory / "qemu.log"
