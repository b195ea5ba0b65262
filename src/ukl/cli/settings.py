# SPDX-License-Identifier: GPL-2.0
"""Adds the options of settings/table.py to verbs.

A verb declares one parameter, `overrides`, which is replaced by one parameter per row for typer.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ukl.cli import compiling, complete
from ukl.cli.state import STATE
from ukl.settings import table
from ukl.settings.setting import Form, Setting, Verb

CONTEXT = "ctx"
"""The parameter for typer's context."""

ARGUMENT = "overrides"
"""The parameter of a verb that receives its settings."""


def takes(verb: Verb) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Return a decorator that adds an option for each row of the table that names the verb."""
    rows = [row for row in table.ROWS.values() if row.option and verb in row.option.verbs]

    def decorated(function: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(function)
        def wrapped(**given: Any) -> int | None:
            overrides: dict[str, Any] = dict(compiling.cc_settings(given.pop(CONTEXT)))
            for row in rows:
                value = given.pop(row.name)
                for name, old in _old(row):
                    if (older := given.pop(name)) is not None:
                        STATE.progress.line(f"{old} is now called {_long(row)}")
                        value = older if value is None else value
                if value is not None and value != []:
                    overrides[row.name] = _read(row, value)
            return function(**given, **{ARGUMENT: overrides})

        declared = inspect.signature(function, eval_str=True).parameters.values()
        parameters = [each for each in declared if _is_argument(each)]
        parameters.append(
            inspect.Parameter(CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        )
        for row in rows:
            parameters.append(_parameter(row, row.name, _option(row)))
            for name, old in _old(row):
                parameters.append(_parameter(row, name, _option(row, old)))
        parameters += [
            each for each in declared if each.name != ARGUMENT and each not in parameters
        ]
        keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        setattr(wrapped, "__signature__", inspect.Signature(keywords))  # noqa: B010 - mypy
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        del wrapped.__wrapped__
        return wrapped

    return decorated


def _is_argument(parameter: inspect.Parameter) -> bool:
    found = getattr(parameter.annotation, "__metadata__", ())
    return any(isinstance(each, typer.models.ArgumentInfo) for each in found)


def _long(row: Setting) -> str:
    assert row.option is not None
    return row.option.names[0]


def _old(row: Setting) -> Iterator[tuple[str, str]]:
    """Yield the parameter names and option names for a row's former names."""
    assert row.option is not None
    for old in row.option.old:
        yield f"old_{old.strip('-').replace('-', '_')}", old


_TYPES: Mapping[Form, Any] = {
    Form.TEXT: str,
    Form.NUMBER: int,
    Form.FLAG: bool,
    Form.LIST: list[str],
    Form.TABLE: list[str],
}


def _parameter(row: Setting, name: str, info: object) -> inspect.Parameter:
    kind = row.choices if row.form is Form.CHOICE else _TYPES[row.form]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, info],  # type: ignore[operator]
    )


def _option(row: Setting, old: str = "") -> object:
    """Return typer's description of a row's option, or of the arguments after the target.

    `old` is a former name of the option.
    """
    option = row.option
    assert option is not None
    text = option.help or row.help
    completion = getattr(complete, option.complete) if option.complete else None
    if not option.names:
        return typer.Argument(metavar=option.metavar, help=text, show_default=False)
    least, most = row.bounds
    names = [old] if old else list(option.names)
    if row.form is Form.FLAG:
        names[0] = f"{names[0]}/{names[0].replace('--', '--no-', 1)}"
    return typer.Option(
        *names,
        metavar=option.metavar or None,
        help=text,
        min=least,
        max=most,
        autocompletion=completion,
        hidden=bool(old),
    )


def _read(row: Setting, value: Any) -> Any:
    """Return the setting's value for typer's value; BadParameter if it is invalid."""
    assert row.option is not None
    if row.form in {Form.FLAG, Form.NUMBER, Form.CHOICE}:
        return value
    try:
        if row.form is Form.TEXT:
            return _one(row, value)
        found = [_one(row, each) for each in value]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=_long(row)) from None
    return dict(found) if row.form is Form.TABLE else tuple(found)


def _one(row: Setting, text: str) -> Any:
    assert row.option is not None
    if row.option.parse is not None:
        return row.option.parse(text)
    return text if row.parse is None else row.parse(text, Path.cwd())
