# SPDX-License-Identifier: GPL-2.0
"""`ukl build`: writes the bootable files into a directory."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ukl import __version__
from ukl.base.errors import InputError
from ukl.base.model import AppSpec
from ukl.flow.bootable import bootable
from ukl.flow.context import Context
from ukl.host.store import digest, jsonable
from ukl.vm import qemu

COMMAND_LINE = "cmdline"
"""File with the kernel's command line."""

_OUTPUTS = frozenset({"vmlinux", "bzImage", "initrd", "System.map", COMMAND_LINE, "manifest.json"})


def into(
    spec: AppSpec, directory: Path, context: Context, append: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Write the bootable files and a manifest into `directory`; return the manifest.

    `append` is added to the kernel's command line. `directory` is created or replaced when all
    files are complete. InputError if it already contains files that ukl did not write.
    """
    _check(directory)
    made = bootable(spec, context)
    files = {
        "vmlinux": made.image.vmlinux,
        "bzImage": made.image.bzimage,
        "initrd": made.initrd,
        "System.map": made.image.system_map,
    }
    words = qemu.kernel_words(made.spec, verbose=False)
    words += append
    summary: dict[str, Any] = {
        "ukl": __version__,
        "name": made.spec.name,
        "kernel": made.kernel.version,
        "build_id": made.image.build_id.hex(),
        "cmdline": " ".join(words),
        "keys": {"app": made.app.key, "kernel": made.kernel.key, "image": made.image.key},
        "facts": jsonable(made.app.facts),
        "files": {name: path.stat().st_size for name, path in files.items()},
        "digests": {name: digest(path) for name, path in files.items()},
    }
    with context.progress.stage(f"write {directory}"), replacing(directory) as temporary:
        for name, path in files.items():
            shutil.copyfile(path, temporary / name)
        (temporary / COMMAND_LINE).write_text(summary["cmdline"] + "\n")
        (temporary / "manifest.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _check(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputError(
            "this is not a directory", where=directory, remedy="name another one with -o"
        )
    other = {path.name for path in directory.iterdir()} - _OUTPUTS if directory.exists() else None
    if other:
        raise InputError(
            f"the output directory contains another file: {min(other)}",
            where=directory,
            remedy="name an empty or a new directory with -o",
        )


@contextlib.contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """Yield a new directory that replaces `directory` if the block succeeds."""
    target = directory.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            target.rename(old)  # onto an empty directory: allowed by rename(2)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
