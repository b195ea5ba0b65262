# SPDX-License-Identifier: GPL-2.0
"""`ukl completion`: prints a shell's completion function for `ukl`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ukl.cli.complete import VARIABLE
from ukl.cli.state import verb


@verb
def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(help="The shell.", show_default=False)
    ],
) -> None:
    """Print a completion function for verbs, options, guests and examples.

    To use it: eval "$(ukl completion bash)"; the same with zsh, after compinit; for fish
    `ukl completion fish | source`.
    """
    from typer.completion import get_completion_script  # noqa: PLC0415

    typer.echo(get_completion_script(prog_name="ukl", complete_var=VARIABLE, shell=shell))
