# SPDX-License-Identifier: GPL-2.0
"""The run description: what the guest's init starts, and how.

guest/run.c is the other side. One "key value" per line between `ukl-run 1` and
`end`; in a value, a backslash and a newline are escaped. Pure.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ukl.base.errors import InputError

PATH = "/etc/ukl/run"
"""The file in the guest."""

MAX_SIZE = 1 << 20
"""The most bytes that init reads."""

MAX_NAME = 64
"""Bytes of a host name (HOST_NAME_MAX of Linux)."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A valid name of an application; init puts it into its messages unescaped."""

GRACE_MS = 1500
"""Milliseconds between SIGTERM and SIGKILL for a program without volumes and disks."""

DEFAULT_ENV = {
    "PATH": "/bin:/sbin:/usr/bin:/usr/sbin:/ukl",
    "HOME": "/root",
    "TERM": "linux",
}


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system that init mounts: `kind` is `9p`, `virtiofs` or `ext4`.

    `source` is the mount tag, or the serial number of the virtio disk. Other kinds are
    `squashfs`, which becomes the root of all programs; `initrd`: a directory of the initrd does;
    and `bind`: the file `source` is also at `target`, which is made if it is missing.
    """

    kind: str
    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """The user and the groups that the application runs as."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Console:
    """How the programs use the console.

    `input` makes it the application's standard input instead of /dev/null. `interactive`
    makes it the companion's controlling terminal, of `rows` and `columns`. `streams` are the
    kinds of the application's streams if it does not use the console (vm/streams.py).
    """

    input: bool = False
    interactive: bool = False
    rows: int = 0
    columns: int = 0
    streams: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """How the application is asked to end, and the time until it is killed."""

    grace_ms: int = GRACE_MS
    signal: int = signal.SIGTERM


TERM = Stop()
ROOT = Owner()
OUTPUT_ONLY = Console()


@dataclass(frozen=True, slots=True)
class GuestRun:
    """What init does in one run.

    `path` is the marker file or executable. `companion` is the argument vector of a normal
    program that runs beside the application, and whose end is the end of the run; with
    `start` False only the companion runs. `stop` says how both end when the host requests it.
    `nonce` identifies init's messages. `mounts` are mounted in order, and unmounted before the
    machine is switched off. `address` is that of the second interface, like `10.77.0.5/24`, or
    `dhcp`; empty if there is none. `cores` sends core files to the host. `dhcp` gets the first
    interface's address by DHCP, unless the kernel has set it (`ip=`). `reset` ends the machine by
    a reset, for a monitor without power-off.
    """

    name: str
    path: str = ""
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_ENV))
    nonce: str = ""
    cwd: str = "/"
    owner: Owner = ROOT
    start: bool = True
    companion: tuple[str, ...] = ()
    console: Console = OUTPUT_ONLY
    stop: Stop = TERM
    mounts: tuple[Mount, ...] = ()
    address: str = ""
    cores: bool = False
    dhcp: bool = False
    reset: bool = False


def encode(run: GuestRun) -> bytes:
    """Return the file's content; raises InputError if the format or execve() cannot hold it."""
    if len(run.name) > MAX_NAME or not NAME.fullmatch(run.name):
        raise InputError(
            f"not a valid name for an application: {run.name!r}",
            remedy=f"use at most {MAX_NAME} letters, digits, `.`, `_` and `-`",
        )
    text = "".join(f"{line}\n" for line in ["ukl-run 1", *_lines(run), "end"])
    data = text.encode("utf-8", "surrogateescape")
    if len(data) >= MAX_SIZE:
        raise InputError(
            f"arguments and environment are too long: {len(data)} bytes",
            remedy=f"a guest accepts at most {MAX_SIZE}; put them into a file that the program "
            "reads (`files` of [run], a volume)",
        )
    return data


def _lines(run: GuestRun) -> Iterator[str]:
    yield _line("nonce", run.nonce)
    yield _line("name", run.name)
    if run.path:
        yield _line("path", run.path)
    yield _line("cwd", run.cwd)
    for word in run.argv:
        yield _line("arg", word)
    for key, value in sorted(run.env.items()):
        if not key or "=" in key:
            raise InputError(f"not a valid name for an environment variable: {key!r}")
        yield _line("env", f"{key}={value}")
    for word in run.companion:
        yield _line("companion", word)
    for mount in run.mounts:
        if " " in mount.source:  # a tag and a serial number have none
            raise InputError(f"a path with a space cannot be mounted elsewhere: {mount.source!r}")
        access = "ro" if mount.read_only else "rw"
        yield _line("mount", f"{mount.kind} {access} {mount.source} {mount.target}")
    if run.address:
        yield _line("address", run.address)
    if run.console.streams:
        yield _line("streams", run.console.streams)
    for key, number in (
        ("uid", run.owner.uid),
        ("gid", run.owner.gid),
        *(("group", group) for group in run.owner.groups),
        ("grace-ms", run.stop.grace_ms),
        ("stop-signal", int(run.stop.signal)),
    ):
        yield _line(key, str(number))
    for key, flag in (
        ("start", run.start),
        ("console-input", run.console.input),
        ("cores", run.cores),
        ("dhcp", run.dhcp),
        ("reset", run.reset),
        ("interactive", run.console.interactive),
    ):
        yield _line(key, "1" if flag else "0")
    yield _line("rows", str(run.console.rows))
    yield _line("columns", str(run.console.columns))


def _line(key: str, value: str) -> str:
    if "\0" in value:
        raise InputError(f"an argument or environment variable has a NUL byte: {value!r}")
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{key} {escaped}"
