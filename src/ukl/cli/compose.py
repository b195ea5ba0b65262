# SPDX-License-Identifier: GPL-2.0
"""`ukl compose`: several guests that one file describes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ukl.cli.arguments import DryRun, Jobs, Json, KernelSource, Series
from ukl.cli.guests import registry, table
from ukl.cli.state import STATE, print_json, print_steps, verb

if TYPE_CHECKING:
    from ukl.compose.life import Follower, UpOptions
    from ukl.flow.context import Context
    from ukl.settings.project import Project

app = typer.Typer(
    help="Several guests that one file describes: compose.toml.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Services = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SERVICE]...", help="Services of the file (default: all).", show_default=False
    ),
]


@dataclass(slots=True)
class _Chosen:
    """The options that precede the verb."""

    file: str | None = None


_CHOSEN = _Chosen()


@app.callback()
def options(
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE|DIR|EXAMPLE",
            help="The file, its directory, or an example (default: compose.toml here).",
        ),
    ] = None,
) -> None:
    """Several guests that one file describes: compose.toml."""
    _CHOSEN.file = file


def _project() -> Project:
    from ukl.settings import compose as compose_file  # noqa: PLC0415 - not needed for --help

    return compose_file.load(compose_file.find(_CHOSEN.file))


@app.command()
@verb
def up(
    services: Services = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave them running in the background.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="With -d: return when all services are ready.")
    ] = False,
    exit_code_from: Annotated[
        str | None,
        typer.Option(
            "--exit-code-from",
            metavar="SERVICE",
            help="Stop all services when this one ends, and exit with its status.",
        ),
    ] = None,
    series: Series = "",
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Build and start the services, each after its dependencies.

    A service that already runs is restarted only if its settings have changed. In the
    foreground, the consoles are shown until all services have ended; Ctrl-C stops them.
    """
    from ukl.compose import life  # noqa: PLC0415
    from ukl.vm.registry import shown  # noqa: PLC0415

    project = _project()
    awaited = [exit_code_from] if exit_code_from and services else []
    chosen = project.chosen([*(services or []), *awaited])
    if (detach or as_json) and exit_code_from is not None:
        raise typer.BadParameter("only in the foreground", param_hint="--exit-code-from")
    options = life.UpOptions(verbose=STATE.verbose, wait=wait)
    context = STATE.context(kernel_source, jobs, series)
    if dry_run:
        return print_steps(life.planned(project, chosen, options, context), as_json=as_json)
    if detach or as_json:
        records = life.up(project, chosen, options, context)
        if as_json:
            print_json([shown(record) for record in records])
        else:
            for record in records:
                typer.echo(record.name)
        return 0
    names = [each.name for each in chosen]
    return _foreground(project, names, options, context, exit_code_from)


def _foreground(
    project: Project,
    names: list[str],
    options: UpOptions,
    context: Context,
    exit_code_from: str | None,
) -> int:
    from ukl.compose import life  # noqa: PLC0415

    guests = registry()
    chosen = project.chosen(names)
    try:
        life.up(project, chosen, options, context)
        until = next((each.guest for each in chosen if each.name == exit_code_from), None)
        _follower(project).follow([each.guest for each in chosen], until)
        code = guests.get(until).end.exit_code if until else 0
        return 1 if code is None else code
    finally:
        life.down(guests, project)


def _follower(project: Project) -> Follower:
    from ukl.compose import life  # noqa: PLC0415

    width = max(len(service.name) for service in project.services)

    def write(service: str, line: bytes) -> None:
        sys.stdout.buffer.write(f"{service:<{width}} | ".encode() + line + b"\n")
        sys.stdout.buffer.flush()

    return life.Follower(registry(), write)


@app.command()
@verb
def down(
    seconds: Annotated[
        float | None,
        typer.Option(
            "--time", "-t", min=0, metavar="SECONDS", help="Time between SIGTERM and SIGKILL."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Stop and remove the project's guests. Their volumes and disks stay."""
    from ukl.compose import life  # noqa: PLC0415

    names = life.down(registry(), _project(), seconds)
    if as_json:
        print_json({"removed": names})
        return 0
    for name in names:
        typer.echo(name)
    return 0


@app.command()
@verb
def ps(as_json: Json = False) -> int:
    """List the project's guests, including those that have ended."""
    from ukl.compose import life  # noqa: PLC0415
    from ukl.vm.registry import shown  # noqa: PLC0415

    records = life.members(registry(), _project())
    if as_json:
        print_json([shown(record) for record in records])
    else:
        table(records)
    return 0


@app.command()
@verb
def logs(
    services: Services = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue until the guests have ended.")
    ] = False,
) -> int:
    """Print the consoles of the guests. Each line begins with the name of its service."""
    from ukl.compose import life  # noqa: PLC0415

    project = _project()
    records = life.only(project, registry(), services or [])
    follower = _follower(project)
    if follow:
        follower.follow([record.name for record in records])
    else:
        follower.look(records, last=True)
    return 0


@app.command()
@verb
def config(as_json: Json = False) -> int:
    """Check the file, and print its services in the order in which they start.

    Each service is shown as the `ukl run` command that starts the same guest.
    """
    from ukl.settings import compose as compose_file  # noqa: PLC0415

    project = _project()
    if as_json:
        print_json(project)
        return 0
    for service in project.services:
        after = ", ".join(f"{name} ({each})" for name, each in service.depends_on.items())
        typer.echo(f"# {service.name}" + (f", after {after}" if after else ""))
        typer.echo(compose_file.command(service))
    return 0
