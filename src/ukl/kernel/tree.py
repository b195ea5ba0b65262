# SPDX-License-Identifier: GPL-2.0
"""A patched kernel tree in the cache: source + overlay + series, never compiled in place.

Files of a source in the cache are hard-linked, except for those that patches change. These
are copied, as are all files of a user's tree.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import KernelSource
from ukl.base.progress import Progress
from ukl.host.store import Store, digest
from ukl.kernel import series as series_module
from ukl.kernel.source import fingerprint, walk
from ukl.kernel.versions import base_for, bases

_FORMAT = 1
"""Part of the keys; incremented when the same inputs give another tree."""


def prepare(source: KernelSource, series_file: Path, store: Store, progress: Progress) -> Path:
    """Return the top of the patched tree, from the cache if possible.

    Raises InputError if the series is not for this version or does not apply.
    """
    base_file = series_file.parent / "base.toml"
    if base_file.is_file():
        base_for(source.version, bases(series_file.parent.parent), source.directory)
    series = series_module.load(series_file)
    content = series.content()
    identity = source.key or fingerprint(source.directory)
    key = digest("tree", _FORMAT, identity, content)
    inputs = {"source": source.origin, "version": source.version, "series": sorted(content)}

    def build(directory: Path) -> None:
        tree = directory / "linux"
        with progress.stage(f"patch Linux {source.version}"):
            copy_tree(source.directory, tree, series.touched(), link=bool(source.key))
            series_module.apply(series, tree, source.version, directory / "patch.log")

    return store.make("tree", key, inputs, build) / "linux"


def copy_tree(source: Path, target: Path, touched: frozenset[str], *, link: bool) -> None:
    """Make `target` a copy of the tree; `link`: with hard links, except for files in `touched`.

    Copies keep their times, which make compares.
    """
    target.mkdir()
    for name, entry in walk(source):
        place = target / name
        if entry.is_symlink():
            place.symlink_to(os.readlink(entry.path))  # noqa: PTH115 - a DirEntry has no Path
        elif entry.is_dir():
            place.mkdir()
        elif entry.is_file():
            if link and name not in touched:
                try:
                    os.link(entry.path, place)
                    continue
                except OSError:  # another file system, or too many links
                    pass
            shutil.copy2(entry.path, place)
        else:
            raise UklError("neither file, directory nor symbolic link", where=entry.path)
