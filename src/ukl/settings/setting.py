# SPDX-License-Identifier: GPL-2.0
"""The classes of a row in the table of settings; the rows are in table.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any


class Form(Enum):
    """The form of a value in TOML."""

    TEXT = "string"
    NUMBER = "number"
    FLAG = "true or false"
    CHOICE = "one of"
    LIST = "list"
    TABLE = "table"


class Verb(StrEnum):
    """The verbs that build or boot a guest."""

    RUN = "run"
    BUILD = "build"
    PACKAGE = "package"
    COMPARE = "compare"
    TRIM = "trim"
    BENCH = "bench"
    KERNEL = "kernel"


MAKES = frozenset({Verb.RUN, Verb.BUILD, Verb.PACKAGE, Verb.COMPARE, Verb.TRIM})
"""Verbs that build one guest. `bench` builds several, which differ in some settings."""

EVERY = MAKES | {Verb.BENCH}

KERNELS = EVERY | {Verb.KERNEL}

TEXT_OR_NUMBER = (str, int)

Parse = Callable[[Any, Path], Any]
"""Parses a value, with paths relative to the directory. Raises ValueError."""


@dataclass(frozen=True, slots=True)
class Option:
    """The command-line option of a row; without names, the arguments after the target.

    `parse` replaces the row's `parse` where the command line differs from the file. `old` lists
    former names, which still work, with a notice. `complete` is a function of cli/complete.py.
    """

    names: tuple[str, ...]
    verbs: frozenset[Verb] = EVERY
    metavar: str = ""
    help: str = ""
    parse: Callable[[str], Any] | None = None
    old: tuple[str, ...] = ()
    complete: str = ""


def replaced(before: object, override: object) -> object:
    """Return the override."""
    return override


def concatenated(before: tuple[Any, ...], override: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the file's list, followed by the override."""
    return (*before, *override)


def updated(before: Mapping[str, Any], override: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the union of both tables; the override has precedence."""
    return {**before, **override}


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `name` is the field (of AppSpec, if it has it), `key` the dotted key in `ukl.toml`.

    `help` is one sentence; `more` is added in the documentation. `example` is a TOML value, for
    the remedy of an error. `parse` parses a value, or each value of a list or table; `names`
    parses the keys of a table. `bounds` are the minimum and maximum of a number. `merge` combines
    the file's value and an override. In `compose.toml` the key is the last word of `key`.
    """

    name: str
    key: str
    form: Form
    help: str
    example: str
    more: str = ""
    parse: Parse | None = None
    names: Parse | None = None
    accepts: tuple[type, ...] = (str,)
    choices: type[StrEnum] | None = None
    bounds: tuple[int | None, int | None] = (None, None)
    write: Callable[[Any], str] = str
    merge: Callable[[Any, Any], Any] = replaced
    option: Option | None = None
    compose: bool = False
    default: str = ""
    """The default value in the documentation, if it is not the field's default."""

    @property
    def word(self) -> str:
        """The key without its table."""
        return self.key.rpartition(".")[2]

    @property
    def remedy(self) -> str:
        """The remedy for a wrong value."""
        return f"write it like {self.word} = {self.example}"


def text(parse: Callable[[str], Any]) -> Parse:
    """Return a Parse for a parser of text that does not depend on the directory."""

    def read(value: Any, directory: Path) -> Any:
        return parse(str(value))

    return read
