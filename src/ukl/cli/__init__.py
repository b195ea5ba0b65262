# SPDX-License-Identifier: GPL-2.0
"""The command line: one module per verb, which only parses and prints."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence

from ukl.base.errors import ExitCode


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. It never prints a traceback."""
    from ukl.cli import failures  # noqa: PLC0415 - Ctrl-C while importing is caught below

    code: int
    # Imported objects are permanent: collecting garbage among them takes 10% of a short command.
    gc.disable()
    try:
        failures.heed_termination()
        arguments = list(sys.argv[1:] if argv is None else argv)
        from ukl.cli import lean  # noqa: PLC0415

        if (line := lean.parse(arguments)) is not None:
            return _flushed(lean.main(line))
        from ukl.cli import complete  # noqa: PLC0415
        from ukl.cli.app import app  # noqa: PLC0415

        if complete.is_asked(os.environ):
            from typer.completion import completion_init  # noqa: PLC0415

            completion_init()

        gc.freeze()
        gc.enable()

        # Usage lines say `ukl`, whatever path it was started by.
        app(args=arguments, prog_name="ukl")
        code = ExitCode.OK
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else ExitCode.FAILED
    except KeyboardInterrupt:
        code = failures.interrupted()
    except BaseException as error:  # noqa: BLE001 - the last line of defence
        code = failures.report(error, None)
    return _flushed(int(code))


def _flushed(code: int) -> int:
    """Flush stdout; a reader that has exited (`ukl doctor | head`) gives status 128 + SIGPIPE."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code
