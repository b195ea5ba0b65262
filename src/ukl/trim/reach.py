# SPDX-License-Identifier: GPL-2.0
"""From addresses that ran to objects of the kernel, and to the options behind them. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ukl.trim.kbuild import Kbuild, Way
from ukl.trim.linkmap import LinkMap


class Functions:
    """Names of the functions at addresses, by a System.map's symbols."""

    def __init__(self, symbols: Iterable[tuple[str, int]]) -> None:
        ordered = sorted((address, name) for name, address in symbols)
        self._addresses = [address for address, _ in ordered]
        self._names = [name for _, name in ordered]

    def at(self, address: int) -> str:
        """Return the function with that address, empty if there is none."""
        number = bisect.bisect_right(self._addresses, address) - 1
        return self._names[number] if number >= 0 else ""


@dataclass(frozen=True, slots=True)
class Ran:
    """What of the kernel ran: object -> the first function of it that did.

    `work`: for the program, and not in a guest that does nothing. `idle`: while the program
    ran, but in the guest that does nothing as well. `boot`: until the program was started.
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
    """Return what ran, of the addresses of blocks that did.

    Whole functions are compared: one that an idle kernel executes as well, by whatever way
    through it, says nothing about the program.
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
    own = first(pair for pair in during if pair not in without)
    itself = first(pair for pair in during if pair[0] not in own)
    return Ran(own, itself, first(places(boot)))


@dataclass(frozen=True, slots=True)
class Code:
    """The kernel's objects: the ways by which each is built that are open, and their bytes.

    A way is open when all its options are on in the configuration the kernel was built with.
    """

    ways: Mapping[str, frozenset[Way]]
    sizes: Mapping[str, int]

    def of(self, option: str) -> frozenset[str]:
        """Return the objects that are there only because of an option (without CONFIG_)."""
        return frozenset(
            each for each, ways in self.ways.items() if all(option in way for way in ways)
        )

    def size(self, objects: Iterable[str]) -> int:
        """Return the bytes of code in objects."""
        return sum(self.sizes[each] for each in objects)


def code(linkmap: LinkMap, kbuild: Kbuild, config: Mapping[str, str]) -> Code:
    """Return the objects of a link; `config` is what it was built with (names with CONFIG_)."""
    sizes: dict[str, int] = {}
    for piece in linkmap.pieces:
        sizes[piece.object] = sizes.get(piece.object, 0) + piece.size
    ways = {}
    for each in sizes:
        every = kbuild.ways(each)
        ways[each] = frozenset(way for way in every if is_open(way, config)) or every
    return Code(ways, sizes)


def is_open(way: Way, config: Mapping[str, str]) -> bool:
    """Tell whether all options of a way are on."""
    return all(config.get(f"CONFIG_{option}", "n") != "n" for option in way)
