# SPDX-License-Identifier: GPL-2.0
"""The kernel's configuration: make a `.config` from fragments, and check it.

`make allnoconfig` with the requested options gives the smallest kernel that has
them. Kconfig silently drops options whose dependencies are not met; so each requested
option is looked up in the result, and a lost one is an error that names its dependencies.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import InputError
from ukl.kernel.kconfig_why import Definitions
from ukl.kernel.make_args import Make

_SET = re.compile(r"(CONFIG_\w+)=(.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")
_NAME = re.compile(r"[A-Z0-9a-z_]+")
_NUMBER = re.compile(r"-?\d+|0[xX][0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Request:
    """A requested option: name with CONFIG_, value as in `.config` ("n": off), file and line."""

    name: str
    value: str
    where: str

    def line(self) -> str:
        """Return the request as a line of a fragment."""
        if self.value == "n":
            return f"# {self.name} is not set"
        return f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Lost:
    """A request that the configuration did not keep, the value found, and why."""

    request: Request
    found: str
    reason: str


def parse_fragment(text: str, where: str) -> list[Request]:
    """Read a fragment; raises InputError with the place of a malformed line."""
    requests = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if match := _SET.fullmatch(words):
            requests.append(Request(match[1], match[2], f"{where}:{number}"))
        elif match := _UNSET.fullmatch(words):
            requests.append(Request(match[1], "n", f"{where}:{number}"))
        elif words and not words.startswith("#"):
            raise InputError(
                f"not a line of a kernel configuration: {words!r}",
                where=f"{where}:{number}",
                remedy="write CONFIG_NAME=value or `# CONFIG_NAME is not set`",
            )
    return requests


def parse_options(options: Mapping[str, str], where: str) -> list[Request]:
    """Read a manifest's kernel options: name with or without CONFIG_, value without quotes."""
    requests = []
    for name, given in options.items():
        bare = name.removeprefix("CONFIG_")
        if _NAME.fullmatch(bare) is None:
            raise InputError(f"not the name of a kernel option: {name!r}", where=where)
        value = str(given).strip()
        if value == "m":
            raise InputError(
                f"kernel option {bare}=m: a unikernel has no modules",
                where=where,
                remedy="use y",
            )
        if value not in {"y", "n"} and _NUMBER.fullmatch(value) is None:
            value = f'"{value.strip(chr(34))}"'
        if "\n" in value:
            raise InputError(f"kernel option {bare}: its value has more than one line", where=where)
        requests.append(Request(f"CONFIG_{bare}", value, where))
    return requests


def merge(requests: Iterable[Request]) -> dict[str, Request]:
    """Return the last request for each option."""
    return {request.name: request for request in requests}


def read(text: str) -> dict[str, str]:
    """Return the options that a `.config` sets."""
    return dict(_SET.findall(text))


def same(wanted: str, found: str) -> bool:
    """Tell whether two values of an option are equal; numbers in any base."""
    if _NUMBER.fullmatch(wanted) and _NUMBER.fullmatch(found):
        return int(wanted, 0) == int(found, 0)
    return wanted == found


def find_lost(requests: Mapping[str, Request], config: Mapping[str, str], tree: Path) -> list[Lost]:
    """Return the requests that `config` did not keep, each with Kconfig's reason."""
    missing = [
        request
        for request in requests.values()
        if not same(request.value, config.get(request.name, "n"))
        and not (request.value == '""' and request.name not in config)
    ]
    if not missing:
        return []
    definitions = Definitions.scan(tree)
    return [
        Lost(
            request,
            config.get(request.name, "n"),
            definitions.reason(request.name, request.value, config),
        )
        for request in missing
    ]


def resolve(make: Make, requests: Mapping[str, Request], log: Path | None = None) -> dict[str, str]:
    """Let Kconfig write `.config` from the requests, and return it; requests may be lost."""
    make.objects.mkdir(parents=True, exist_ok=True)
    wanted = make.objects / "requested.config"
    wanted.write_text("".join(f"{request.line()}\n" for request in requests.values()))
    # allnoconfig turns all other options off, whatever their defaults.
    make.run("allnoconfig", env={"KCONFIG_ALLCONFIG": os.fspath(wanted)}, log=log)
    return read((make.objects / ".config").read_text())


def configure(
    make: Make, requests: Mapping[str, Request], log: Path | None = None
) -> dict[str, str]:
    """Write `.config` with the requested options into the build directory and return it.

    Raises InputError that lists every lost option.
    """
    config = resolve(make, requests, log)
    lost = find_lost(requests, config, make.tree)
    if lost:
        first = "; ".join(
            f"{item.request.name}={item.request.value} ({item.request.where}) became "
            f"{item.found}: {item.reason}"
            for item in lost
        )
        raise InputError(
            f"the kernel's configuration lost {len(lost)} of {len(requests)} options: {first}",
            where=lost[0].request.where,
            remedy="request their dependencies as well, or leave the options out",
            log=log,
        )
    return config
