# SPDX-License-Identifier: GPL-2.0
"""Composes the rooms: specification -> application, kernel, image.

The steps themselves live in app/, kernel/ and image/; here is only their order. What runs
an image is in running.py: a build need not load it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ukl import __version__
from ukl.app import build as app_build
from ukl.app import captured
from ukl.base.errors import InputError
from ukl.base.model import (
    AppObject,
    AppSpec,
    Disk,
    Image,
    KernelBuild,
    KernelSpec,
    Level,
    PortForward,
    Returns,
    Volume,
)
from ukl.base.progress import Progress
from ukl.host import packages
from ukl.host.requirements import REQUIREMENTS
from ukl.host.store import Store, digest, jsonable
from ukl.image import initrd as initrd_room
from ukl.kernel import build as kernel_build
from ukl.kernel import (
    check_profile,
    compare,
    default_spec,
    each,
    export,
    make_args,
    trial,
    versions,
)
from ukl.kernel import link as kernel_link
from ukl.kernel import source as kernel_source_room
from ukl.pgo import counts as pgo_counts
from ukl.recipe import build as recipe_build
from ukl.recipe import python
from ukl.settings.volumes import merged

BUILD_TOOLS = tuple(row.tool for row in REQUIREMENTS if not row.optional)
"""What must be there before a kernel is built: found missing at once, not after minutes."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says instead of the manifest; None: the manifest's."""

    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortForward, ...] | None = None
    volumes: tuple[Volume, ...] = ()
    disks: tuple[Disk, ...] = ()
    memory: int | None = None
    cpus: int | None = None
    profile: str | None = None
    counts: Path | None = None
    level: Level | None = None
    lto: bool | None = None
    returns: Returns | None = None
    page_size: int | None = None
    populate: bool | None = None
    userspace: bool | None = None


def overridden(spec: AppSpec, overrides: Overrides) -> AppSpec:
    """Return the specification with the command line's words in it. Pure."""
    counts = overrides.counts or spec.counts
    return replace(
        spec,
        counts=counts,
        others=tuple(replace(other, counts=counts) for other in spec.others),
        args=spec.args if overrides.args is None else overrides.args,
        env={**spec.env, **overrides.env},
        ports=spec.ports if overrides.ports is None else overrides.ports,
        volumes=merged(spec.volumes, overrides.volumes),
        disks=merged(spec.disks, overrides.disks),
        memory=overrides.memory or spec.memory,
        cpus=overrides.cpus or spec.cpus,
        level=overrides.level or spec.level,
        lto=spec.lto if overrides.lto is None else overrides.lto,
        returns=overrides.returns or spec.returns,
        page_size=overrides.page_size or spec.page_size,
        populate=spec.populate if overrides.populate is None else overrides.populate,
        userspace=spec.userspace if overrides.userspace is None else overrides.userspace,
        kernel_profile=spec.kernel_profile if overrides.profile is None else overrides.profile,
    )


# --- kernel -----------------------------------------------------------------


def kernel_spec(
    store: Store,
    progress: Progress,
    source: str | None,
    options: Mapping[str, str],
    profile: str = "",
    *,
    patched: bool = True,
    counts: Path | None = None,
) -> KernelSpec:
    """Return what a kernel is built of; its source is fetched if need be."""
    # Before a source is fetched into it
    make_args.check_path(store.root)
    check_profile(profile)
    directory = None if counts is None else pgo_counts.unpacked(counts, pgo_counts.KERNEL, store)
    found = kernel_source_room.fetch(source, store, progress)
    return replace(default_spec(found, options, profile), patched=patched, counts=directory)


def build_kernel(
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    kernel_options: Mapping[str, str] | None = None,
    profile: str = "",
    patched: bool = True,
    counts: Path | None = None,
    jobs: int | None = None,
) -> KernelBuild:
    """Return the compiled kernel objects, from the cache if they are there.

    `patched` False: those of the source as it is, with the same configuration otherwise.
    `counts` is a file of branches' counts, by which they are compiled.
    """
    packages.require(*BUILD_TOOLS)
    options = kernel_options or {}
    spec = kernel_spec(
        store, progress, kernel_source, options, profile, patched=patched, counts=counts
    )
    return kernel_build.build(spec, store, progress, jobs)


