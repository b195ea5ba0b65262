# SPDX-License-Identifier: GPL-2.0
"""The status channel: lines of JSON from the guest's init, lines of words back to it. Pure.

Only lines with the nonce of this run are messages.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

STOP = b"stop\n"
ACK = b"ack\n"
AGENT = b"agent\n"
"""Starts the agent, which then sends its hello on its own port."""

HOLD = b"hold\n"
"""Holds the processors for a snapshot (vm/saving.py)."""


def stop(grace: float | None = None) -> bytes:
    """Return the line that ends the application within `grace` seconds. Pure."""
    return STOP if grace is None else b"stop %d\n" % round(1000 * grace)


def clock(now_ns: int) -> bytes:
    """Return the line that sets the clock: nanoseconds since the epoch. Pure."""
    return b"time %d %d\n" % divmod(now_ns, 1_000_000_000)


MAX_LINE = 4096
"""Most bytes of a message (init's have less than 512); a longer line is discarded."""


class Type(StrEnum):
    """The types of messages, in the order in which they arrive."""

    HELLO = "hello"
    CLOCK = "clock"
    READY = "ready"
    STARTED = "started"
    EXITED = "exited"
    SIGNALED = "signaled"
    HELD = "held"
    RESUMED = "resumed"
    ERROR = "error"
    DONE = "done"


APPLICATION = "application"
COMPANION = "companion"
AGENT_PROCESS = "agent"
STREAMS_PROCESS = "streams"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `seconds` is the guest's time since its boot, `fields` the other members."""

    type: Type
    seconds: float
    fields: Mapping[str, object]

    @property
    def who(self) -> str | None:
        """The process that it is about: `application`, `companion` or `agent`."""
        who = self.fields.get("who")
        return who if isinstance(who, str) else None

    def number(self, name: str) -> int | None:
        """Return an integer member, None if it is missing or not an integer."""
        value = self.fields.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def hosts(members: Iterable[tuple[str, str]]) -> bytes:
    """Return the lines with address and name of each member of the network. Pure."""
    lines = ["hosts", *(f"host {address} {name}" for address, name in members), "hosts-end"]
    return "".join(f"{line}\n" for line in lines).encode()


def make_nonce() -> str:
    """Return the nonce of a run: it identifies init's messages, and is not a secret."""
    return secrets.token_hex(8)


def parse(line: bytes, nonce: str) -> Message | None:
    """Return the message in `line`, None if it is not one of this run."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.pop("nonce", None) != nonce:
        return None
    milliseconds = value.pop("ms", None)
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int):
        return None
    try:
        kind = Type(value.pop("type", None))
    except ValueError:
        return None
    return Message(kind, milliseconds / 1000, value)


@dataclass(slots=True)
class Reader:
    """Splits the channel's bytes into messages. `foreign` counts other lines."""

    nonce: str
    foreign: int = 0
    _rest: bytes = field(default=b"")

    def feed(self, data: bytes) -> list[Message]:
        """Take received bytes and return the messages that are now complete."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[: MAX_LINE + 1]
        messages = []
        for line in lines:
            message = parse(line, self.nonce) if len(line) <= MAX_LINE else None
            if message is None:
                self.foreign += 1
            else:
                messages.append(message)
        return messages
