# SPDX-License-Identifier: GPL-2.0
"""pydantic models and JSON schemas, made from the table of settings.

An editor with a TOML language server finds the schema by the file's `#:schema` line, and
then completes keys, explains them and marks what is wrong. The schema is more lenient than
`ukl`: what depends on files or on other keys only `ukl` itself finds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from ukl.base.model import AppSpec
from ukl.settings.setting import Form, Parse, Setting

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The version that TOML language servers read."""

PLACE = ".ukl/ukl.schema.json"
"""Where a new project has it, and its `#:schema` line names it."""

_JSON_TYPES = {str: "string", int: "integer", bool: "boolean"}


class Table(BaseModel):
    """A table of one of our files."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def directory_of(info: ValidationInfo) -> Path:
    """Return the directory that paths in the file are relative to."""
    return Path((info.context or {}).get("directory", "."))


def item(parse: Parse | None, accepts: tuple[type, ...] = (str,)) -> Any:
    """Return the type of a value in TOML that `parse` reads; None: it stays a text."""
    if parse is None:
        return str
    known = parse

    def check(value: object, info: ValidationInfo) -> object:
        if type(value) not in accepts:
            raise PydanticCustomError("string_type", "must be a string")
        return known(value, directory_of(info))

    kinds = [_JSON_TYPES[each] for each in accepts]
    schema: Any = {"type": kinds[0] if len(kinds) == 1 else kinds}
    return Annotated[Any, PlainValidator(check), WithJsonSchema(schema)]


def annotation(row: Setting) -> Any:
    """Return the type of a row's key."""
    if row.form is Form.FLAG:
        return bool
    if row.form is Form.NUMBER:
        least, most = row.bounds
        return Annotated[int, Field(ge=least, le=most)]
    if row.form is Form.CHOICE:
        return Annotated[row.choices or str, Field(strict=False)]
    inner = item(row.parse, row.accepts)
    if row.form is Form.LIST:
        return list.__class_getitem__(inner)
    return dict.__class_getitem__((item(row.names), inner)) if row.form is Form.TABLE else inner


def model(
    name: str, rows: Iterable[Setting], more: Mapping[str, Any] | None = None
) -> type[BaseModel]:
    """Return the model of a table that has the keys of `rows`; `more` are further fields."""
    keys: dict[str, Any] = {
        row.word: (
            annotation(row) | None,
            Field(
                None,
                description=described(row),
                examples=[row.example],
                json_schema_extra={"default": initial(row)},
            ),
        )
        for row in rows
    }
    return create_model(name, __base__=Table, **(more or {}), **keys)


def described(row: Setting) -> str:
    """Return what an editor says about a row: plain text. Pure."""
    more = re.sub(r" ?\(\[[^]]*\]\([^)]*\)\)", "", row.more)
    return f"{row.help} {more[:1].upper()}{more[1:]}.".replace("..", ".") if more else row.help


def initial(row: Setting) -> Any:
    """Return what holds where nothing is written, as JSON; None for nothing. Pure."""
    known = {field.name: field.default for field in fields(AppSpec)}
    value = known.get(row.name)
    if value is MISSING or value in (None, (), "") or row.default:
        return None
    return value if isinstance(value, (bool, str)) or row.write is str else row.write(value)


def said(rows: Iterable[Setting], table: BaseModel) -> dict[str, Any]:
    """Return what a checked table sets: name of a row -> value."""
    values = {}
    for row in rows:
        if row.word in table.model_fields_set:
            value = getattr(table, row.word)
            values[row.name] = tuple(value) if isinstance(value, list) else value
    return values


def default(row: Setting) -> str:
    """Return the same for a table of the documentation. Pure."""
    value = initial(row)
    return row.default if value is None else f"`{json.dumps(value)}`"


# --- for editors ------------------------------------------------------------------------


def text(value: Mapping[str, Any]) -> str:
    """Return a schema as a file's content. Pure."""
    return json.dumps(value, indent=1) + "\n"


def schema(model_: type[BaseModel], title: str) -> dict[str, Any]:
    """Return the JSON schema of a file that a model checks. Pure."""
    raw = model_.model_json_schema()

    def plain(value: Mapping[str, Any]) -> dict[str, Any]:
        """Return it without references, titles and nulls, which TOML has not."""
        if reference := value.get("$ref"):
            value = {**raw["$defs"][reference.rpartition("/")[2]], **value}
        choices = [each for each in value.get("anyOf", ()) if each.get("type") != "null"]
        if len(choices) == 1:
            kept = {key: value[key] for key in ("description", "default") if key in value}
            return plain({**choices[0], **kept})
        left_out = {"title", "$ref", "$defs", "properties", "default", "examples", "anyOf"}
        result = {key: each for key, each in value.items() if key not in left_out}
        if choices:
            result["anyOf"] = [plain(each) for each in choices]
        if value.get("default") not in (None, [], {}, "") and value.get("type") != "object":
            result["default"] = value["default"]
        if isinstance(items := value.get("items"), dict):
            result["items"] = plain(items)
        if isinstance(more := value.get("additionalProperties"), dict):
            result["additionalProperties"] = plain(more)
        if "properties" in value:
            result["properties"] = {name: plain(each) for name, each in value["properties"].items()}
        return result

    return {"$schema": DRAFT, "title": title, **plain(raw)}
