# SPDX-License-Identifier: GPL-2.0
"""`ukl new` and `ukl schema`: a new project, and the schema of its manifest for editors."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from ukl.base.errors import UsageError
from ukl.cli.arguments import Json, filled
from ukl.cli.state import print_json, verb


@verb
def new(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="NAME",
            parser=filled,
            help="A new directory; its name is the project's.",
            show_default=False,
        ),
    ],
    language: Annotated[
        Literal["c", "c++", "go", "python", "rust"],
        typer.Option("--lang", "-l", help="Programming language."),
    ] = "c",
    kernel_side: Annotated[
        bool,
        typer.Option("--kernel-side", help="A program in C with kernel code of its own."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create a project: a small HTTP server, a ukl.toml, and the schema for editors."""
    from ukl import scaffold  # noqa: PLC0415 - not needed for --help

    if kernel_side and language != "c":
        raise UsageError("--kernel-side makes a program in C: leave --lang out")
    made = scaffold.create(directory, scaffold.KERNEL_SIDE if kernel_side else language)
    if as_json:
        print_json({"directory": directory, "language": language, "files": made})
        return
    for path in made:
        typer.echo(str(path))
    # A word without a slash might name an example.
    shown = str(directory) if "/" in str(directory) else f"./{directory}"
    typer.echo(f"run it: ukl run {shlex.quote(shown)}", err=True)


@verb
def schema(
    compose: Annotated[
        bool, typer.Option("--compose", help="Print the schema of compose.toml instead.")
    ] = False,
) -> None:
    """Print the JSON schema of ukl.toml; `ukl new` adds it to a project.

    A line in the manifest tells editors where it is: #:schema ./.ukl/ukl.schema.json
    """
    from ukl.settings import compose as compose_file  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest, models  # noqa: PLC0415

    found = compose_file.schema() if compose else manifest.schema()
    typer.echo(models.text(found), nl=False)
