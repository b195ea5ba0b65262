# SPDX-License-Identifier: GPL-2.0
"""The typer application: global options, and the verbs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ukl import __version__
from ukl.cli import (
    bench,
    build,
    cache,
    check,
    compare,
    completion,
    compose,
    crash,
    doctor,
    drgn,
    execute,
    gdb,
    guests,
    kernel,
    man,
    new,
    package,
    perf,
    run,
    selftest,
    snapshot,
    trace,
    wrap,
)
from ukl.cli.arguments import filled
from ukl.cli.compiling import Compiling
from ukl.cli.state import STATE
from ukl.cli.verbatim import Verbatim

app = typer.Typer(
    name="ukl",
    help="Unikernel Linux: link an ordinary program into the Linux kernel, and boot it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ukl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir",
            metavar="DIR",
            parser=filled,
            help="Directory of the cache (default: UKL_CACHE_DIR, else ~/.cache/ukl).",
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Show kernel messages of guests, and tracebacks of errors."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Unikernel Linux: link an ordinary program into the Linux kernel, and boot it."""
    if os.environ.get("NO_COLOR"):  # no-color.org: if not empty
        ctx.color = False
    STATE.cache_dir = cache_dir
    STATE.verbose = verbose


app.command("run", cls=Compiling)(run.run)
app.command("ps")(guests.ps)
app.command("logs")(guests.logs)
app.command("stop")(guests.stop)
app.command("rm")(guests.rm)
app.command("snapshot")(snapshot.snapshot)
app.command("exec", cls=Verbatim)(execute.execute)
app.command("shell")(execute.shell)
app.command("cp")(execute.copy)
app.command("gdb", cls=Verbatim)(gdb.gdb)
app.command("drgn", cls=Verbatim)(drgn.drgn)
app.command("crash")(crash.crash)
app.command("trace", cls=Verbatim)(trace.trace)
app.command("top")(execute.top)
app.add_typer(perf.app, name="perf")
app.command("inspect")(guests.inspect)
app.add_typer(compose.app, name="compose")
app.command("new")(new.new)
app.command("schema")(new.schema)
app.command("build", cls=Compiling)(build.build)
app.command("package", cls=Compiling)(package.package)
app.command("wrap")(wrap.wrap)
app.command("check")(check.check)
app.add_typer(kernel.app, name="kernel")
app.command("compare")(compare.compare)
app.command("doctor")(doctor.doctor)
app.command("completion")(completion.completion)
app.command("man")(man.man)
app.command("selftest")(selftest.selftest)
app.add_typer(cache.app, name="cache")
app.add_typer(bench.app, name="bench")
