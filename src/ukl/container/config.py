# SPDX-License-Identifier: GPL-2.0
"""The configuration of an image: what to start in it, and how. Pure.

Source: the OCI image format specification 1.1, "Image Configuration".
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ukl.base.errors import InputError
from ukl.base.model import PortForward, Protocol

ARCHITECTURE = "amd64"
SYSTEM = "linux"

FIRST_FREE_PORT = 1024
"""The first port that a user may listen on (ip_unprivileged_port_start)."""

SHIFT = 8000
"""What is added to a lower port on this machine: 80 becomes 8080."""

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?")
_RANGE_MAX = 64
"""The most ports of a range that are forwarded."""


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says about its program.

    `directory` is the working directory, `user` is `USER[:GROUP]`, names or numbers. `diff_ids`
    are the digests of the layers' tar archives.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = ""
    ports: tuple[PortForward, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: int = signal.SIGTERM
    diff_ids: tuple[str, ...] = ()


def parse(data: Any, where: str) -> Config:
    """Return the checked content of an image's configuration; raises InputError."""
    if not isinstance(data, dict) or not isinstance(data.get("config") or {}, dict):
        raise _malformed("not an object", where)
    architecture, system = data.get("architecture", ""), data.get("os", "")
    if (architecture, system) != (ARCHITECTURE, SYSTEM):
        raise InputError(
            f"an image for {system or 'an unknown system'} on {architecture or 'unknown'}",
            where=where,
            remedy=f"copy the image for {SYSTEM}/{ARCHITECTURE}, as with "
            f"`skopeo --override-arch {ARCHITECTURE} copy …`",
        )
    config = data.get("config") or {}
    try:
        return Config(
            entrypoint=_words(config.get("Entrypoint")),
            command=_words(config.get("Cmd")),
            env=dict(_variable(each) for each in _words(config.get("Env"))),
            directory=_directory(config.get("WorkingDir")),
            user=_text(config.get("User")),
            ports=tuple(
                port for each in sorted(config.get("ExposedPorts") or {}) for port in _ports(each)
            ),
            volumes=tuple(_directory(each) for each in sorted(config.get("Volumes") or {})),
            stop_signal=parse_signal(_text(config.get("StopSignal")) or "SIGTERM"),
            diff_ids=_words((data.get("rootfs") or {}).get("diff_ids")),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise _malformed(str(error), where) from error


def _malformed(why: str, where: str) -> InputError:
    return InputError(
        f"the image's configuration is malformed: {why}",
        where=where,
        remedy="copy or make the image again",
    )


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"not a list of words: {value!r}")
    return tuple(value)


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"not a string: {value!r}")
    return value or ""


def _variable(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise ValueError(f"not a variable: {text!r}")
    return name, value


def _directory(value: Any) -> str:
    path = _text(value) or "/"
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"not an absolute path: {path!r}")
    return path


def _ports(text: str) -> list[PortForward]:
    match = _PORT.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match is not None else (0, 0)
    if match is None or not 0 < first <= last < 65536:
        raise ValueError(f"not a port: {text!r}")
    numbers = range(first, min(last + 1, first + _RANGE_MAX))
    return [
        PortForward(
            number if number >= FIRST_FREE_PORT else number + SHIFT,
            number,
            protocol=Protocol(match[3] or "tcp"),
        )
        for number in numbers
    ]


def parse_signal(text: str) -> int:
    """Return a signal's number for `SIGQUIT`, `QUIT`, `3` or `SIGRTMIN+3`; raises ValueError."""
    name, _, more = text.removeprefix("SIG").partition("+")
    if more or name == "RTMIN":
        number = signal.SIGRTMIN + int(more or 0) if name == "RTMIN" else 0
    elif name.isdigit():
        number = int(name)
    else:
        number = signal.Signals.__members__.get(f"SIG{name}", 0)
    if not 0 < number <= signal.SIGRTMAX:
        raise ValueError(f"not a signal: {text!r}")
    return int(number)
