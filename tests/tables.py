# SPDX-License-Identifier: GPL-2.0
"""The tables of keys in docs/reference, from the table of settings: `python -m tests.tables`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ukl.settings import compose, manifest, models, recipe
from ukl.settings.setting import Form, Setting
from ukl.settings.table import TABLES

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"

_BLOCK = re.compile(r"(<!-- begin: python -m tests\.tables -->\n).*?(<!-- end -->\n)", re.DOTALL)

BY_HAND: dict[str, type[BaseModel]] = {
    "build": recipe.BuildTable,
    "build.source": recipe.SourceTable,
    "python": recipe.PythonTable,
    "test": recipe.TestTable,
}
ORDER = ("app", "build", "build.source", "python", "test", *list(TABLES)[1:])


def pages() -> dict[Path, str]:
    """Return the pages with their tables as they have to be."""
    return {
        REFERENCE / "ukl-toml.md": _page("ukl-toml.md", _ukl_toml()),
        REFERENCE / "compose-toml.md": _page("compose-toml.md", _compose_toml()),
    }


def _page(name: str, lines: Iterator[str]) -> str:
    table = "".join(f"{line}\n" for line in lines)

    def filled(match: re.Match[str]) -> str:
        return match[1] + table + match[2]

    return _BLOCK.sub(filled, (REFERENCE / name).read_text())


def _ukl_toml() -> Iterator[str]:
    yield "| table | key | value | | default |"
    yield "|---|---|---|---|---|"
    for table in ORDER:
        head = f"`[{table}]`"
        if table in BY_HAND:
            for cells in _by_hand(BY_HAND[table]):
                yield _line(head, *cells)
                head = ""
            continue
        for row in manifest.rows_of(table):
            yield _line(head, f"`{row.word}`", _kind(row), _text(row), models.default(row))
            head = ""


def _compose_toml() -> Iterator[str]:
    yield "| key of a service | value | |"
    yield "|---|---|---|"
    fields = compose.MODEL.model_fields["services"].annotation
    table = next(each for each in fields.__args__[1:] if issubclass(each, BaseModel))  # type: ignore[union-attr]
    for name, field in table.model_fields.items():
        row = next((each for each in compose.ROWS if each.word == name), None)
        kind = _kind(row) if row is not None else ""
        text = _text(row) if row is not None else field.description or ""
        yield _line(f"`{name}`", kind, text)


def _by_hand(table: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    for name, field in table.model_fields.items():
        example = f"`{field.examples[0]}`" if field.examples else ""
        shown: Any = field.default
        known = isinstance(shown, int) and not field.is_required()
        default = f"`{str(shown).lower()}`" if known else ""
        yield f"`{name}`", example, field.description or "", default


def _kind(row: Setting) -> str:
    if row.choices is not None:
        return ", ".join(f'`"{each}"`' for each in row.choices)
    if row.form is Form.NUMBER:
        least, most = row.bounds
        return f"{least} to {most}"
    return row.form.value if row.form is Form.FLAG else f"{row.form.value}, `{row.example}`"


def _text(row: Setting) -> str:
    more = f" {row.more[0].upper()}{row.more[1:]}." if row.more else ""
    option = row.option.names if row.option else ()
    return f"{row.help}{more}" + (f" Option: `{option[0]}`" if option else "")


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    for page, content in pages().items():
        page.write_text(content)
