# SPDX-License-Identifier: GPL-2.0
"""`ukl run --from FILE`: starts copies of a guest.

What starts a copy takes some tens of milliseconds, and typer, pydantic and the settings of a
program take several times that. So main() asks `parse` first, which knows the few options that a
copy has, and imports nothing else for them. It leaves every other command line to typer: its
`run` has the same options, and says what is wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ukl.base.model import PortForward

FROM = "--from"

_VALUES = {
    FROM: "file",
    "--publish": "ports",
    "-p": "ports",
    "--name": "name",
    "--copies": "copies",
    "-n": "copies",
    "--cache-dir": "cache",
}
_FLAGS = {"--detach": "detach", "-d": "detach", "--json": "json", "--verbose": "verbose"}


@dataclass(slots=True)
class Options:
    """What was asked for; empty words are refused by typer."""

    file: Path = field(default_factory=Path)
    ports: tuple[PortForward, ...] | None = None
    name: str | None = None
    copies: int | None = None
    detach: bool = False
    json: bool = False


@dataclass(slots=True)
class Line:
    """The options, and the global ones."""

    options: Options
    cache: Path | None = None
    verbose: bool = False


def parse(arguments: Sequence[str]) -> Line | None:
    """Return what a command line asks for, if it is one of `ukl run --from`; else None. Pure."""
    if not any(each == FROM or each.startswith(f"{FROM}=") for each in arguments):
        return None
    values: dict[str, list[str]] = {}
    verbs = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            verbs.append(word)
        elif word in _FLAGS:
            values.setdefault(_FLAGS[word], []).append("")
        else:
            name, value = _split(word, words)
            if name not in _VALUES or not value:
                return None
            values.setdefault(_VALUES[name], []).append(value)
    return _line(values) if verbs == ["run"] and "file" in values else None


def _split(word: str, words: Iterator[str]) -> tuple[str, str]:
    if word.startswith("--") and "=" in word:
        name, _, value = word.partition("=")
        return name, value
    if not word.startswith("--") and len(word) > 2:
        return word[:2], word[2:]
    return word, next(words, "")


def _line(values: dict[str, list[str]]) -> Line | None:
    from ukl.settings.values import parse_port  # noqa: PLC0415 - only for a copy

    try:
        ports = tuple(parse_port(each) for each in values["ports"]) if "ports" in values else None
        copies = int(values["copies"][-1]) if "copies" in values else None
    except ValueError:
        return None
    if copies is not None and copies < 1:
        return None
    return Line(
        Options(
            Path(values["file"][-1]),
            ports,
            values.get("name", [None])[-1],
            copies,
            detach="detach" in values,
            json="json" in values,
        ),
        Path(values["cache"][-1]) if "cache" in values else None,
        verbose="verbose" in values,
    )


def main(line: Line) -> int:
    """Start what a command line asks for; return the exit code."""
    from ukl.cli import failures  # noqa: PLC0415
    from ukl.host.store import Store  # noqa: PLC0415

    store = Store.default(line.cache, notify=_note)
    try:
        return start(line.options, store)
    except KeyboardInterrupt:
        return failures.interrupted()
    except Exception as error:  # noqa: BLE001 - all errors are reported here
        return failures.report(error, store.root, verbose=line.verbose)


def start(options: Options, store: object) -> int:
    """Start copies: one in the foreground, or all in the background."""
    from ukl.host.store import Store, jsonable  # noqa: PLC0415
    from ukl.vm import copies  # noqa: PLC0415

    assert isinstance(store, Store)
    wish = copies.Wish(options.file, options.ports, options.name, options.copies or 1)
    if options.detach or options.copies is not None:
        from ukl.vm.registry import shown  # noqa: PLC0415

        records = copies.started(wish, store)
        if options.json:
            print(json.dumps(jsonable([shown(each) for each in records]), indent=2))
        else:
            print("\n".join(each.name for each in records))
        return 0
    return _foreground(wish, store, as_json=options.json)


def _foreground(wish: object, store: object, *, as_json: bool) -> int:
    from ukl.host.store import Store, jsonable  # noqa: PLC0415
    from ukl.vm import copies  # noqa: PLC0415
    from ukl.vm.streams import forgiving, to_descriptor  # noqa: PLC0415

    assert isinstance(store, Store)
    assert isinstance(wish, copies.Wish)
    errors = forgiving(to_descriptor(2))
    output = errors if as_json else to_descriptor(1)
    result = copies.run(wish, store, output, errors)
    from ukl.vm import outcome  # noqa: PLC0415 - for the end only

    if (error := outcome.error_of(result)) is not None:
        raise error
    if death := outcome.death(result):
        _note(f"{result.console.parent.name}: {death}")
    if as_json:
        print(json.dumps(jsonable(result), indent=2))
    return outcome.exit_code(result)


def _note(text: str) -> None:
    sys.stderr.write(f"{text}{os.linesep}")
