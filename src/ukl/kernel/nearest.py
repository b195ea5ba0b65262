# SPDX-License-Identifier: GPL-2.0
"""Starts a build from what the cache has of it: kbuild compiles the rest.

kbuild records with each object the command line and the options that it depends on
(scripts/basic/fixdep.c), and compiles what another configuration changes. The objects are those
of a build from nothing: tests/apps/test_nearest.py compares the images.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ukl.host.store import Store

_COMPLETE = "complete-objects"
"""File beside the objects of an incomplete build: none of them was cut off.

An object that was cut off has no record yet, so that kbuild makes it again, unless a build with
another configuration has left one. SIGINT and SIGTERM make `make` delete what it was making.
"""


def find(inputs: Mapping[str, object], store: Store) -> Path | None:
    """Return the cached objects of the same tree and compiler with most of the options.

    Not those with other options: objects would be left that the kernel does not have, and
    `ukl kernel trim` takes all that are there for its own.
    """
    found: dict[Path, int] = {}
    for entry in store.of_kind("kernel"):
        made = entry.manifest.get("inputs")
        if not isinstance(made, dict):
            continue
        if all(made.get(name) == inputs[name] for name in ("tree", "version", "compiler")):
            options = {*made["options"]}
            if options <= {*_strings(inputs["options"])}:
                found[entry.path] = len(options)
    nearest = max(found, key=found.__getitem__, default=None)
    # Marks it as used, so that it is not deleted meanwhile.
    return store.get("kernel", nearest.name) if nearest is not None else None


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return value


def copy(entry: Path, objects: Path) -> None:
    """Copy the objects of a build to `objects`, as if they had been made there.

    The commands that kbuild recorded name the directory, and a changed command is a reason to
    compile. Directories with other names are left as they are: that costs time only.
    """
    shutil.copytree(entry / "objects", objects, symlinks=True)
    old, new = (entry.name.encode(), objects.parent.name[1:].removesuffix(".objects").encode())
    for directory, _, names in os.walk(objects):
        for name in names:
            if name.startswith(".") and name.endswith(".cmd"):
                path = Path(directory, name)
                path.write_bytes(path.read_bytes().replace(old, new))


@contextlib.contextmanager
def workplace(work: Path) -> Iterator[bool]:
    """Make the directory `work` for a build; keep it if the build is interrupted.

    Yields whether it has the objects of an interrupted build.
    """
    complete = work / _COMPLETE
    continued = complete.exists()
    if not continued:
        shutil.rmtree(work, ignore_errors=True)  # of a build that was killed
        work.mkdir()
    keep = False
    try:
        yield continued
    except KeyboardInterrupt:
        keep = True
        raise
    finally:
        if keep and work.exists():
            complete.touch()
        else:
            shutil.rmtree(work, ignore_errors=True)


def from_nothing(work: Path) -> None:
    """Say that a build in `work` begins without objects: what is there is complete."""
    (work / _COMPLETE).touch()
