# SPDX-License-Identifier: GPL-2.0
"""Parsers of settings: sizes, ports, names, paths. Each raises ValueError with the reason.

They are used for `ukl.toml`, `compose.toml` and the command line.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ukl.base import resources
from ukl.base.model import PortForward, Protocol
from ukl.settings.python import packages_of

NAME_LIMIT = 31
"""Characters of a name; the marker file has 32 bytes for it, including the NUL."""

PAGE_SIZES = (*(f"{kib}K" for kib in (16, 32, 64, 128, 256, 512)), "1M", "2M")
"""Page sizes of anonymous memory: orders 2 to 9 (THP_ORDERS_ALL_ANON in linux/huge_mm.h)."""

MEMORY_MIN = 11 << 20
"""Bytes below which no UKL kernel boots, not even with the profile `tiny`."""

CPUS_MAX = 64
"""The limit of the kernel configuration (CONFIG_NR_CPUS)."""

LOG_MIN, LOG_MAX = 64 << 10, 1 << 40
"""Limits of log_size: what `ukl` shows of the end fits; above the maximum it is a typo."""

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

COMPILED = frozenset({".c", ".cc", ".cpp", ".cxx", ".S", ".s"})
"""Suffixes of source files."""

OBJECTS = frozenset({".o", ".a"})
"""Suffixes of object files and archives."""

_SIZE = re.compile(r"(\d+)([KMG])(?:i?B)?", re.IGNORECASE)


def _bytes(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) * UNITS[match[2].upper()] if match else None


def parse_memory(text: str) -> int:
    """Return the bytes of `256M` or `2G`."""
    size = _bytes(text)
    if size is None:
        raise ValueError(f"{text!r} is not a memory size; write it like 256M or 2G")
    if size < MEMORY_MIN:
        raise ValueError(f"{text!r} is too little memory; at least {MEMORY_MIN >> 20}M is needed")
    return size


def parse_log_size(text: str) -> int:
    """Return the bytes of a log size like `16M`."""
    size = _bytes(text)
    if size is None or not LOG_MIN <= size <= LOG_MAX:
        raise ValueError(
            f"{text!r} is not a log size; write it like 16M, from {LOG_MIN >> 10}K "
            f"to {LOG_MAX >> 30}G"
        )
    return size


def parse_page_size(text: str) -> int:
    """Return the bytes of a page size like `64K` or `2M`."""
    if text not in PAGE_SIZES:
        raise ValueError(f"{text!r} is not a page size; use one of {', '.join(PAGE_SIZES)}")
    return int(text[:-1]) * UNITS[text[-1]]


def parse_timezone(text: str) -> str:
    """Return the name of a time zone."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", text):
        raise ValueError(
            f"{text!r} is not the name of a time zone; write it like Europe/Berlin, or host"
        )
    return text


def write_size(size: int) -> str:
    """Return a number of bytes in the form that these functions parse: `256M`. Pure."""
    unit = next((name for name in "GMK" if size % UNITS[name] == 0), "")
    return f"{size // UNITS[unit]}{unit}" if unit else str(size)


def parse_port(text: str) -> PortForward:
    """Return the port forward for `[ADDRESS:]HOST:GUEST[/udp]`."""
    plain, slash, protocol = text.partition("/")
    if slash and protocol not in set(Protocol):
        raise ValueError(
            f"{text!r} is not a port forward: {protocol!r} is neither tcp nor udp; "
            "write it like 5353:53/udp"
        )
    *address, host, guest = plain.split(":") if ":" in plain else (plain, plain)
    numbers = []
    for word in (host, guest):
        if not re.fullmatch(r"\d{1,5}", word) or not 0 < int(word) < 1 << 16:
            raise ValueError(
                f"{text!r} is not a port forward: {word!r} is not a port (1 to 65535); "
                "write it like 5555:5555 or 0.0.0.0:5555:5555"
            )
        numbers.append(int(word))
    where = ":".join(address) or "127.0.0.1"
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", where) or any(
        int(byte) > 255 for byte in where.split(".")
    ):
        raise ValueError(f"{text!r} is not a port forward: {where!r} is not an IPv4 address")
    return PortForward(numbers[0], numbers[1], where, Protocol(protocol or "tcp"))


def write_port(port: PortForward) -> str:
    """Return a port forward in the form that parse_port() parses. Pure."""
    address = "" if port.address == "127.0.0.1" else f"{port.address}:"
    protocol = "" if port.protocol is Protocol.TCP else f"/{port.protocol}"
    return f"{address}{port.host}:{port.guest}{protocol}"


def parse_guest_port(text: str) -> tuple[Protocol, int]:
    """Return the protocol and number of a guest port like `6379` or `53/udp`."""
    number, slash, protocol = text.partition("/")
    if not number.isdecimal() or not 0 < int(number) < 1 << 16:
        raise ValueError(f"{text!r} is not a guest port; write it like 6379 or 53/udp")
    if slash and protocol not in set(Protocol):
        raise ValueError(f"{text!r}: {protocol!r} is neither tcp nor udp")
    return Protocol(protocol or "tcp"), int(number)


