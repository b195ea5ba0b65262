# SPDX-License-Identifier: GPL-2.0
"""The global options, and the wrapper of all verbs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import typer

from ukl.cli import failures

if TYPE_CHECKING:
    from ukl.base.progress import Progress
    from ukl.flow.context import Context
    from ukl.flow.dry import Step
    from ukl.host.store import Store

P = ParamSpec("P")


@dataclass(slots=True)
class State:
    """The global options of this invocation."""

    cache_dir: Path | None = None
    verbose: bool = False
    _progress: Progress | None = field(default=None, repr=False)

    @property
    def progress(self) -> Progress:
        """The printer of progress lines."""
        if self._progress is None:
            from ukl.base.progress import Progress  # noqa: PLC0415

            self._progress = Progress()
        return self._progress

    @property
    def store(self) -> Store:
        """The cache that the options select."""
        from ukl.host.store import Store  # noqa: PLC0415

        return Store.default(self.cache_dir, notify=self.progress.line)

    def context(
        self, kernel_source: str | None = None, jobs: int | None = None, series: str = ""
    ) -> Context:
        """Return the context of a build: cache, progress lines, and these options."""
        from ukl.flow.context import Context  # noqa: PLC0415

        return Context(self.store, self.progress, kernel_source, jobs, series)


STATE = State()
"""The application's callback sets it, the verbs read it."""


def verb(function: Callable[P, int | None]) -> Callable[P, None]:
    """Wrap a verb: what it returns or raises becomes an exit code and at most one paragraph."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = function(*args, **kwargs) or 0
        except (typer.Exit, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            code = failures.interrupted()
        except Exception as error:  # noqa: BLE001 - all errors are reported here
            cache = STATE.store.root
            code = failures.report(error, cache, verbose=STATE.verbose)
        raise typer.Exit(code)

    return wrapped


def print_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    from ukl.host.store import jsonable  # noqa: PLC0415

    typer.echo(json.dumps(jsonable(value), indent=2))


def print_steps(steps: list[Step], *, as_json: bool) -> int:
    """Print the steps of `--dry-run`, as shell commands or as JSON. Return exit code 0."""
    from ukl.flow import dry  # noqa: PLC0415 - not needed for --help

    if as_json:
        print_json(steps)
    else:
        for line in dry.text(steps):
            typer.echo(line)
    return 0
