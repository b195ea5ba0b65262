# SPDX-License-Identifier: GPL-2.0
"""`ukl compare`: runs a recipe's own tests as unikernel and as normal process."""

from __future__ import annotations

from typing import Annotated

import typer

from ukl.base.errors import ExitCode
from ukl.base.model import Mode
from ukl.cli.arguments import Jobs, Json, KernelSource, Target
from ukl.cli.settings import takes
from ukl.cli.state import STATE, print_json, verb
from ukl.settings.setting import Verb
from ukl.settings.table import Overrides


@verb
@takes(Verb.COMPARE)
def compare(
    target: Target,
    overrides: Overrides,
    only: Annotated[
        Mode | None,
        typer.Option("--only", help="Run one of the two modes only."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run the part of the suite that takes minutes.")
    ] = False,
    kernel_source: KernelSource = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> int:
    """Run the test suite of TARGET's recipe against the unikernel and the normal process.

    Both run on the same kernel. The exit status is 1 if a test failed or the results differ.
    """
    from ukl.flow import compare as flow_compare  # noqa: PLC0415 - not needed for --help
    from ukl.settings import manifest  # noqa: PLC0415

    comparison = flow_compare.compare(
        manifest.specified(target, overrides),
        STATE.context(kernel_source, jobs),
        modes=[mode for mode in Mode if only in {None, mode}],
        quick=quick,
    )
    if as_json:
        print_json({"results": comparison.results, "differences": comparison.differences})
    else:
        for line in flow_compare.table(comparison):
            typer.echo(line)
    return ExitCode.OK if comparison.is_good else ExitCode.FAILED
