# SPDX-License-Identifier: GPL-2.0
"""`ukl new` and `ukl schema`: a project to begin with, and what editors know of its manifest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from ukl.cli.arguments import Json
from ukl.cli.state import print_json, verb


@verb
def new(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="NAME", help="A new directory; the project is called so.", show_default=False
        ),
    ],
    language: Annotated[
        Literal["c", "c++", "go", "python", "rust"],
        typer.Option("--lang", "-l", help="What it is written in."),
    ] = "c",
    as_json: Json = False,
) -> None:
    """Make a project: a small HTTP server, a ukl.toml, and the schema for editors."""
    from ukl import scaffold  # noqa: PLC0415 - not needed for --help

    made = scaffold.create(directory, language)
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
        bool, typer.Option("--compose", help="That of compose.toml instead.")
    ] = False,
) -> None:
    """Print the JSON schema of ukl.toml, which `ukl new` puts beside a project's.

    An editor finds it by a line in the manifest: #:schema ./.ukl/ukl.schema.json
    """
    from ukl.settings import compose as compose_file  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest, models  # noqa: PLC0415

    found = compose_file.schema() if compose else manifest.schema()
    typer.echo(models.text(found), nl=False)
