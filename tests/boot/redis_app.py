# SPDX-License-Identifier: GPL-2.0
"""Redis as an application, made by hand from the distribution's source package.

Its own Makefile builds it, unchanged, with a compiler that appends our flags; its
objects then take the path of any application. `build` returns the object,
`Unavailable` says why the source cannot be had.
"""

from __future__ import annotations

import platform
import shlex
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from ukl.app import build as app_build
from ukl.app.flags import UKL_FLAGS
from ukl.errors import UklError
from ukl.host import exec as host_exec
from ukl.host.store import Store, digest
from ukl.model import AppObject, AppSpec, PortForward
from ukl.progress import Progress

KEYRINGS = "/usr/share/keyrings"
ARCHIVES = {
    "debian": ("http://deb.debian.org/debian", "main", "debian-archive-keyring.gpg"),
    "ubuntu": ("http://archive.ubuntu.com/ubuntu", "main universe", "ubuntu-archive-keyring.gpg"),
}
"""Distribution -> where its sources are, the components, the keyring that signs them."""

LIBRARIES = (
    "deps/hiredis/libhiredis.a",
    "deps/lua/src/liblua.a",
    "deps/hdr_histogram/libhdrhistogram.a",
)

COMPILER = """#!/bin/sh
# Last on the line, so that they win over the -fPIC of a bundled library.
exec gcc "$@" {flags} -static -no-pie
"""


class Unavailable(Exception):
    """The source package cannot be had; the text is the reason."""


def build(store: Store, progress: Progress) -> AppObject:
    """Return Redis partially linked, and as a normal executable."""
    return app_build.build(spec(store, progress), store, progress)


def spec(store: Store, progress: Progress) -> AppSpec:
    """Return the application, with its objects compiled in the cache."""
    with progress.stage("fetch redis source"):
        source = _source(store)
    key = digest(source / "orig.tar", UKL_FLAGS, COMPILER, host_exec.version("gcc"))
    with progress.stage("compile redis"):
        made = store.make(
            "redis-objects", key, {"flags": UKL_FLAGS}, lambda place: _compile(source, place)
        )
    return AppSpec(
        name="redis",
        origin=Path(__file__),
        directory=made,
        sources=(),
        objects=(
            *sorted((made / "redis" / "src").glob("*.o")),
            *(made / "redis" / name for name in LIBRARIES),
        ),
        libraries=("m",),
        args=("--protected-mode", "no", "--save", ""),
        ports=(PortForward(6379, 6379),),
    )


def _source(store: Store) -> Path:
    release = platform.freedesktop_os_release()
    name, suite = release.get("ID", ""), release.get("VERSION_CODENAME", "")
    if name not in ARCHIVES or not suite:
        raise Unavailable(f"no source archive known for {release.get('PRETTY_NAME', name)}")

    def work(place: Path) -> None:
        try:
            _download(name, suite, place)
        except UklError as error:
            raise Unavailable(f"the redis source package: {error.message}") from error

    return store.make("redis-source", digest(name, suite), {"suite": suite}, work)


def _download(name: str, suite: str, place: Path) -> None:
    """Fetch the upstream tarball of the source package; apt verifies it.

    With lists of its own: the machine's have no sources, and stay as they are.
    """
    uri, components, keyring = ARCHIVES[name]
    log = place / "fetch.log"
    with TemporaryDirectory(prefix="ukl-apt-") as temporary:
        root = Path(temporary)
        for directory in ("lists/partial", "cache/archives/partial", "source"):
            (root / directory).mkdir(parents=True)
        signed = f"[signed-by={KEYRINGS}/{keyring}] " if Path(KEYRINGS, keyring).exists() else ""
        (root / "sources.list").write_text(f"deb-src {signed}{uri} {suite} {components}\n")
        options = [
            f"-oDir::Etc::sourcelist={root}/sources.list",
            "-oDir::Etc::sourceparts=-",
            f"-oDir::State::Lists={root}/lists",
            f"-oDir::Cache={root}/cache",
            "-oDebug::NoLocking=true",
            "-oAPT::Sandbox::User=",
            "-oAcquire::Retries=2",
        ]
        host_exec.run(["apt-get", *options, "update"], log=log, timeout=180)
        host_exec.run(
            ["apt-get", *options, "source", "--download-only", "redis"],
            cwd=root / "source",
            log=log,
            timeout=180,
        )
        (tarball,) = (root / "source").glob("redis_*.orig.tar.*")
        (place / "orig.tar").write_bytes(tarball.read_bytes())


def _compile(source: Path, place: Path) -> None:
    with tarfile.open(source / "orig.tar") as tar:
        tar.extractall(place, filter="data")
    (tree,) = (path for path in place.iterdir() if path.name.startswith("redis-"))
    tree = tree.rename(place / "redis")
    compiler = place / "cc"
    compiler.write_text(COMPILER.format(flags=shlex.join(UKL_FLAGS)))
    compiler.chmod(0o755)
    host_exec.run(
        [
            "make",
            "-j2",
            "-C",
            str(tree / "src"),
            f"CC={compiler}",
            "MALLOC=libc",
            "BUILD_TLS=no",
            "USE_SYSTEMD=no",
            "OPTIMIZATION=-O2",
            "redis-server",
        ],
        log=place / "compile.log",
        timeout=900,
    )