def kernel_config(
    directory: Path,
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    kernel_options: Mapping[str, str] | None = None,
    profile: str = "",
    patched: bool = True,
) -> Path:
    """Write the `.config` into `directory` and return its path."""
    packages.require(*BUILD_TOOLS)
    options = kernel_options or {}
    spec = kernel_spec(store, progress, kernel_source, options, profile, patched=patched)
    directory.mkdir(parents=True, exist_ok=True)
    return kernel_build.config(spec, store, progress, directory)


def kernel_compare(
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    jobs: int | None = None,
) -> compare.Comparison:
    """Return what the series changes in object code where CONFIG_UKL is off."""
    packages.require(*BUILD_TOOLS)
    spec = kernel_spec(store, progress, kernel_source, {})
    return compare.compare(spec, store, progress, jobs)


def kernel_each(
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    first: int = 1,
    last: int | None = None,
    full: bool = False,
    quick: bool = False,
    jobs: int | None = None,
) -> each.Report:
    """Return whether the kernel builds after each of the patches `first` to `last` (the end)."""
    packages.require(*BUILD_TOOLS)
    spec = kernel_spec(store, progress, kernel_source, {})
    return each.check(
        spec, store, progress, first=first, last=last, full=full, quick=quick, jobs=jobs
    )


def kernel_export(directory: Path, series: str | None = None) -> list[Path]:
    """Write the patch series as mails into `directory` and return the files.

    `series` names one by its kernel, such as 6.12; the newest otherwise.
    """
    return export.export(_series(series).series, directory)


def kernel_try(
    want: str | None, store: Store, progress: Progress, series: str | None = None
) -> trial.Report:
    """Return how the series applies to a kernel of whatever version.

    `want` is as in `trial.tree`; `series` as in `kernel_export`.
    """
    packages.require("patch")
    base = _series(series)
    found = trial.tree(want, versions.bases(), store, progress)
    return trial.check(base, found, progress)


def _series(name: str | None) -> versions.Base:
    known = {base.series.parent.name: base for base in versions.bases()}
    name = name or next(iter(known))
    if name not in known:
        raise InputError(
            f"there is no series for Linux {name}", remedy=f"there are: {', '.join(known)}"
        )
    return known[name]


# --- application and image ---------------------------------------------------


def kernel_options(specs: Sequence[AppSpec]) -> dict[str, str]:
    """Return the options that all of `specs` ask for; InputError where they disagree."""
    options: dict[str, str] = {}
    for spec in specs:
        for name, value in spec.kernel_options.items():
            if options.setdefault(name, value) != value:
                raise InputError(
                    f"{name} is to be `{options[name]}` for one application and `{value}` "
                    f"for {spec.name}",
                    where=spec.origin,
                    remedy="applications in one kernel have to agree on its options",
                )
    return options


def kernel_profile(specs: Sequence[AppSpec]) -> str:
    """Return the profile of those of `specs` that ask for one; InputError for two."""
    asked = {spec.kernel_profile: spec for spec in specs if spec.kernel_profile}
    if len(asked) > 1:
        raise InputError(
            f"the kernel is to have the profiles {' and '.join(sorted(asked))}",
            where=specs[0].origin,
            remedy="applications in one kernel have to agree on its profile",
        )
    return next(iter(asked), "")


def prepared(spec: AppSpec, store: Store, progress: Progress, jobs: int | None = None) -> AppSpec:
    """Return `spec` with the programs of its recipes built; the same where there is none."""
    spec = python.placed(spec, progress)
    if spec.build is None and not any(other.build for other in spec.others):
        return spec
    packages.require(*BUILD_TOOLS)
    others = (prepared(other, store, progress, jobs) for other in spec.others)
    return recipe_build.prepared(replace(spec, others=tuple(others)), store, progress, jobs)


