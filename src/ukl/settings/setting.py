# SPDX-License-Identifier: GPL-2.0
"""What a row of the table of settings consists of; the rows are in table.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any


class Form(Enum):
    """What a value looks like in TOML."""

    TEXT = "string"
    NUMBER = "number"
    FLAG = "true or false"
    CHOICE = "one of"
    LIST = "list"
    TABLE = "table"


class Verb(StrEnum):
    """The verbs that make or boot a guest."""

    RUN = "run"
    BUILD = "build"
    PACKAGE = "package"
    COMPARE = "compare"
    TRIM = "trim"
    BENCH = "bench"
    KERNEL = "kernel"


MAKES = frozenset({Verb.RUN, Verb.BUILD, Verb.PACKAGE, Verb.COMPARE, Verb.TRIM})
"""Verbs that make a guest of one application. `bench` makes several, which differ in some rows."""

EVERY = MAKES | {Verb.BENCH}

KERNELS = EVERY | {Verb.KERNEL}

Parse = Callable[[Any, Path], Any]
"""Reads a value; paths in it are relative to the directory. ValueError says what is wrong."""


@dataclass(frozen=True, slots=True)
class Option:
    """The option that a row is on the command line; no names: the words behind the target.

    `parse` reads it where that differs from the file: a file that is to be made need not be
    there. `old` are names it once had: they work, with a notice. `complete` is a function of
    cli/complete.py.
    """

    names: tuple[str, ...]
    verbs: frozenset[Verb] = EVERY
    metavar: str = ""
    help: str = ""
    parse: Callable[[str], Any] | None = None
    old: tuple[str, ...] = ()
    complete: str = ""


def take(before: object, said: object) -> object:
    """Return what was said last."""
    return said


def longer(before: tuple[Any, ...], said: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the list of the file, and behind it what was said."""
    return (*before, *said)


def united(before: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return both tables; of the same name, what was said."""
    return {**before, **said}


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `name` is the field's, `key` the one of `ukl.toml` with its table before it.

    `help` is one sentence; `more` is what the documentation says besides. `example` is a value
    in TOML, for the remedy of an error. `parse` reads a text (of a list or table: each), `names`
    the keys of a table. A number is at least and at most what `bounds` say. `merge` gives the
    value from the file's and the command line's. In `compose.toml` the key has the same last word.
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
    merge: Callable[[Any, Any], Any] = take
    option: Option | None = None
    compose: bool = False
    default: str = ""
    """What the documentation says where nothing is written, if it is not the field's default."""

    @property
    def word(self) -> str:
        """The key without its table."""
        return self.key.rpartition(".")[2]

    @property
    def remedy(self) -> str:
        """What to write instead of a wrong value."""
        return f"write it like {self.word} = {self.example}"


def text(parse: Callable[[str], Any]) -> Parse:
    """Return a reader that looks at no directory; a number is taken for its digits."""

    def read(value: Any, directory: Path) -> Any:
        return parse(str(value))

    return read
