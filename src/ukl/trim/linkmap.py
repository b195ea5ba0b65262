# SPDX-License-Identifier: GPL-2.0
"""Finds the object that the code at an address came from, in ld's map of a link. Pure."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass

_SECTION = re.compile(r"^ (\.?[\w.$-]+)?\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$")
_NAME_ONLY = re.compile(r"^ (\.[\w.$-]+)$")


@dataclass(frozen=True, slots=True)
class Piece:
    """Code of one object: `size` bytes from `address` on."""

    address: int
    size: int
    object: str


@dataclass(frozen=True, slots=True)
class LinkMap:
    """The pieces of a linked kernel, sorted by address."""

    pieces: tuple[Piece, ...]

    def find(self, address: int) -> Piece | None:
        """Return the piece that contains this address, or None."""
        number = bisect.bisect_right(self.pieces, address, key=lambda piece: piece.address) - 1
        if number < 0:
            return None
        piece = self.pieces[number]
        return piece if address < piece.address + piece.size else None


def parse(lines: Iterable[str]) -> LinkMap:
    """Read ld's map."""
    pieces = []
    name = ""
    for line in lines:
        if match := _NAME_ONLY.match(line.rstrip("\n")):
            name = match[1]
            continue
        match = _SECTION.match(line.rstrip("\n"))
        if match is not None and (match[1] or name):
            address, size = int(match[2], 16), int(match[3], 16)
            if address and size and ".text" in (match[1] or name):
                pieces.append(Piece(address, size, _path(match[4])))
        name = ""
    return LinkMap(tuple(sorted(pieces, key=lambda piece: piece.address)))


def _path(text: str) -> str:
    """Return an object's path in the build; a member's is relative to its archive's directory."""
    match = re.fullmatch(r"(.*/)?[^/]+\.a\((.+)\)", text)
    if match is None:
        return text
    return match[2] if "/" in match[2] else f"{match[1] or ''}{match[2]}"
