# SPDX-License-Identifier: GPL-2.0
"""`ukl run`: build what is not built yet, boot it, and pass its exit status on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ukl.base.model import LOG_LIMITS, AppSpec, Guest, LogLimits, Mode, Restart
from ukl.cli.arguments import DryRun, Jobs, Json, KernelSource, Target
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, print_steps, verb
from ukl.settings.setting import Verb
from ukl.settings.table import Said

if TYPE_CHECKING:
    from ukl.flow.context import Context
    from ukl.flow.running import RunOptions

Init = Annotated[
    Literal["ukl", "app"],
    typer.Option("--init", help="Process 1: our small init, or the program itself."),
]
SharedNetwork = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="A network of guests: those on it reach each other by name.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--ip",
        metavar="ADDRESS[/PREFIX]|dhcp",
        help="Address there (default: a free one; dhcp for --tap and --bridge).",
    ),
]
Tap = Annotated[
    str | None, typer.Option("--tap", metavar="IFACE", help="A tap device of this machine.")
]
Bridge = Annotated[
    str | None,
    typer.Option("--bridge", metavar="BR", help="A bridge of this machine (needs root)."),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Leave it running in the background and print its name."),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Name of the guest (default: the application's)."),
]
Shell = Annotated[bool, typer.Option("--shell", help="Also give a shell on the console.")]
Dump = Annotated[
    bool,
    typer.Option(
        "--dump/--no-dump", help="Keep the memory of what crashes (default; see ukl crash)."
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="End the guest after this time."),
]
Bootchart = Annotated[
    Path | None,
    typer.Option(
        "--bootchart",
        metavar="FILE",
        help="Draw where the time of the boot went: .svg (default), .png, or .json.",
    ),
]
OldUser = Annotated[bool, typer.Option("--user", hidden=True)]
Icount = Annotated[bool, typer.Option("--icount", hidden=True)]


@verb
@takes(Verb.RUN)
def run(
    target: Target,
    said: Said,
    user: OldUser = False,
    init: Init = "ukl",
    network: SharedNetwork = None,
    ip: Address = None,
    tap: Tap = None,
    bridge: Bridge = None,
    detach: Detach = False,
    name: Name = None,
    shell: Shell = False,
    dump: Dump = True,
    timeout: Timeout = None,
    bootchart: Bootchart = None,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    icount: Icount = False,
) -> int:
    """Build TARGET into a kernel, boot it and wait for its end.

    A source file takes compiler and linker options as cc does: ukl run server.c -O2 -DX -lm

    The exit status is the program's own (128 + N when signal N killed it), 124
    after --timeout, 125 when the guest was lost, 130 after Ctrl-C.

    With -d it is 0 as soon as the program has started; then `ukl ps`, `logs`, `exec`,
    `shell`, `cp`, `stop` and `rm` take the name that is printed.
    """
    from ukl.flow import running  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest, networks  # noqa: PLC0415

    if user:
        STATE.progress.line("--user is called --mode process now")
    try:
        connection = networks.chosen(network, tap, bridge, ip)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--network") from None
    guest = Guest(
        mode=Mode.PROCESS if user else said.get("mode", Mode.UNIKERNEL),
        init=init,
        shell=shell,
        timeout=timeout,
        append=said.get("append", ()),
        icount=icount,
        verbose=STATE.verbose,
        network=connection,
        log=LogLimits(
            said.get("log_size", LOG_LIMITS.size), said.get("log_files", LOG_LIMITS.files)
        ),
    )
    options = running.RunOptions(
        guest, name, dump=dump, restart=said.get("restart", Restart.NO), bootchart=bootchart
    )
    if options.restart is not Restart.NO and not detach:
        raise typer.BadParameter("only a guest in the background (-d)", param_hint="--restart")
    context = STATE.context(kernel_source, jobs)
    spec = manifest.specified(target, said)
    if dry_run:
        from ukl.flow import dry  # noqa: PLC0415

        return print_steps(dry.run(spec, options, context), as_json=as_json)
    if detach:
        return _started(spec, options, context, as_json=as_json)
    return _ended(spec, options, context, as_json=as_json)


def _started(spec: AppSpec, options: RunOptions, context: Context, *, as_json: bool) -> int:
    from ukl.flow import running  # noqa: PLC0415
    from ukl.vm.registry import shown  # noqa: PLC0415

    record = running.start_app(spec, options, context)
    if as_json:
        print_json(shown(record))
    else:
        typer.echo(record.name)
    return 0


def _ended(spec: AppSpec, options: RunOptions, context: Context, *, as_json: bool) -> int:
    from ukl.flow import running  # noqa: PLC0415
    from ukl.vm.outcome import exit_code  # noqa: PLC0415
    from ukl.vm.session import to_descriptor  # noqa: PLC0415

    output = to_descriptor(2) if as_json else None  # stdout is for the result then
    result = running.run_app(spec, options, context, output)
    if as_json:
        print_json(result)
    return exit_code(result)
