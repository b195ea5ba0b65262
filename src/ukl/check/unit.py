# SPDX-License-Identifier: GPL-2.0
"""An ELF file to check, perhaps a member of an archive, and what is read from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from ukl.elf.reader import Elf, Relocation, Symbol
from ukl.syscalls import code as machine_code
from ukl.syscalls.disassemble import Code, Sweep, covering, decode, sweep
from ukl.syscalls.instruction import Instruction


@dataclass(frozen=True, slots=True)
class Place:
    """A place: a file, the member if it is an archive, a section or function.

    `offset` is from the start of the function or section; None: the whole.
    """

    file: str
    member: str = ""
    section: str = ""
    function: str = ""
    offset: int | None = None

    def __str__(self) -> str:
        file = f"{self.file}({self.member})" if self.member else self.file
        inner = self.function or self.section
        if inner and self.offset:
            inner += f"+{self.offset:#x}"
        return f"{file}: {inner}" if inner else file


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to a symbol, at `address` in the section with number `section`."""

    symbol: str
    section: int
    address: int
    place: Place


class Unit:
    """An ELF file, and what is read from it, cached."""

    def __init__(self, elf: Elf, file: str, member: str = "") -> None:
        self.elf = elf
        self.file = file
        self.member = member

    @property
    def whole(self) -> Place:
        """The file as a place."""
        return Place(self.file, self.member)

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbol table, nameless entries too."""
        return self.elf.raw_symbols()

    @cached_property
    def names(self) -> frozenset[str]:
        """All names in the symbol table."""
        return frozenset(symbol.name for symbol in self.symbols if symbol.name)

    @cached_property
    def defined(self) -> frozenset[str]:
        """The names that the file defines."""
        return frozenset(s.name for s in self.symbols if s.name and not s.undefined)

    @cached_property
    def relocations(self) -> tuple[Relocation, ...]:
        """The relocations of allocated sections."""
        return tuple(self.elf.relocations())

    @cached_property
    def codes(self) -> dict[int, Code]:
        """Section number -> the machine code in it."""
        return machine_code.codes(self.elf, self.symbols, self.relocations)

    @cached_property
    def sweeps(self) -> dict[int, Sweep]:
        """Section number -> the result of disassembly."""
        return {number: sweep(code) for number, code in self.codes.items()}

    def place(self, section: int, address: int) -> Place:
        """Return the place of an address in a section: with the function, if it is code."""
        header = self.elf.sections[section]
        code = self.codes.get(section)
        function = covering(code.functions, address) if code else None
        if function is not None and function.named:
            offset = address - function.start
            return Place(self.file, self.member, header.name, function.name, offset)
        return Place(self.file, self.member, header.name, "", address - header.address)

    def function(self, section: int, address: int) -> list[Instruction]:
        """Return the instructions of the function around an address of code."""
        code = self.codes.get(section)
        found = covering(code.functions, address) if code else None
        return list(decode(code, found.start, found.end)) if code and found else []

    def references(self, names: Iterable[str]) -> Iterator[Reference]:
        """Yield the references to `names`, by relocation or by direct branch.

        A function's references to itself (recursion) count, too.
        """
        wanted = self.names.intersection(names)
        if not wanted:
            return
        numbers = {n: s.name for n, s in enumerate(self.symbols) if s.name in wanted}
        for item in self.relocations:
            if item.symbol in numbers:
                place = self.place(item.section, item.offset)
                yield Reference(numbers[item.symbol], item.section, item.offset, place)
        targets = {
            (s.section, s.value): s.name
            for s in self.symbols
            if s.name in wanted and not s.undefined
        }
        for section, found in self.sweeps.items():
            for (home, value), name in targets.items():
                if home != section and not self.elf.sections[section].address:
                    continue  # a relocatable file has no addresses across sections
                for address in (*found.branches.get(value, ()), *found.lea.get(value, ())):
                    yield Reference(name, section, address, self.place(section, address))
