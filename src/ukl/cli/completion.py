# SPDX-License-Identifier: GPL-2.0
"""`ukl completion`: the function that makes a shell complete our command line."""

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
    """Print what makes a shell complete verbs, options, guests and examples.

    For this shell: eval "$(ukl completion bash)", the same with zsh (after compinit), and
    `ukl completion fish | source`.
    """
    from typer.completion import get_completion_script  # noqa: PLC0415 - not needed otherwise

    typer.echo(get_completion_script(prog_name="ukl", complete_var=VARIABLE, shell=shell))
