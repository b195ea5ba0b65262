# SPDX-License-Identifier: GPL-2.0
"""`ukl run`: builds an application, boots it, and returns its exit status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ukl.base.model import LOG_LIMITS, AppSpec, Guest, LogLimits, Mode, Network, Restart
from ukl.cli.arguments import DryRun, Jobs, Json, KernelSource, Rootfs, RunTarget, filled
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, print_steps, verb
from ukl.settings.setting import Verb
from ukl.settings.table import Overrides

if TYPE_CHECKING:
    from ukl.flow.context import Context
    from ukl.flow.running import RunOptions

Init = Annotated[
    Literal["ukl", "app"],
    typer.Option("--init", help="Process 1: ukl's small init, or the program itself."),
]
SharedNetwork = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="A network of guests, which reach each other by name.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--ip",
        metavar="ADDRESS[/PREFIX]|dhcp",
        help="Address on that network (default: a free one; dhcp for --tap and --bridge).",
    ),
]
Tap = Annotated[
    str | None, typer.Option("--tap", metavar="IFACE", help="A tap device of the host.")
]
Bridge = Annotated[
    str | None,
    typer.Option("--bridge", metavar="BR", help="A bridge of the host (needs root)."),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Leave it running in the background and print its name."),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Name of the guest (default: the application's)."),
]
Shell = Annotated[bool, typer.Option("--shell", help="Also start a shell on the console.")]
Terminal = Annotated[
    bool | None,
    typer.Option(
        "--tty/--no-tty",
        "-t/-T",
        help="Give the program a terminal, or pipes (default: what ukl itself has).",
        show_default=False,
    ),
]
Dump = Annotated[
    bool,
    typer.Option(
        "--dump/--no-dump", help="Keep a memory dump after a crash (default; see ukl crash)."
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="Stop the guest after this time."),
]
Bootchart = Annotated[
    Path | None,
    typer.Option(
        "--bootchart",
        metavar="FILE",
        parser=filled,
        help="Write a chart of the boot time: .svg (default), .png, or .json.",
    ),
]
Learn = Annotated[
    Path | None,
    typer.Option(
        "--learn",
        metavar="DIR",
        parser=filled,
        help="Run a program on this machine, and write DIR/ukl.toml with the files that it opens.",
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        parser=filled,
        help="Start a copy of the guest in a snapshot (ukl snapshot), without TARGET.",
    ),
]
Copies = Annotated[
    int | None,
    typer.Option(
        "--copies",
        "-n",
        min=1,
        metavar="N",
        help="With --from: start N copies in the background; each forwards the next ports.",
    ),
]
OldUser = Annotated[bool, typer.Option("--user", hidden=True)]
Icount = Annotated[bool, typer.Option("--icount", hidden=True)]


@verb
@takes(Verb.RUN)
def run(
    overrides: Overrides,
    target: RunTarget = "",
    rootfs: Rootfs = None,
    learn: Learn = None,
    snapshot: From = None,
    copies: Copies = None,
    user: OldUser = False,
    init: Init = "ukl",
    network: SharedNetwork = None,
    ip: Address = None,
    tap: Tap = None,
    bridge: Bridge = None,
    detach: Detach = False,
    name: Name = None,
    shell: Shell = False,
    tty: Terminal = None,
    dump: Dump = True,
    timeout: Timeout = None,
    bootchart: Bootchart = None,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    icount: Icount = False,
) -> int:
    """Link TARGET into a kernel, boot it and wait until it ends.

    A source file may be followed by options of cc: ukl run server.c -O2 -DX -lm

    The exit status is the program's own (128 + N if signal N killed it), 124 after --timeout,
    125 if the guest was lost, 130 after Ctrl-C.

    Standard input, output and errors of the program are those of `ukl`: a pipe for a pipe or file,
    a terminal for a terminal. There Ctrl-C goes to the program, and Ctrl-] ends the guest.

    With -d, `ukl run` prints the guest's name and exits with 0 when the program has started. `ukl
    ps`, `logs`, `exec`, `shell`, `cp`, `stop` and `rm` take that name.
    """
    from ukl.flow import running  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415

    if user:
        STATE.progress.line("--user is now called --mode process")
    guest = Guest(
        mode=Mode.PROCESS if user else overrides.get("mode", Mode.UNIKERNEL),
        init=init,
        shell=shell,
        timeout=timeout,
        append=overrides.get("append", ()),
        icount=icount,
        verbose=STATE.verbose,
        network=_network(network, tap, bridge, ip),
        log=LogLimits(
            overrides.get("log_size", LOG_LIMITS.size), overrides.get("log_files", LOG_LIMITS.files)
        ),
    )
    options = running.RunOptions(
        guest,
        name,
        dump=dump,
        restart=overrides.get("restart", Restart.NO),
        bootchart=bootchart,
        tty=tty,
    )
    if options.restart is not Restart.NO and not detach:
        raise typer.BadParameter("requires -d", param_hint="--restart")
    _refuse_copy(snapshot, copies, target or rootfs)
    context = STATE.context(kernel_source, jobs)
    spec = manifest.runnable(target, overrides, rootfs or "")
    if learn is not None:
        return _learned(spec, overrides, learn, timeout)
    if dry_run:
        from ukl.flow import dry  # noqa: PLC0415

        return print_steps(dry.run(spec, options, context), as_json=as_json)
    if detach:
        return _detached(spec, options, context, as_json=as_json)
    return _foreground(spec, options, context, as_json=as_json)


def _refuse_copy(snapshot: Path | None, copies: int | None, target: str | None) -> None:
    """Refuse what cli/lean.py has left, since a copy cannot have it; and a missing target."""
    if snapshot is not None:
        raise typer.BadParameter(
            "a copy is what its original was, with its program and settings; only -p, -n, -d, "
            "--name and --json go with it",
            param_hint="--from",
        )
    if copies is not None:
        raise typer.BadParameter("requires --from", param_hint="--copies")
    if not target:
        raise typer.BadParameter("missing", param_hint="TARGET")


def _network(name: str | None, tap: str | None, bridge: str | None, ip: str | None) -> Network:
    from ukl.settings import networks  # noqa: PLC0415

    try:
        return networks.chosen(name, tap, bridge, ip)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--network") from None


def _learned(spec: AppSpec, overrides: Overrides, directory: Path, timeout: float | None) -> int:
    from ukl.flow import learning  # noqa: PLC0415

    learning.check(spec, directory)
    found = learning.run(spec, timeout)
    file = learning.write(spec, found, overrides, directory)
    STATE.progress.line(f"{file}: {learning.summary(found)}")
    for path in found.written:
        STATE.progress.line(f"  it wrote to {path}: a volume (-v) or a disk there keeps that")
    return 0


def _detached(spec: AppSpec, options: RunOptions, context: Context, *, as_json: bool) -> int:
    from ukl.flow import running  # noqa: PLC0415
    from ukl.vm.registry import shown  # noqa: PLC0415

    record = running.start_app(spec, options, context)
    if as_json:
        print_json(shown(record))
    else:
        typer.echo(record.name)
    return 0


def _foreground(spec: AppSpec, options: RunOptions, context: Context, *, as_json: bool) -> int:
    from ukl.flow import running  # noqa: PLC0415
    from ukl.vm.outcome import exit_code  # noqa: PLC0415
    from ukl.vm.streams import forgiving, to_descriptor  # noqa: PLC0415

    output = forgiving(to_descriptor(2)) if as_json else None  # stdout has the JSON
    result = running.run_app(spec, options, context, output)
    if as_json:
        print_json(result)
    return exit_code(result)
