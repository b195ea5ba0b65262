# SPDX-License-Identifier: GPL-2.0
"""Makes the unikernel form of a program that was just linked: PROG.ukl.o and PROG.ukl.json.

A failure here does not fail the user's build. The reason is written to PROG.ukl.json,
where `ukl run PROG` finds it, and printed once to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ukl import __version__
from ukl.app.captured import FORMAT, content_digest, facts_path, object_path, remember
from ukl.app.linking import SCRIPTS, Linking
from ukl.base import resources
from ukl.base.errors import UklError
from ukl.elf.reader import facts
from ukl.host import exec as host_exec
from ukl.host import packages
from ukl.host.programs import find
from ukl.host.store import Store, jsonable
from ukl.wrap import ld_arguments


def main() -> None:
    """Read ld's arguments from stdin (separated by NUL) and make both files."""
    words = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")
    link = ld_arguments.Link(words)
    program = Path(link.output).absolute()
    content = content_digest(program)
    summary: dict[str, Any] = {
        "ukl": __version__,
        "format": FORMAT,
        "program": program.name,
        "content": content,
        "object": None,
        "link": words,
    }
    with contextlib.ExitStack() as stack:
        temporary = ld_arguments.is_temporary(str(program))
        form = program
        if temporary:  # its form is in the cache alone: nobody would delete it beside the program
            form = Path(stack.enter_context(TemporaryDirectory(prefix="ukl-"))) / program.name
        try:
            summary |= _capture(link, program, object_path(form))
        except Exception as error:  # noqa: BLE001 - no error may fail the user's build
            _failed(summary, error, link.output)
        _write(facts_path(form), json.dumps(summary, indent=1).encode())
        with contextlib.suppress(OSError, UklError):  # the cache may be read-only
            store = Store.default(notify=lambda text: None)
            remember(form, content, store, copy=temporary)


def _failed(summary: dict[str, Any], error: Exception, output: str) -> None:
    """Record the reason in `summary`, and print it."""
    if not isinstance(error, UklError):
        trace = "".join(traceback.format_exception(error))
        error = UklError(
            f"internal error: {type(error).__name__}: {error}",
            remedy="this is a bug in ukl; please report it with the text of the log",
        )
        summary["trace"] = trace
    summary["error"] = {
        "message": error.message,
        "where": error.where,
        "remedy": error.remedy,
        "log": _read(error.log),
    }
    text = error.message.splitlines()[0]
    print(
        f"ukl: warning: {output}: no unikernel form: {text} (`ukl run {output}` prints details)",
        file=sys.stderr,
    )


def _read(log: Path | None) -> str | None:
    try:
        return None if log is None else log.read_text(errors="replace")[-20000:]
    except OSError:
        return None


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)


def _capture(link: ld_arguments.Link, program: Path, output: Path) -> Mapping[str, object]:
    """Make `output`, PROG.ukl.o, and return the facts about it for PROG.ukl.json."""
    ld, objcopy = find("ld"), find("objcopy")
    scripts = resources.path(SCRIPTS)
    with TemporaryDirectory(prefix="ukl-") as temporary:
        directory = Path(temporary)
        crt = directory / "ukl-crt.o"
        gcc = find("gcc")
        host_exec.run([gcc, "-c", scripts / "crt.S", "-o", crt], cwd=directory)
        inputs, left_out = ld_arguments.partial_inputs(link, str(crt), os.path.exists)
        linking = Linking(ld, objcopy, tuple(inputs), scripts, {}, program, extra=("--trace",))
        try:
            printed = linking.run(directory)
        except host_exec.CommandFailed as error:
            raise UklError(error.message, remedy=error.remedy, log=error.log) from error
        made = directory / "app.debug.o"
        found = facts(made)
        _write(output, made.read_bytes())
    files = [name for name in _traced(printed) if not name.startswith(temporary)]
    archives = tuple(name for name in files if name.endswith(".a"))
    return {
        "object": output.name,
        "facts": jsonable(found),
        "inputs": [name for name in files if name not in archives],
        "libraries": [
            {"path": name, "package": package}
            for name, package in packages.owners(archives).items()
        ],
        "left_out": left_out,
    }


def _traced(printed: str) -> list[str]:
    """Return the files that ld --trace names: objects, and archives with linked members."""
    names = []
    for line in printed.splitlines():
        # An archive's member is `(libc.a)printf.o` or `libc.a(printf.o)`.
        name = re.sub(r"^\((.*)\)\S*$|\([^()]*\)$", r"\1", line)
        if Path(name).is_file():
            names.append(os.path.normpath(Path(name).absolute()) if name.endswith(".a") else name)
    return list(dict.fromkeys(names))
