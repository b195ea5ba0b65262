# SPDX-License-Identifier: GPL-2.0
"""Options that several verbs share and that are not settings of a guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ukl.cli import complete

T = TypeVar("T")


def filled(text: str) -> Path:
    """Return the path of an option or argument; `Path("")` would be the current directory."""
    if not text:
        raise typer.BadParameter("it is empty")
    return Path(text)


def target_argument(more: str) -> Any:
    """Return the argument that names what to run; `more` ends the list of what that can be."""
    return typer.Argument(
        metavar="TARGET",
        help=f"An example's name, a directory with a ukl.toml, a C file, a Python script, {more}",
        show_default=False,
        autocompletion=complete.targets,
    )


Target = Annotated[str, target_argument("or a program.")]
RunTarget = Annotated[
    str,
    target_argument(
        "a program, or a container image: oci:DIR[:TAG], docker-archive:FILE, docker://NAME."
    ),
]
Rootfs = Annotated[
    str | None,
    typer.Option(
        "--rootfs",
        metavar="DIR|TAR",
        help="A root file system for the guest; TARGET is then a program in it.",
    ),
]
KernelSource = Annotated[
    str | None,
    typer.Option(
        "--kernel-source",
        metavar="DIR|VERSION",
        help="A kernel tree, a tarball or a version on kernel.org; the latter two with "
        "#sha256=SUM if needed (default: the distribution's package).",
    ),
]
Series = Annotated[
    str,
    typer.Option(
        "--kernel",
        metavar="SERIES",
        help="The kernel, by the name of its patch series, such as 7.3 "
        "(default: what the distribution has).",
        show_default=False,
        autocompletion=complete.series,
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
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the commands without running them.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, metavar="N", help="Number of parallel compilers (default: cores)."
    ),
]
OutputDirectory = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", parser=filled, help="Directory for the files."),
]


def parsed(reader: Callable[[str], T], text: str, option: str) -> T:
    """Return `reader(text)` for an option; its ValueError becomes a usage error."""
    try:
        return reader(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