def _objects(
    spec: AppSpec, store: Store, progress: Progress, kernel: KernelBuild | None = None
) -> list[AppObject]:
    """Return the application's object, and the others'; `kernel` is for those with `lto`."""
    return [_object(each, store, progress, kernel) for each in (spec, *spec.others)]


def _object(
    spec: AppSpec, store: Store, progress: Progress, kernel: KernelBuild | None
) -> AppObject:
    if spec.program:
        if spec.lto:
            raise InputError(
                "--lto is for programs of [app] sources; this one's build system compiles it",
                where=spec.origin,
                remedy="leave --lto out",
            )
        return captured.build(spec, store, progress)
    return app_build.build(spec, store, progress, kernel if spec.lto else None)


def link_map(spec: AppSpec, kernel: KernelBuild, store: Store, progress: Progress) -> Path:
    """Return ld's map of the image that `build_image` made."""
    apps = _objects(spec, store, Progress.quiet(), kernel)
    with progress.stage("which object is where in vmlinux"):
        return kernel_link.link_map(kernel, apps, store)


def build_image(
    spec: AppSpec,
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    patched: bool = True,
    jobs: int | None = None,
) -> tuple[AppObject, KernelBuild, Image]:
    """Return the application's object, the kernel it goes into, and both linked.

    `patched` False: a kernel of the same configuration that knows nothing of applications,
    for the normal executable.
    """
    packages.require(*BUILD_TOOLS)
    spec = prepared(spec, store, progress, jobs)
    specs = (spec, *spec.others)
    ahead = not any(each.lto for each in specs)  # what is wrong with a program, in seconds
    apps = _objects(spec, store, progress) if ahead else []
    kernel = build_kernel(
        store,
        progress,
        kernel_source=kernel_source,
        kernel_options=kernel_options(specs),
        profile=kernel_profile(specs),
        patched=patched,
        counts=spec.counts,
        jobs=jobs,
    )
    app, *others = apps or _objects(spec, store, progress, kernel)
    if not patched:
        return app, kernel, kernel_link.link(kernel, None, store, progress)
    return app, kernel, kernel_link.link(kernel, app, store, progress, others)


def build_into(
    spec: AppSpec,
    directory: Path,
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Write the bootable files and a manifest into `directory`; return the manifest.

    `directory` appears (or is exchanged for the new one) when all files are whole.
    An existing one must be empty or ours: InputError otherwise.
    """
    _check_output(directory)
    spec = prepared(spec, store, progress, jobs)
    app, kernel, image = build_image(spec, store, progress, kernel_source=kernel_source, jobs=jobs)
    initrd = initrd_room.build(
        image, spec, app.user, store, progress, userspace=initrd_room.has_userspace(spec)
    )
    sources = {
        "vmlinux": image.vmlinux,
        "bzImage": image.bzimage,
        "initrd": initrd,
        "System.map": image.system_map,
    }
    summary: dict[str, Any] = {
        "ukl": __version__,
        "name": spec.name,
        "kernel": kernel.version,
        "build_id": image.build_id.hex(),
        "keys": {"app": app.key, "kernel": kernel.key, "image": image.key},
        "facts": jsonable(app.facts),
        "files": {name: path.stat().st_size for name, path in sources.items()},
        "digests": {name: digest(path) for name, path in sources.items()},
    }
    with progress.stage(f"write {directory}"), beside(directory) as temporary:
        for name, path in sources.items():
            shutil.copyfile(path, temporary / name)
        (temporary / "manifest.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


_OUTPUTS = frozenset({"vmlinux", "bzImage", "initrd", "System.map", "manifest.json"})


def _check_output(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputError(
            "this is not a directory", where=directory, remedy="name another one with -o"
        )
    strange = {path.name for path in directory.iterdir()} - _OUTPUTS if directory.exists() else None
    if strange:
        raise InputError(
            f"the output directory holds something else: {min(strange)}",
            where=directory,
            remedy="name an empty or a new directory with -o",
        )


@contextlib.contextmanager
def beside(directory: Path) -> Iterator[Path]:
    """Give an empty directory that takes the place of `directory` when the block succeeds."""
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
