# SPDX-License-Identifier: GPL-2.0
"""pydantic models and JSON schemas, generated from the table of settings.

An editor with a TOML language server reads the schema that the file's `#:schema` line names:
it completes and explains keys, and marks errors. Only `ukl` finds errors that depend on files
or on other keys.
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
"""The version of JSON schema that TOML language servers read."""

SCHEMA_FILE = ".ukl/ukl.schema.json"
"""Path of the schema in a new project; the `#:schema` line names it."""

_JSON_TYPES = {str: "string", int: "integer", bool: "boolean"}


class Table(BaseModel):
    """A table of `ukl.toml` or `compose.toml`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def directory_of(info: ValidationInfo) -> Path:
    """Return the directory that paths in the file are relative to."""
    return Path((info.context or {}).get("directory", "."))


def item(parse: Parse | None, accepts: tuple[type, ...] = (str,)) -> Any:
    """Return the type of a TOML value that `parse` reads; with None the type is str."""
    if parse is None:
        return str
    reader = parse

    def check(value: object, info: ValidationInfo) -> object:
        if type(value) not in accepts:
            raise PydanticCustomError("string_type", "must be a string")
        return reader(value, directory_of(info))

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
    """Return the model of a table with the keys of `rows`; `more` are further fields."""
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
    """Return the description of a row that an editor shows: plain text. Pure."""
    more = re.sub(r" ?\(\[[^]]*\]\([^)]*\)\)", "", row.more)
    return f"{row.help} {more[:1].upper()}{more[1:]}." if more else row.help


def initial(row: Setting) -> Any:
    """Return the default value of a row, as JSON; None if it has none. Pure."""
    known = {field.name: field.default for field in fields(AppSpec)}
    value = known.get(row.name)
    if value is MISSING or value in (None, (), "") or row.default:
        return None
    return value if isinstance(value, (bool, str)) or row.write is str else row.write(value)


def assigned(rows: Iterable[Setting], table: BaseModel) -> dict[str, Any]:
    """Return the settings that a checked table assigns: name of a row -> value."""
    values = {}
    for row in rows:
        if row.word in table.model_fields_set:
            value = getattr(table, row.word)
            values[row.name] = tuple(value) if isinstance(value, list) else value
    return values


def default(row: Setting) -> str:
    """Return the default value as text for the documentation. Pure."""
    value = initial(row)
    return row.default if value is None else f"`{json.dumps(value)}`"


# --- for editors ------------------------------------------------------------------------


def text(value: Mapping[str, Any]) -> str:
    """Return a schema as a file's content. Pure."""
    return json.dumps(value, indent=1) + "\n"


def schema(checker: type[BaseModel], title: str) -> dict[str, Any]:
    """Return the JSON schema of a file that the model `checker` checks. Pure."""
    raw = checker.model_json_schema()

    def plain(value: Mapping[str, Any]) -> dict[str, Any]:
        """Return `value` without references and titles, and without null, which TOML lacks."""
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
