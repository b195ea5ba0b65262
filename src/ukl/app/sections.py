# SPDX-License-Identifier: GPL-2.0
"""Generates the application-specific parts of the partial link's script.

`app.lds` places the sections that compilers and the C library make. A first link with
empty parts finds the others, which the application named itself; the second link places
them by their flags. link-app.sh does the same with awk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ukl.base.errors import InputError
from ukl.elf.names import CALL, FAST, FAST_NUMBERS, IMPORT, OWN, STUBS, fast_entry
from ukl.elf.reader import (
    SHF_EXECINSTR,
    SHF_TLS,
    SHF_WRITE,
    SHT_NOBITS,
    STB_GNU_UNIQUE,
    STB_WEAK,
    STT_TLS,
    Elf,
    Section,
    Symbol,
)

IMPORTS = frozenset(
    {
        "ukl_syscall",
        "ukl_ehdr_start",
        "__ehdr_start",
        "__rela_iplt_start",
        "__rela_iplt_end",
        "_GLOBAL_OFFSET_TABLE_",
        # ld recognises calls of this name and relaxes them to plain accesses.
        "__tls_get_addr",
        CALL,
        FAST,
        *map(fast_entry, FAST_NUMBERS),
    }
)
"""Symbols that the kernel, or the link of a normal executable, defines for an application."""

PARTS = ("text", "rodata", "tdata", "tbss", "data", "bss", "symbols")
"""app.lds includes own-<part>.lds for each."""

STACK = ".note.GNU-stack"
ITERATE = "dl_iterate_phdr"
_REAL = f"__real_{ITERATE}"
_C_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SECTION_NAME = re.compile(r"[A-Za-z0-9_.$+\-]+\Z")


@dataclass(frozen=True, slots=True)
class OwnSection:
    """A section that the application named itself, and the script part it belongs to."""

    part: str
    name: str
    align: int


def part_of(section: Section) -> str:
    """Return the part of the script for a section with these flags.

    Raises InputError for a section that is both writable and executable: kernel text is
    not writable, and the application's data is not executable.
    """
    if section.flags & SHF_EXECINSTR:
        if section.flags & SHF_WRITE:
            raise InputError(
                f"section `{section.name}` is both writable and executable",
                remedy="put code and data into different sections",
            )
        return "text"
    if section.flags & SHF_TLS:
        return "tbss" if section.kind == SHT_NOBITS else "tdata"
    if section.flags & SHF_WRITE:
        return "bss" if section.kind == SHT_NOBITS else "data"
    return "rodata"


def own_sections(elf: Elf) -> tuple[OwnSection, ...]:
    """Return the allocated sections that are not placed yet, in the order of the file."""
    return tuple(
        OwnSection(part_of(section), section.name, section.align)
        for section in elf.sections
        if section.allocated and not section.name.startswith(".ukl.")
    )


def _output_text(section: OwnSection) -> str:
    if not _SECTION_NAME.match(section.name):
        raise InputError(
            f"section name `{section.name}` is not supported",
            remedy="use letters, digits and `_.$+-` in section names",
        )
    keep = f"KEEP(*({section.name}))\n"
    if _C_NAME.match(section.name):
        # ld makes these symbols only for an output section of that name.
        keep = (
            f"PROVIDE_HIDDEN(__start_{section.name} = .);\n"
            f"{keep}PROVIDE_HIDDEN(__stop_{section.name} = .);\n"
        )
    return f". = ALIGN({section.align});\n{keep}"


def imported(name: str) -> bool:
    """Whether the kernel's link resolves an undefined name."""
    return name in IMPORTS or name.startswith((IMPORT, OWN))


def functions(symbols: Iterable[Symbol]) -> tuple[str, ...]:
    """Return the kernel functions that an application names by IMPORT, sorted."""
    return tuple(
        sorted(
            symbol.name.removeprefix(IMPORT)
            for symbol in symbols
            if symbol.undefined and symbol.name.startswith(IMPORT)
        )
    )


def null_names(symbols: Iterable[Symbol]) -> tuple[str, ...]:
    """Return the undefined weak names, which become 0 in the object.

    If left undefined, they would bind to a kernel symbol of the same name. A thread-local
    name cannot be an absolute symbol, and the kernel has none.
    """
    return tuple(
        symbol.name
        for symbol in symbols
        if symbol.undefined
        and symbol.binding == STB_WEAK
        and symbol.kind != STT_TLS
        and not imported(symbol.name)
    )


def uses_headers(elf: Elf) -> bool:
    """Whether the program looks at its program headers, which crt.S completes."""
    return any(symbol.name == ITERATE and not symbol.undefined for symbol in elf.symbols)


def unused_names(elf: Elf) -> tuple[str, ...]:
    """Return the undefined names that no relocation of code or data uses: they become 0, too.

    ld does not ask for a definition of these, and gcrt1.o (-pg) has some.
    """
    missing = set(missing_names(elf.symbols))
    if not missing:
        return ()
    table = elf.raw_symbols()
    used = {table[item.symbol].name for item in elf.relocations()}
    return tuple(
        symbol.name
        for symbol in table
        if symbol.undefined and symbol.name in missing - used and symbol.kind != STT_TLS
    )


def unique_names(symbols: Iterable[Symbol]) -> tuple[str, ...]:
    """Return the names that C++ makes unique in the whole process (STB_GNU_UNIQUE)."""
    return tuple(symbol.name for symbol in symbols if symbol.binding == STB_GNU_UNIQUE)


def missing_names(symbols: Iterable[Symbol]) -> tuple[str, ...]:
    """Return the undefined names that must be defined, sorted."""
    undefined = (symbol for symbol in symbols if symbol.undefined and symbol.binding != STB_WEAK)
    return tuple(sorted(symbol.name for symbol in undefined if not imported(symbol.name)))


def needs_executable_stack(elf: Elf) -> bool:
    """Whether an object was compiled for an executable stack (pointers to nested functions)."""
    note = elf.section(STACK)
    return note is not None and bool(note.flags & SHF_EXECINSTR)


def parts(elf: Elf | None) -> dict[str, str]:
    """Return file name -> text of the generated parts.

    Those of the first pass (None) only keep the note about the stack, which app.lds discards;
    the second pass keeps a note that asks for an executable one.
    """
    texts = dict.fromkeys(PARTS, "")
    if elf is None or needs_executable_stack(elf):
        texts["symbols"] += f"{STACK} 0 : {{ *({STACK}) }}\n"
    if elf is not None:
        for section in own_sections(elf):
            texts[section.part] += _output_text(section)
        texts["text"] += f"{STUBS} = .;\n"
        wrapped = {_REAL} if uses_headers(elf) else set()
        for name in sorted({*null_names(elf.symbols), *unused_names(elf)} - wrapped):
            texts["symbols"] += f'HIDDEN("{name}" = ABSOLUTE(0));\n'
    return {f"own-{part}.lds": text for part, text in texts.items()}
