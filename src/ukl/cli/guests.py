# SPDX-License-Identifier: GPL-2.0
"""`ukl ps`, `logs`, `stop`, `rm`, `inspect`: list, show, stop and remove guests."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from ukl.cli import complete
from ukl.cli.arguments import Json
from ukl.cli.state import STATE, print_json, verb

if TYPE_CHECKING:
    from ukl.vm.registry import Record, Registry

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A guest's name (`ukl ps`).",
        show_default=False,
        autocompletion=complete.running_guests,
    ),
]
KeptName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A guest's name (`ukl ps -a`).",
        show_default=False,
        autocompletion=complete.all_guests,
    ),
]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Guests' names (`ukl ps`).",
        show_default=False,
        autocompletion=complete.running_guests,
    ),
]
KeptNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Guests' names (`ukl ps -a`).",
        show_default=False,
        autocompletion=complete.all_guests,
    ),
]

POLL = 0.1
"""Seconds between two reads of a log that is followed."""


def registry() -> Registry:
    """Return the guests of this cache."""
    from ukl.vm.registry import of  # noqa: PLC0415 - not needed for --help

    return of(STATE.store)


@verb
def ps(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also show guests that have ended.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the names.")] = False,
    as_json: Json = False,
) -> int:
    """List the running guests, both detached and in the foreground.

    -a shows a guest whose `ukl` was killed as `lost`.
    """
    from ukl.vm.registry import ALIVE, effective, shown  # noqa: PLC0415

    records = [record for record in registry().all() if everything or effective(record) in ALIVE]
    if as_json:
        print_json([shown(record) for record in records])
    elif quiet:
        for record in records:
            typer.echo(record.name)
    else:
        table(records)
    return 0


def table(records: Iterable[Record]) -> None:
    """Print a table of guests."""
    rows = [("NAME", "APPLICATION", "STATE", "SINCE", "PORTS"), *map(_row, records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _row(record: Record) -> tuple[str, ...]:
    from ukl.base.progress import duration  # noqa: PLC0415
    from ukl.vm.registry import State, effective  # noqa: PLC0415

    state = effective(record)
    since = record.end.ended if state is State.ENDED else record.life.started or record.created
    text = state.value
    if state is State.ENDED:
        text = f"ended ({record.end.outcome or 'failed'}"
        text += f" {record.end.status})" if record.end.status is not None else ")"
    age = duration(max(0.0, time.time() - (since or 0.0)))
    return (record.name, record.application, text, age, ", ".join(record.given.ports) or "-")


@verb
def inspect(
    names: KeptNames,
    as_json: Annotated[bool, typer.Option("--json", help="The default.")] = True,
) -> int:
    """Print all information about guests, as JSON."""
    from ukl.vm.registry import shown  # noqa: PLC0415

    guests = registry()
    print_json([shown(guests.get(name)) for name in names])
    return 0


@verb
def logs(
    name: KeptName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue until the guest has ended.")
    ] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=0, metavar="LINES", help="Print only the last lines."),
    ] = None,
) -> int:
    """Print a guest's console: standard output and errors.

    Old output is deleted when the log reaches its limit: see --log-size and --log-files of ukl run.
    """
    from ukl.base.errors import UklError  # noqa: PLC0415
    from ukl.vm import outcome  # noqa: PLC0415
    from ukl.vm.log import Reader  # noqa: PLC0415
    from ukl.vm.registry import ALIVE, effective  # noqa: PLC0415

    guests = registry()
    record = guests.get(name)
    while record.life.console is None:
        if not follow or effective(record) not in ALIVE:
            raise UklError(
                f"the guest {name} has not been booted"
                + (": " if record.end.detail else "")
                + record.end.detail,
            )
        time.sleep(POLL)
        record = guests.get(name)
    try:
        reader = Reader(record.life.console)
    except FileNotFoundError:
        raise UklError(
            "the guest's console log does not exist any more", where=record.life.console
        ) from None
    with reader:
        if tail is not None:
            reader.to_last_lines(tail)
        while True:
            # Checked before reading, so that all output of a guest that has ended is read.
            alive = effective(record) in ALIVE and record.keeper.alive
            for data in iter(reader.read, b""):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            if not follow or not alive:
                break
            time.sleep(POLL)
        if reader.missed:
            STATE.progress.line(
                f"{name}: some lines are missing: the guest wrote faster than ukl could read, and "
                "the log keeps only the newest output (ukl run --log-size, --log-files)"
            )
    if not alive:
        with contextlib.suppress(UklError):  # a guest in the foreground has no entry any more
            end = guests.get(name).end
            if text := outcome.death_of(end.outcome, end.status, end.detail):
                STATE.progress.line(f"{name}: {text}")
    return 0


@verb
def stop(
    names: Names,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--time",
            "-t",
            min=0,
            metavar="SECONDS",
            help="Time between SIGTERM and SIGKILL (default: 1.5; 10 with a volume or disk).",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Stop guests: the program by SIGTERM, then by SIGKILL, then the machine by force.

    Volumes and disks are unmounted before the machine is switched off. The entry and the log of
    a detached guest stay until `ukl rm`. With --init app there is no SIGTERM.
    """
    from ukl.vm import keeper, storage  # noqa: PLC0415
    from ukl.vm.registry import ALIVE, State, effective, shown  # noqa: PLC0415

    guests = registry()
    for record in [guests.get(name) for name in names]:
        grace = storage.GRACE if seconds is None else seconds
        if record.given.init == "app" and effective(record) in ALIVE:
            STATE.progress.line(
                f"{record.name}: its program is process 1 (--init app) and gets no SIGTERM, since "
                "no other process could send one: the machine is switched off"
            )
        keeper.stop(guests, record.name, seconds, grace + keeper.STOP_MARGIN)
        if not as_json:
            typer.echo(record.name)
    if as_json:  # the entry of a guest in the foreground is already removed
        known = {record.name: shown(record) for record in guests.all()}
        print_json([known.get(name, {"name": name, "state": State.ENDED}) for name in names])
    return 0


@verb
def rm(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Guests' names (`ukl ps -a`).",
            show_default=False,
            autocompletion=complete.all_guests,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Stop running guests first.")
    ] = False,
    ended: Annotated[
        bool, typer.Option("--ended", help="Remove all guests that have ended or were lost.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Remove guests that have ended: their entries and their logs. Their volumes stay."""
    from ukl.base.errors import UsageError  # noqa: PLC0415
    from ukl.vm import keeper, storage  # noqa: PLC0415
    from ukl.vm.registry import ALIVE, effective  # noqa: PLC0415

    guests = registry()
    if bool(names) == ended:
        raise UsageError("name guests, or use --ended for all that have ended")
    chosen = names or [record.name for record in guests.all() if effective(record) not in ALIVE]
    for record in [guests.get(name) for name in chosen]:
        if force:
            keeper.stop(guests, record.name, None, storage.GRACE + keeper.STOP_MARGIN)
        if force and not record.kept:
            guests.forget(record.name)  # needed only if its `ukl` was killed
        else:
            guests.remove(record.name)
        if not as_json:
            typer.echo(record.name)
    if as_json:
        print_json({"removed": chosen})
    return 0
