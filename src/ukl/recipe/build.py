# SPDX-License-Identifier: GPL-2.0
"""Runs a recipe's build commands with the compiler wrapper, once per content.

The key covers all that the result depends on: the source, the commands, the packages
they need with their versions, the wrapper and the compiler.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ukl import wrap
from ukl.app import captured
from ukl.base.errors import InputError, MissingError
from ukl.base.model import AppSpec, BuildSpec
from ukl.base.progress import Progress
from ukl.base.resources import path as resource
from ukl.host import exec as host_exec
from ukl.host import packages as host_packages
from ukl.host.programs import clean_environment
from ukl.host.requirements import install_command
from ukl.host.store import Command, Store, digest
from ukl.pgo import counts
from ukl.pgo.flags import COUNTED, COUNTING
from ukl.recipe import debian, fetch, newest
from ukl.wrap import driver

KIND = "recipe"
TREE = "tree"
"""Directory of the cache entry with the built source."""

LOG = "build.log"
"""File of the cache entry with the output of the commands."""

FORMAT = 3
"""Part of the key. Raise it when the same inputs are built in another way."""

TIMEOUT = 3600.0
"""Seconds for each command."""

EPOCH = "1700000000"
"""SOURCE_DATE_EPOCH: the time that reproducible builds write in place of their own."""

WRAPPER = (
    "wrap/*.py",
    "base/cflags.py",
    "base/pkgconfig.py",
    "app/captured.py",
    "app/link.py",
    "app/linking.py",
    "app/sections.py",
)
"""The code that makes the unikernel form of a linked program."""

DPKG_SOURCE = "dpkg-dev"
"""Package that unpacks source packages."""


def prepared(spec: AppSpec, store: Store, progress: Progress, jobs: int | None = None) -> AppSpec:
    """Return `spec` with its program built, or `spec` itself if it has no [build].

    Raises InputError when a command fails or the program is not made, MissingError when
    packages are missing and cannot be installed, and the errors of fetch.py.
    """
    spec = newest.named(spec)
    build = spec.build
    if build is None:
        return spec
    needed = (*build.packages, *((DPKG_SOURCE,) if build.source.debian else ()))
    if not store.dry:
        ensure(needed, spec.name, progress)
    fetched = fetch.fetch(build.source, spec.origin, store, progress)
    counted = None if spec.pgo is None else counts.unpacked(spec.pgo, counts.TREE, store)
    flags = COUNTING if spec.counting else COUNTED if counted is not None else ()
    key = _key(build, fetched, spec, flags, counted)
    with progress.stage(f"build {spec.name}") as stage:
        if store.get(KIND, key) is not None:
            stage.cached()
        lines = 0

        def line(text: str) -> None:
            nonlocal lines
            lines += 1
            stage.update(lines, None, text.strip()[:60])

        def work(directory: Path) -> None:
            log = directory / LOG
            tree = directory / TREE
            fetch.unpack(fetched, tree, log)
            for patch in build.patches:
                argv = ["patch", "-p1", "--no-backup-if-mismatch", "-i", str(patch)]
                _run(argv, spec, f"patch {patch.name}", tree=tree, log=log)
            for file in build.overlay:
                shutil.copy(file, tree / file.name)
            if counted is not None:
                shutil.copytree(counted, tree, dirs_exist_ok=True)
            environment = _environment(build, store, directory, jobs) | source_version(tree)
            if flags:
                environment[driver.FLAGS] = " ".join(flags)
            for command in build.commands:
                argv = ["sh", "-e", "-c", command]
                _run(argv, spec, command, tree=tree, log=log, env=environment, on_line=line)
            _check(build, tree, spec, log)
            captured.bring(tree / build.program, store)
            _check_object(build, tree, spec, store, log)

        inputs = {"name": spec.name, "source": fetched.origin, "commands": build.commands}

        def commands(directory: Path) -> list[Command]:
            tree = directory / TREE
            patches = [("patch", "-p1", "-i", str(patch)) for patch in build.patches]
            shells = [("sh", "-e", "-c", command) for command in build.commands]
            return [Command(argv, tree) for argv in (*patches, *shells)]

        entry = store.make(KIND, key, inputs, work, commands)
        # Another recipe may have built it, for another program of the same source.
        _check(build, entry / TREE, spec, entry / LOG)
        _check_object(build, entry / TREE, spec, store, entry / LOG)
    tree = entry / TREE
    files = {**{guest: tree / name for guest, name in build.files.items()}, **spec.files}
    return replace(spec, build=None, program=tree / build.program, files=files)


def tree_of(spec: AppSpec, build: BuildSpec) -> Path:
    """Return the built source tree of a specification from prepared()."""
    assert spec.program is not None
    path = spec.program
    for _ in Path(build.program).parts:
        path = path.parent
    return path


def source_version(tree: Path) -> dict[str, str]:
    """Return SOURCE_VERSION for commands: the version of the Debian package in `tree`, if any."""
    found = debian.changelog_version(tree)
    return {"SOURCE_VERSION": found} if found else {}


def _key(
    build: BuildSpec,
    fetched: fetch.Fetched,
    spec: AppSpec,
    flags: Sequence[str],
    counted: Path | None,
) -> str:
    for kind, files in (("patch", build.patches), ("file", build.overlay)):
        for file in files:
            if not file.is_file():
                raise InputError(
                    f"no such {kind}", where=file, remedy=f"correct [build] in {spec.origin}"
                )
    return digest(
        FORMAT,
        fetched.identity,
        build.commands,
        build.env,
        list(build.patches),
        [(file.name, file) for file in build.overlay],
        host_packages.versions(build.packages),
        wrapper_identity(),
        host_exec.version("gcc"),
        host_exec.version("ld"),
        *([flags, counted] if flags else ()),
    )


def wrapper_identity() -> str:
    """Return a digest of the code that turns a link into its unikernel form."""
    package = resource("kernel/overlay/scripts/ukl")
    top = Path(wrap.__file__).parent.parent
    sources = [file for pattern in WRAPPER for file in sorted(top.glob(pattern))]
    return digest([[file.name, digest(file)] for file in sources], package)


def _environment(
    build: BuildSpec, store: Store, directory: Path, jobs: int | None
) -> dict[str, str]:
    """Return the environment of the commands: the wrapper's, nothing from the caller's."""
    home = directory / ".home"
    home.mkdir()
    base = {**clean_environment(), "HOME": str(home)}
    return {
        **base,
        **wrap.environment(base, store),
        "JOBS": str(jobs or len(os.sched_getaffinity(0))),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": EPOCH,
        "UKL_CACHE_DIR": str(store.root),
        **build.env,
    }


def _run(
    argv: Sequence[str],
    spec: AppSpec,
    shown: str,
    *,
    tree: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    try:
        host_exec.run(argv, cwd=tree, env=env, log=log, timeout=TIMEOUT, on_line=on_line)
    except host_exec.CommandFailed as error:
        raise InputError(
            f"the build of {spec.name} failed: `{shown}` ended with status {error.returncode}:\n"
            f"{error.tail}",
            where=spec.origin,
            remedy="see the log; `sh -e -c` runs the commands in the source's top directory",
            log=log,
        ) from error


def _check(build: BuildSpec, tree: Path, spec: AppSpec, log: Path) -> None:
    for name in (build.program, *build.files.values()):
        if not (tree / name).exists():
            raise InputError(
                f"the commands of [build] did not make {name}",
                where=spec.origin,
                remedy="correct `program`, `files` or `commands`; "
                "the paths are relative to the source's top directory",
                log=log,
            )
    facts = tree / f"{build.program}.ukl.json"
    if facts.is_file() and (reason := json.loads(facts.read_text()).get("error")):
        raise InputError(
            f"{build.program} has no unikernel form: {reason.get('message')}",
            where=spec.origin,
            remedy=reason.get("remedy"),
            log=log,
        )


def _check_object(build: BuildSpec, tree: Path, spec: AppSpec, store: Store, log: Path) -> None:
    """Raise InputError if there is no unikernel form of the program: a build without is no use."""
    try:
        captured.find(tree / build.program, store)
    except InputError as error:
        raise InputError(
            f"{build.program} has no unikernel form: {error.message}",
            where=spec.origin,
            remedy="the commands must link it by $CC or $CXX, under a name that UKL_WRAP_SKIP "
            "does not match",
            log=log,
        ) from error


def ensure(packages: Sequence[str], name: str, progress: Progress) -> None:
    """Install the missing Debian packages, as the launcher does.

    Raises MissingError with the command to run if UKL_NO_INSTALL is set.
    """
    absent = [package for package in packages if not host_packages.is_installed(package)]
    if not absent:
        return
    if os.environ.get("UKL_NO_INSTALL"):
        raise MissingError(
            f"{name} needs packages that are not installed: {' '.join(absent)}",
            remedy=install_command(*absent),
        )
    progress.line(f"{name} needs packages that are not installed: {' '.join(absent)}")
    begin = time.monotonic()
    host_packages.install(absent)
    progress.line(f"  installed in {time.monotonic() - begin:.0f} s")
