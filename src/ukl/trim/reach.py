# SPDX-License-Identifier: GPL-2.0
"""Maps executed addresses to objects of the kernel, and these to options. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ukl.trim.kbuild import Condition, Kbuild
from ukl.trim.linkmap import LinkMap


class Functions:
    """Finds the name of the function at an address, from a System.map's symbols."""

    def __init__(self, symbols: Iterable[tuple[str, int]]) -> None:
        ordered = sorted((address, name) for name, address in symbols)
        self._addresses = [address for address, _ in ordered]
        self._names = [name for _, name in ordered]

    def at(self, address: int) -> str:
        """Return the function that contains the address, "" if there is none."""
        number = bisect.bisect_right(self._addresses, address) - 1
        return self._names[number] if number >= 0 else ""


@dataclass(frozen=True, slots=True)
class Ran:
    """The executed code of the kernel: object -> the first function of it that ran.

    `work`: while the program ran, and not in an idle guest. `idle`: while the program ran, but
    also in an idle guest. `boot`: until the program was started.
    """

    work: Mapping[str, str]
    idle: Mapping[str, str]
    boot: Mapping[str, str]


def ran(
    boot: Iterable[int],
    work: Iterable[int],
    idle: Iterable[int],
    linkmap: LinkMap,
    functions: Functions,
) -> Ran:
    """Return the executed objects, from the addresses of executed blocks.

    Whole functions are compared: a function that an idle kernel executes, too, on any path
    through it, is not evidence that the program uses it.
    """

    def places(addresses: Iterable[int]) -> dict[tuple[str, str], None]:
        found: dict[tuple[str, str], None] = {}
        for address in addresses:
            if (piece := linkmap.find(address)) is not None:
                found[piece.object, functions.at(address)] = None
        return found

    def first(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
        named: dict[str, str] = {}
        for each, function in pairs:
            named.setdefault(each, function)
        return named

    during, without = places(work), places(idle)
    only = first(pair for pair in during if pair not in without)
    shared = first(pair for pair in during if pair[0] not in only)
    return Ran(only, shared, first(places(boot)))


@dataclass(frozen=True, slots=True)
class Code:
    """The kernel's objects: the conditions for building each, and the size of its code [bytes].

    Only the conditions that hold in the kernel's configuration.
    """

    conditions: Mapping[str, frozenset[Condition]]
    sizes: Mapping[str, int]

    def of(self, option: str) -> frozenset[str]:
        """Return the objects that are built only because of an option (without CONFIG_)."""
        return frozenset(
            each
            for each, conditions in self.conditions.items()
            if all(option in condition for condition in conditions)
        )

    def size(self, objects: Iterable[str]) -> int:
        """Return the size of the objects' code [bytes]."""
        return sum(self.sizes[each] for each in objects)


def code(linkmap: LinkMap, kbuild: Kbuild, config: Mapping[str, str]) -> Code:
    """Return the objects of a link; `config` is its configuration (names with CONFIG_)."""
    sizes: dict[str, int] = {}
    for piece in linkmap.pieces:
        sizes[piece.object] = sizes.get(piece.object, 0) + piece.size
    conditions = {}
    for each in sizes:
        every = kbuild.conditions(each)
        conditions[each] = frozenset(one for one in every if holds(one, config)) or every
    return Code(conditions, sizes)


def holds(condition: Condition, config: Mapping[str, str]) -> bool:
    """Whether all options of a condition are on."""
    return all(config.get(f"CONFIG_{option}", "n") != "n" for option in condition)
