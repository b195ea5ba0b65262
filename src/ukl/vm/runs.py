# SPDX-License-Identifier: GPL-2.0
"""Directories of runs: what QEMU and the guest write, for some time after the end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

KEEP_RUNS = 20
KEEP_SECONDS = 24 * 3600.0
"""The console logs of the newest KEEP_RUNS runs stay, and those of the last KEEP_SECONDS."""


def run_directory(runs: Path, name: str, keep: Iterable[Path] = ()) -> Path:
    """Make the directory of a new run, and delete those of old runs.

    Directories in `keep` stay: running guests write into them.
    """
    runs.mkdir(parents=True, exist_ok=True)
    _delete_old(runs, frozenset(keep))
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path(tempfile.mkdtemp(prefix=f"{name}-{stamp}-", dir=runs))


def _delete_old(runs: Path, keep: frozenset[Path]) -> None:
    aged = []
    for path in runs.iterdir():
        with contextlib.suppress(OSError):  # another `ukl` deletes it too
            aged.append((path.stat().st_mtime, path))
    for made, path in sorted(aged)[:-KEEP_RUNS]:
        if time.time() - made > KEEP_SECONDS and path not in keep:
            shutil.rmtree(path, ignore_errors=True)
