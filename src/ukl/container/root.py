# SPDX-License-Identifier: GPL-2.0
"""Root file systems of guests: made once, and kept in the cache."""

from __future__ import annotations

import contextlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.progress import Progress, Stage
from ukl.base.root import RootKind, RootSource
from ukl.container import directory, layers, squash, starting, unpack, users
from ukl.container.config import Config
from ukl.container.sources import AGAIN, Contents, opened
from ukl.container.tree import Outside, Tree, split
from ukl.host import exec as host_exec
from ukl.host.process import spawn
from ukl.host.store import Store, digest, human_size

FORMAT = 1
"""Counts changes of what is made of the same image."""

SKOPEO = ("skopeo", "--override-os", "linux", "--override-arch", "amd64", "copy")

FILE = "root.squashfs"
_INDEX = "tree.json"
_TEXT_MAX = 1 << 20
"""Bytes that are read of a file with users."""


def local(source: RootSource, store: Store, progress: Progress) -> RootSource:
    """Return the image on this machine; skopeo fetches one of a registry, once."""
    if source.kind is not RootKind.REGISTRY:
        return source
    name = f"{RootKind.REGISTRY}:{source.name}"
    key = digest(name)

    def work(out: Path) -> None:
        with progress.stage(f"fetch {source.name}"):
            host_exec.run([*SKOPEO, name, f"oci:{out / 'image'}:latest"], log=out / "skopeo.log")

    entry = store.make("container-image", key, {"name": source.name}, work)
    return RootSource(RootKind.OCI, str(entry / "image"), "latest")


def config(source: RootSource) -> Config:
    """Return the configuration of an image on this machine; raises InputError."""
    if source.kind is RootKind.FILES:
        return Config()
    with opened(source) as contents:
        return contents.config


def made(source: RootSource, store: Store, progress: Progress) -> tuple[Path, starting.Root]:
    """Return the file with the root file system of a source on this machine, and what is in it.

    Raises InputError for an image that is damaged, incomplete or hostile.
    """
    with _opened(source) as contents, progress.stage(f"root {Path(source.name).name}") as stage:
        made_of = (FORMAT, contents.key, squash.OPTIONS, _directories(contents.config))
        key = digest("container", *made_of)
        if store.get("container", key) is not None:
            stage.cached()
        inputs = {"name": source.text}
        entry = store.make(
            "container", key, inputs, lambda out: _make(contents, source, out, stage)
        )
        index = json.loads((entry / _INDEX).read_text())
        stage.result(human_size((entry / FILE).stat().st_size))
        root = starting.Root(source.text, Tree.load(index["tree"]), contents.config, index["texts"])
    return entry / FILE, root


@contextlib.contextmanager
def tree(source: RootSource, scratch: Path, stage: Stage) -> Iterator[Tree]:
    """Yield the tree of a source on this machine, with the contents of its files."""
    with _opened(source) as contents, contextlib.ExitStack() as stack:
        yield _tree(contents, source, scratch, stack, stage)


@contextlib.contextmanager
def _opened(source: RootSource) -> Iterator[Contents]:
    path = Path(source.name)
    if source.kind is RootKind.FILES and path.is_dir():
        yield Contents(str(path), Config(), (), directory.key(path))
        return
    with opened(source) as contents:
        yield contents


def _directories(found: Config) -> tuple[str, ...]:
    """Return the directories that the configuration needs: engines make those that are missing."""
    return (found.directory, *found.volumes)


def _make(contents: Contents, source: RootSource, out: Path, stage: Stage) -> None:
    parts = out / "layers"
    parts.mkdir()
    with contextlib.ExitStack() as stack:
        found = _tree(contents, source, parts, stack, stage)
        layers.note_programs(found)
        texts = {path: _text(found, path) for path in (users.PASSWD, users.GROUP)}
        squash.write(found, out / FILE, stage.update)
    shutil.rmtree(parts)
    (out / _INDEX).write_text(json.dumps({"tree": found.dump(), "texts": texts}))


def _tree(
    contents: Contents,
    source: RootSource,
    scratch: Path,
    stack: contextlib.ExitStack,
    stage: Stage,
) -> Tree:
    """Return the tree with what the configuration needs; `stack` closes the files behind it."""
    if source.kind is RootKind.FILES and not contents.layers:
        found = directory.scan(Path(source.name))
    else:
        found = _merged(contents, scratch, stack, stage)
    for path in _directories(contents.config):
        _add_directory(found, path, contents.where)
    return found


def _merged(contents: Contents, parts: Path, stack: contextlib.ExitStack, stage: Stage) -> Tree:
    tree = Tree()
    for number, layer in enumerate(contents.layers):
        stage.update(number, len(contents.layers), layer.name)
        where = f"{contents.where}, {layer.name}" if layer.diff_id else contents.where
        file = unpack.tar_of(layer, parts, number, contents.where)
        try:
            archive = stack.enter_context(tarfile.open(file, "r:"))  # noqa: SIM115
        except (tarfile.TarError, EOFError) as error:
            raise InputError(
                f"not a tar archive: {error}", where=where, remedy="name one, or a directory"
            ) from error
        layers.apply(tree, archive, where)
        if not layer.diff_id and not layers.is_complete(file, archive):
            raise InputError("the archive is cut off", where=where, remedy=AGAIN)
    return tree


def _add_directory(tree: Tree, path: str, where: str) -> None:
    try:
        tree.parent(split(path))
    except (NotADirectoryError, Outside) as error:
        raise InputError(
            f"the image's configuration needs the directory {path}, which cannot be there",
            where=where,
            remedy="make the image again",
        ) from error


def _text(tree: Tree, path: str) -> str:
    found = tree.find(path)
    if found is None or found[1].content is None:
        return ""
    with found[1].content() as stream:
        return stream.read(_TEXT_MAX).decode("utf-8", "replace")


def extracted(image: Path, path: str, store: Store) -> Path:
    """Return a copy of one program of a root file system, for its symbols."""
    key = digest("container-program", str(image), path)
    argv = ["unsquashfs", "-no-wildcards", "-cat", str(image), path.lstrip("/")]

    def work(out: Path) -> None:
        # Only its content: unpacked by root, a set-user-ID program would be one of this machine.
        with (out / "program").open("wb") as file, spawn(argv, stdout=file) as child:
            status = child.wait()
        if status != 0:
            raise host_exec.CommandFailed(argv, status, "")

    return store.make("container-program", key, {"path": path}, work) / "program"
