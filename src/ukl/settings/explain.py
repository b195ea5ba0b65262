# SPDX-License-Identifier: GPL-2.0
"""Errors in `ukl.toml` and `compose.toml`: file, line, key, and what to write instead."""

from __future__ import annotations

import difflib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ukl.base.errors import InputError

_KINDS = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "a string",
}


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a TOML file's text and content. InputError if it is not valid TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(
            f"the file is not UTF-8 text (byte {error.start})",
            where=path,
            remedy="save it as UTF-8",
        ) from error
    except tomllib.TOMLDecodeError as error:
        reason, line = _syntax(str(error), text)
        raise InputError(
            f"not valid TOML: {reason}",
            where=f"{path}:{line}" if line else path,
            remedy="correct that line; https://toml.io describes the format",
        ) from error


def _syntax(message: str, text: str) -> tuple[str, int | None]:
    """Split tomllib's message into reason and line."""
    if match := re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", message, re.DOTALL):
        return match[1], int(match[2])
    if message.endswith("(at end of document)"):
        return message, len(text.splitlines())
    return message, None


def renamed(path: Path, text: str, data: Any, old: str, new: str) -> None:
    """Rename a key in `data`, with a notice on stderr. `old` and `new` are dotted keys."""
    *tables, key = old.split(".")
    table = data
    for name in tables:
        table = table.get(name) if isinstance(table, dict) else None
    word = new.rpartition(".")[2]
    if isinstance(table, dict) and key in table and word not in table:
        line = find_line(text, [*tables, key])
        place = f"{path}:{line}" if line else str(path)
        sys.stderr.write(f"ukl: {place}: `{key}` is now called `{word}`\n")
        table[word] = table.pop(key)


def explained(
    path: Path, text: str, error: ValidationError, model: type[BaseModel], document: str
) -> InputError:
    """Turn the first of pydantic's errors into one that names the place and a remedy.

    `model` has checked the file, `document` describes it. The remedies are the examples of
    the model's fields.
    """
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"] if isinstance(part, str) and part != "[key]"]
    keys = [key for key in keys if not _of_a_union(key)]
    line = find_line(text, keys)
    where = f"{path}:{line}" if line else str(path)
    table = f" in [{'.'.join(keys[:-1])}]" if keys[1:] else ""
    key = keys[-1] if keys else "?"
    if first["type"] == "extra_forbidden":
        inner = _inner(model, keys[:-1])
        known = list(inner.model_fields) if inner is not None else []
        near = difflib.get_close_matches(key, known, 1, 0.5)
        what = "key" if table else "table"
        return InputError(
            f"unknown {what} `{key}`{table}" + (f"; did you mean `{near[0]}`?" if near else ""),
            where=where,
            remedy=f"known here: {', '.join(known)}",
        )
    if first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
    else:
        kind = _KINDS.get(first["type"])
        must = f"must be {kind}" if kind else f"{first['msg'][0].lower()}{first['msg'][1:]}"
        reason = f"{must}, not {first['input']!r}"
    remedy = _remedy(model, keys) or f"see docs/reference/{document}"
    needs_table = first["type"] == "too_short" and isinstance(first["input"], dict)
    if first["type"] == "model_type" or needs_table:
        remedy = f"write a table: [{'.'.join(keys)}], and its keys below"
    return InputError(f"`{key}`{table}: {reason}", where=where, remedy=remedy)


def _of_a_union(key: str) -> bool:
    """Tell whether pydantic added the key to a path to name the member of a union it tried."""
    return "[" in key or key in {"bool", "str"} or key.startswith("constrained-")


def _inner(model: type[BaseModel], tables: list[str]) -> type[BaseModel] | None:
    """Return the model of a table. User-defined table names (`[services.NAME]`) are skipped."""
    names = iter(tables)
    for name in names:
        field = model.model_fields.get(name)
        if field is None:
            return None
        found = [field.annotation, *get_args(field.annotation)]
        inner = [each for each in found if isinstance(each, type) and issubclass(each, BaseModel)]
        if not inner:
            return None
        if get_origin(field.annotation) is dict:
            next(names, None)
        model = inner[0]
    return model


def _remedy(model: type[BaseModel], keys: list[str]) -> str:
    """Return the remedy for the deepest key that has an example; empty if none has."""
    for size in range(len(keys), 0, -1):
        inner = _inner(model, keys[: size - 1])
        field = inner.model_fields.get(keys[size - 1]) if inner is not None else None
        if field is not None and field.examples:
            return f"write it like {keys[size - 1]} = {field.examples[0]}"
    return ""


_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
"""A part of a TOML key: basic string, literal string, or bare key."""


def _parts(key: str) -> list[str]:
    """Return the parts of a dotted key; escapes in them are not decoded."""
    return [part.strip("\"'") for part in re.findall(_PART, key)]


def find_line(text: str, keys: list[str]) -> int | None:
    """Return the line (from 1) where the TOML `text` sets the key path `keys`, if found.

    tomllib does not report lines. This looks for the `[table]` header, then for the
    assignment, and returns the line of the deepest part of the path that it finds.
    """
    found: int | None = None
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
            table = _parts(header[1])
            if table == keys[: len(table)] and (found is None or len(table) == len(keys)):
                found = number
            continue
        if assignment := re.match(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=", line):
            full = [*table, *_parts(assignment[1])]
            if full == keys[: len(full)]:
                return number
    return found
