# SPDX-License-Identifier: GPL-2.0
"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ukl.base.model import Level, Returns
from ukl.cli import complete

T = TypeVar("T")

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="An example's name, a directory with a ukl.toml, a C file, a Python script, or a "
        "program that ukl-cc linked.",
        show_default=False,
        autocompletion=complete.targets,
    ),
]
KernelSource = Annotated[
    str | None,
    typer.Option(
        "--kernel-source",
        metavar="DIR|VERSION",
        help="A kernel tree or tarball, or a version of kernel.org, the latter two with "
        "#sha256=SUM if needed (default: what the distribution packages).",
    ),
]
Debuggable = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A guest's name (`ukl ps`, `ukl crash`).",
        show_default=False,
        autocompletion=complete.debuggable,
    ),
]

Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Configure the kernel so; `debug`: it checks itself, `dwarf`: it has debug "
        "information, `tiny`: it is small.",
        autocompletion=complete.profiles,
    ),
]
Counts = Annotated[
    Path | None,
    typer.Option(
        "--pgo",
        metavar="FILE",
        help="Compile kernel and application by what was counted in a training run; "
        "`ukl build` makes the file if it is not there.",
    ),
]
LevelOption = Annotated[
    Level | None,
    typer.Option(
        "--level", help="How the application calls the kernel (default: what ukl.toml says)."
    ),
]
Lto = Annotated[
    bool | None,
    typer.Option(
        "--lto/--no-lto", help="Compile the kernel's functions that it imports into it (clang)."
    ),
]
ReturnsOption = Annotated[
    Returns | None,
    typer.Option(
        "--returns",
        help="How interrupts and exceptions return to the application "
        "(default: what ukl.toml says).",
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- ARGS]...",
        help="Arguments of the program, instead of the manifest's.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print what would be made and run, and do nothing of it."),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, metavar="N", help="Compilers at a time (default: cores)."),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="TARGET",
        help="Link a further application into the same kernel (repeatable).",
        autocompletion=complete.targets,
    ),
]
OutputDirectory = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files are written.")
]


def parsed(reader: Callable[[str], T], text: str, option: str) -> T:
    """Return what `reader` makes of an option's text; its ValueError is a usage error."""
    try:
        return reader(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
