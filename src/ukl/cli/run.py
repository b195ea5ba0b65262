# SPDX-License-Identifier: GPL-2.0
"""`ukl run`: build what is not built yet, boot it, and pass its exit status on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ukl.base.model import LOG_FILES_MAX, LOG_LIMITS, LogLimits, Restart
from ukl.cli.arguments import (
    Arguments,
    Counts,
    DryRun,
    Jobs,
    Json,
    KernelSource,
    LevelOption,
    Lto,
    Profile,
    ReturnsOption,
    Target,
    With,
    parsed,
)
from ukl.cli.state import STATE, print_json, print_steps, verb


@verb
def run(
    target: Target,
    args: Arguments = None,
    publish: Annotated[
        list[str] | None,
        typer.Option(
            "--publish",
            "-p",
            metavar="[ADDR:]HOST:GUEST[/udp]",
            help="Forward a port (repeatable; instead of the manifest's).",
        ),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            "--volume",
            "-v",
            metavar="DIR:/PATH[:ro]",
            help="Mount a directory of this machine in the guest (repeatable).",
        ),
    ] = None,
    disk: Annotated[
        list[str] | None,
        typer.Option(
            "--disk",
            metavar="FILE[:/PATH][,size=SIZE]",
            help="Mount a disk with ext4, made if it is not there (repeatable; on /data).",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", "-m", metavar="SIZE", help="Memory of the guest, like 256M."),
    ] = None,
    smp: Annotated[
        int | None,
        typer.Option("--smp", min=1, max=64, metavar="N", help="Processors of the guest."),
    ] = None,
    user: Annotated[
        bool,
        typer.Option("--user", help="Run the same object as a normal process on the same kernel."),
    ] = False,
    init: Annotated[
        Literal["ukl", "app"],
        typer.Option("--init", help="Who is process 1: our small init, or the program itself."),
    ] = "ukl",
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME",
            help="A network of guests: those on it reach each other by name.",
        ),
    ] = None,
    ip: Annotated[
        str | None,
        typer.Option(
            "--ip",
            metavar="ADDRESS[/PREFIX]|dhcp",
            help="Address there (default: a free one; dhcp for --tap and --bridge).",
        ),
    ] = None,
    tap: Annotated[
        str | None,
        typer.Option("--tap", metavar="IFACE", help="A tap device of this machine."),
    ] = None,
    bridge: Annotated[
        str | None,
        typer.Option("--bridge", metavar="BR", help="A bridge of this machine (needs root)."),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", "-d", help="Leave it running in the background and print its name."
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Name of the guest (default: the application's)."
        ),
    ] = None,
    restart: Annotated[
        Restart,
        typer.Option("--restart", help="With -d: when it is started again after its end."),
    ] = Restart.NO,
    log_size: Annotated[
        str | None,
        typer.Option(
            "--log-size",
            metavar="SIZE",
            help="Begin the console's file anew before it is larger (default: 16M).",
        ),
    ] = None,
    log_files: Annotated[
        int | None,
        typer.Option(
            "--log-files",
            min=1,
            max=LOG_FILES_MAX,
            metavar="N",
            help="Keep so many of these files, with the one that is written (default: 3).",
        ),
    ] = None,
    shell: Annotated[
        bool, typer.Option("--shell", help="Also give a shell on the console.")
    ] = False,
    dump: Annotated[
        bool,
        typer.Option(
            "--dump/--no-dump", help="Keep the memory of what crashes (default; see ukl crash)."
        ),
    ] = True,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, metavar="SECONDS", help="End the guest after this time."),
    ] = None,
    bootchart: Annotated[
        Path | None,
        typer.Option(
            "--bootchart",
            metavar="FILE",
            help="Draw where the time of the boot went: .svg (default), .png, or .json.",
        ),
    ] = None,
    others: With = None,
    kernel_source: KernelSource = None,
    profile: Profile = None,
    level: LevelOption = None,
    lto: Lto = None,
    pgo: Counts = None,
    returns: ReturnsOption = None,
    page_size: Annotated[
        str | None,
        typer.Option(
            "--page-size",
            metavar="SIZE",
            help="Give anonymous memory in pages of this size where it fits, like 64K.",
        ),
    ] = None,
    populate: Annotated[
        bool | None,
        typer.Option("--populate/--no-populate", help="Have memory there as soon as it is mapped."),
    ] = None,
    userspace: Annotated[
        bool | None,
        typer.Option(
            "--userspace/--no-userspace", help="Have busybox beside it, or the program alone."
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="KEY=VALUE", help="Set a variable (repeatable)."),
    ] = None,
    append: Annotated[
        list[str] | None,
        typer.Option(
            "--append", metavar="ARG", help="Add to the kernel's command line (repeatable)."
        ),
    ] = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    icount: Annotated[bool, typer.Option("--icount", hidden=True)] = False,
) -> int:
    """Build TARGET into a kernel, boot it and wait for its end.

    The exit status is the program's own (128 + N when signal N killed it), 124
    after --timeout, 125 when the guest was lost, 130 after Ctrl-C.

    With -d it is 0 as soon as the program has started; then `ukl ps`, `logs`, `exec`,
    `shell`, `cp`, `stop` and `rm` take the name that is printed.
    """
    from ukl.flow import pipeline, running  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415 - not needed for --help
    from ukl.settings.volumes import parse_disk, parse_volume  # noqa: PLC0415
    from ukl.vm import network as networks  # noqa: PLC0415
    from ukl.vm.outcome import exit_code  # noqa: PLC0415
    from ukl.vm.registry import shown  # noqa: PLC0415
    from ukl.vm.session import to_descriptor  # noqa: PLC0415

    ports = [parsed(manifest.parse_port, text, "--publish") for text in publish or []]
    overrides = pipeline.Overrides(
        args=tuple(args) if args else None,
        env=dict(parsed(manifest.parse_env, text, "--env") for text in env or []),
        ports=tuple(ports) or None,
        volumes=tuple(parsed(parse_volume, text, "--volume") for text in volume or []),
        disks=tuple(parsed(parse_disk, text, "--disk") for text in disk or []),
        memory=parsed(manifest.parse_memory, memory, "--memory") if memory else None,
        cpus=smp,
        profile=profile,
        counts=pgo,
        level=level,
        lto=lto,
        returns=returns,
        page_size=parsed(manifest.parse_page_size, page_size, "--page-size") if page_size else None,
        populate=populate,
        userspace=userspace,
    )
    try:
        connection = networks.chosen(network, tap, bridge, ip)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--network") from None
    options = running.RunOptions(
        guest=name,
        user=user,
        init=init,
        shell=shell,
        timeout=timeout,
        append=tuple(append or ()),
        icount=icount,
        kernel_source=kernel_source,
        verbose=STATE.verbose,
        jobs=jobs,
        network=connection,
        dump=dump,
        restart=restart,
        bootchart=bootchart,
        log=LogLimits(
            size=parsed(manifest.parse_log_size, log_size, "--log-size")
            if log_size
            else LOG_LIMITS.size,
            files=log_files or LOG_LIMITS.files,
        ),
    )
    if restart is not Restart.NO and not detach:
        raise typer.BadParameter("only a guest in the background (-d)", param_hint="--restart")
    spec = pipeline.overridden(manifest.resolve_all(target, others or ()), overrides)
    if dry_run:
        from ukl.flow import dry  # noqa: PLC0415

        return print_steps(dry.run(spec, options, STATE.store), as_json=as_json)
    if detach:
        record = running.start_app(spec, options, STATE.store, STATE.progress)
        if as_json:
            print_json(shown(record))
        else:
            typer.echo(record.name)
        return 0
    output = to_descriptor(2) if as_json else None  # stdout is for the result then
    result = running.run_app(spec, options, STATE.store, STATE.progress, output)
    if as_json:
        print_json(result)
    return exit_code(result)
