# SPDX-License-Identifier: GPL-2.0
"""Finds layer and function of the code at an address in a measured guest."""

from __future__ import annotations

from dataclasses import dataclass, field

from ukl.base.model import Mode
from ukl.bench.functions import APPLICATION, OTHER, REST, Place, layer_of
from ukl.debug.unwind import KERNEL_HALF, Program
from ukl.elf.reader import Elf
from ukl.flow.bootable import Bootable, link_map
from ukl.flow.context import Context
from ukl.trim import linkmap
from ukl.trim.linkmap import LinkMap

UNKNOWN = "[unknown]"


@dataclass(frozen=True, slots=True)
class Places:
    """The code of a guest whose kernel is where it was linked (`nokaslr`).

    `own` is the normal executable, if a process runs it where it was linked. Another process that
    is linked there, too, would be taken for it.
    """

    kernel: Program
    link: LinkMap
    own: Program | None = None
    _known: dict[int, Place] = field(default_factory=dict)

    def __call__(self, address: int) -> Place:
        """Return the layer and the function of an address."""
        if address not in self._known:
            self._known[address] = self._place(address)
        return self._known[address]

    def _place(self, address: int) -> Place:
        if address >= KERNEL_HALF:
            name = self.kernel.name(address)[0] or UNKNOWN
            if self.kernel.is_kernel(address) is False:
                return APPLICATION, name
            piece = self.link.find(address)
            return (layer_of(piece.object) if piece is not None else REST), name
        if self.own is not None and self.own.is_kernel(address) is False:
            return APPLICATION, self.own.name(address)[0] or UNKNOWN
        return OTHER, UNKNOWN


def places(made: Bootable, mode: Mode, context: Context) -> Places:
    """Return what names the code of a guest. The kernel is linked once more, for ld's map."""
    file = link_map(made, context)
    with file.open(encoding="utf-8", errors="replace") as stream:
        link = linkmap.parse(stream)
    own = None
    if mode is Mode.PROCESS:
        elf = Elf.open(made.app.user)
        own = Program(elf) if elf.kind == "ET_EXEC" else None
    return Places(Program(Elf.open(made.image.vmlinux)), link, own)
