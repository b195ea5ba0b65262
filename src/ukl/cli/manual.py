# SPDX-License-Identifier: GPL-2.0
"""Generates manual pages of section 1, one per verb, from the parser: man(7) source.

Libraries for this need click itself; typer contains a copy of it.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ukl import __version__
from ukl.base.errors import ExitCode, MissingError
from ukl.host import process, programs

SECTION = "1"

ENVIRONMENT = (
    ("UKL_CACHE_DIR", "Directory of the cache: kernels, objects, images and guests."),
    ("UKL_KERNEL", "Default of --kernel."),
    ("UKL_KERNEL_SOURCE", "Default of --kernel-source."),
    ("UKL_VENV", "The Python environment of ./ukl."),
    ("UKL_PYTHON", "The Python interpreter that creates it."),
    ("UKL_NO_INSTALL", "If not empty: do not install packages, only name what is missing."),
    ("NO_COLOR", "If not empty: no colours, not even on a terminal."),
)

EXITS = {
    ExitCode.OK: "Success.",
    ExitCode.FAILED: "The operation failed.",
    ExitCode.USAGE: "The command line is wrong.",
    ExitCode.MISSING: "The host lacks something; the message says how to install it.",
    ExitCode.BAD_INPUT: "An input is invalid: the manifest, a source, a name.",
    ExitCode.TIMEOUT: "The timeout was exceeded.",
    ExitCode.VM_LOST: "The virtual machine was lost.",
    ExitCode.INTERRUPTED: "Ctrl-C.",
}

_VIEWERS = ("LESS", "MANPAGER", "MANWIDTH", "PAGER", "TERM")
"""Variables of the caller's environment that are passed to man(1)."""


def pages(root: Any) -> dict[str, str]:
    """Return name -> source of all pages: `ukl` (for command `root`) and `ukl-VERB`. Pure."""
    return dict(_pages(root, "ukl", None))


def _pages(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    context = typer.Context(
        command, info_name=name.rpartition("-")[2], parent=parent, **command.context_settings
    )
    yield name, page(command, name, context)
    for word, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _pages(inner, f"{name}-{word}", context)


def page(command: Any, name: str, context: Any) -> str:
    """Return the source of one verb's page. Pure."""
    words = name.replace("-", " ")
    first, *rest = _paragraphs(command.help)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{_plain(name.upper())}" "{SECTION}" "" "ukl {__version__}" "Unikernel Linux"',
        ".SH NAME",
        f"{_plain(name)} \\- {_plain(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_plain(words)}\\fR {_plain(usage)}",
        ".SH DESCRIPTION",
        _line(first),
    ]
    for paragraph in rest:
        lines += [".PP", _line(paragraph)]
    shown = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    arguments = [
        (each.metavar or str(each.name).upper(), each.help or "")
        for each in shown
        if each.param_type_name == "argument"
    ]
    options = [record for each in shown if (record := each.get_help_record(context))]
    options = [record for record in options if record[0].startswith("-")]
    verbs = [
        (f"{name}-{word}(1)", _paragraphs(inner.help)[0])
        for word, inner in getattr(command, "commands", {}).items()
        if not inner.hidden
    ]
    for title, rows in (("ARGUMENTS", arguments), ("OPTIONS", options), ("VERBS", verbs)):
        lines += _table(title, rows)
    if name == "ukl":
        lines += _table("EXIT STATUS", [(str(int(code)), text) for code, text in EXITS.items()])
        lines += _table("ENVIRONMENT", list(ENVIRONMENT))
    else:
        above = name.rpartition("-")[0]
        lines += [".SH SEE ALSO", f"\\fB{_plain(above)}\\fR({SECTION})"]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str | None) -> list[str]:
    parts = re.split(r"\n\s*\n", inspect.cleandoc(text or "").replace("\b\n", ""))
    return [" ".join(part.split()) for part in parts]


def _table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    lines = [f".SH {title}"] if rows else []
    for head, text in rows:
        lines += [".TP", f"\\fB{_plain(head)}\\fR", _line(text)]
    return lines


def _line(text: str) -> str:
    """Return text escaped so that roff does not read it as a request. Pure."""
    plain = _plain(text)
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def _plain(text: str) -> str:
    """Return text with roff's special characters escaped: man-pages(7), groff_char(7)."""
    special = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
    special |= {'"': "\\(dq", "…": "..."}
    return "".join(special.get(char, char) for char in text)


def write(root: Any, directory: Path) -> list[Path]:
    """Write all pages of command `root` into `directory`/man1 and return the files."""
    section = directory / f"man{SECTION}"
    section.mkdir(parents=True, exist_ok=True)
    files = []
    for name, source in pages(root).items():
        file = section / f"{name}.{SECTION}"
        file.write_text(source, encoding="utf-8")
        files.append(file)
    return files


def show(source: str) -> int:
    """Show a page with man(1), or print its source; return the exit status of man."""
    try:
        viewer = programs.find("man") if sys.stdout.isatty() else None
    except MissingError:
        viewer = None
    if viewer is None:
        sys.stdout.write(source)
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=f".{SECTION}", encoding="utf-8") as file:
        file.write(source)
        file.flush()
        known = {key: os.environ[key] for key in _VIEWERS if key in os.environ}
        return process.in_foreground([viewer, "-l", file.name], env=known)