def parse_env(text: str) -> tuple[str, str]:
    """Return the name and value of `KEY=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{text!r} does not set a variable; write it like KEY=VALUE")
    return name, value


def parse_variable(text: str) -> str:
    """Return the name of a variable."""
    return parse_env(f"{text}=")[0]


def parse_sysctl(text: str) -> tuple[str, str]:
    """Return the name and value of the kernel's parameter `NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-z0-9_-]+([./][A-Za-z0-9_-]+)+", name):
        raise ValueError(f"{text!r} does not set a parameter; write it like vm.overcommit_memory=1")
    return name, parse_sysctl_value(value)


def parse_sysctl_value(value: object) -> str:
    """Return the value of a kernel's parameter: text or a number."""
    if not re.fullmatch(r"[ !#-~]*", str(value)):
        raise ValueError(f"the kernel's command line cannot hold the value {value!r}")
    return str(value)


def parse_sysctl_name(text: str) -> str:
    """Return the name of a kernel's parameter."""
    return parse_sysctl(f"{text}=")[0]


def parse_option(text: str) -> tuple[str, str]:
    """Return the name and value of the kernel option `CONFIG_X=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ValueError(f"{text!r} does not set a kernel option; write it like CONFIG_TMPFS=y")
    return parse_option_name(name), value


def parse_option_name(text: str) -> str:
    """Return the name of a kernel option, with the prefix CONFIG_."""
    if not re.fullmatch(r"(CONFIG_)?[A-Z0-9][A-Za-z0-9_]*", text):
        raise ValueError(f"{text!r} is not the name of a kernel option, like CONFIG_TMPFS")
    return text if text.startswith("CONFIG_") else f"CONFIG_{text}"


def parse_option_value(value: object) -> str:
    """Return the value of a kernel option: true is `y`, false is `n`."""
    return ("n", "y")[value] if isinstance(value, bool) else str(value)


def parse_path(text: str) -> Path:
    """Return a path on this machine; ValueError if it is empty."""
    if not text:
        raise ValueError("the path is empty")
    return Path(text)


def parse_name(text: str) -> str:
    """Return the name of an application."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) or len(text) > NAME_LIMIT:
        raise ValueError(
            f"{text!r} is not a valid name; use letters, digits and . _ -, "
            f"at most {NAME_LIMIT} of them"
        )
    return text


def parse_series(text: str) -> str:
    """Return the name of a kernel series."""
    known = [file.parent.name for file in resources.path("kernel").glob("*/series")]
    if text not in known:
        raise ValueError(
            f"there is no patch series for Linux {text}; the series are: "
            f"{', '.join(sorted(known))} (an exact version is named with --kernel-source)"
        )
    return text


def parse_library(text: str) -> str:
    """Return the name of a library, as for the linker's -l."""
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", text) or text.startswith("-"):
        raise ValueError(f'{text!r} is not the name of a library; write "m" for -lm')
    return text


def parse_prototype(text: str) -> str:
    """Return the C prototype of a kernel function."""
    from ukl.settings import prototypes  # noqa: PLC0415 - pycparser takes 0.1 s

    prototypes.parse(text)
    return text


def parse_guest_path(text: str) -> str:
    """Return the absolute path of a file in the guest."""
    if not text.startswith("/") or ".." in text.split("/") or text.endswith("/"):
        raise ValueError(f"{text!r} is not the absolute path of a file in the guest")
    return text


def expanded(text: str | Path) -> Path:
    """Return the path with `~` or `~USER` expanded; unchanged if there is no such user."""
    path = Path(text)
    with contextlib.suppress(RuntimeError):
        return path.expanduser()
    return path


def host_path(text: str, directory: Path) -> Path:
    """Return the path of a host file or directory, which must exist."""
    path = Path(directory, expanded(text))
    if not path.exists():
        raise ValueError(f"the file {text!r} does not exist (looked for {path})")
    return Path(os.path.normpath(path.absolute()))


def parse_file(text: str) -> tuple[str, Path]:
    """Return the guest's and the host's path of `GUEST=HOST`, or of `PATH` for both."""
    guest, equals, host = text.partition("=")
    path = host_path(host if equals else guest, Path.cwd())
    return parse_guest_path(guest) if equals else str(path), path


def host_file(text: str, directory: Path) -> Path:
    """Return the path of a host file, which must exist."""
    path = Path(directory, expanded(text))
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise ValueError(f"the file {text!r} {what} (looked for {path})")
    return Path(os.path.normpath(path.absolute()))


def host_directory(text: str, directory: Path) -> Path:
    """Return the path of a host directory, which must exist."""
    path = host_path(text, directory)
    if not path.is_dir():
        raise ValueError(f"{text!r} is not a directory")
    return path


def python_venv(text: str, directory: Path) -> Path:
    """Return the path of a virtual environment of Python."""
    path = host_directory(text, directory)
    packages_of(path)
    return path


def python_script(text: str, directory: Path) -> Path:
    """Return the path of a Python program: a file, or a directory with a `__main__.py`."""
    path = host_path(text, directory)
    if path.is_dir() and not (path / "__main__.py").is_file():
        raise ValueError(f"the directory {text!r} has no __main__.py")
    return path


def name_of(text: str) -> str:
    """Return an application name for a file named `text`. Pure."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).lstrip("-._")[:NAME_LIMIT] or "app"
