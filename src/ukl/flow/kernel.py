# SPDX-License-Identifier: GPL-2.0
"""The steps of a kernel: configure, build, compare, try and export it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.base.model import AppSpec, KernelBuild, KernelSource, KernelSpec
from ukl.flow.context import Context
from ukl.host import packages
from ukl.host.requirements import REQUIREMENTS
from ukl.kernel import build as kernel_build
from ukl.kernel import (
    check_profile,
    compare,
    default_spec,
    each,
    export,
    make_args,
    source,
    trial,
    versions,
)
from ukl.kernel.suites import MovedOn
from ukl.pgo import counts

BUILD_TOOLS = tuple(row.tool for row in REQUIREMENTS if not row.optional)
"""Tools that are looked up first: a missing one is reported at once, not after minutes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The kernel to build: options, profile, a file of branch counts, and the series.

    `series` is empty for the default. `patched` False leaves the source unpatched; otherwise the
    configuration is the same.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    profile: str = ""
    patched: bool = True
    pgo: Path | None = None
    series: str = ""


PLAIN = Wanted()


def wanted_by(specs: Sequence[AppSpec]) -> Wanted:
    """Return the kernel that all applications need; InputError if they disagree. Pure."""
    options: dict[str, str] = {}
    for spec in specs:
        for name, value in spec.kernel_options.items():
            if options.setdefault(name, value) != value:
                raise InputError(
                    f"{name} is `{options[name]}` for one application and `{value}` "
                    f"for {spec.name}",
                    where=spec.origin,
                    remedy="applications in one kernel must agree on its options",
                )
    profile = _common(specs, "kernel profiles", [spec.profile for spec in specs])
    series = _common(specs, "kernels", [spec.kernel_version for spec in specs])
    return Wanted(options, profile, pgo=specs[0].pgo, series=series)


def _common(specs: Sequence[AppSpec], what: str, asked: Sequence[str]) -> str:
    """Return what all ask for that ask for one; InputError if they disagree."""
    found = sorted({each for each in asked if each})
    if len(found) > 1:
        raise InputError(
            f"the applications ask for the {what} {' and '.join(found)}",
            where=specs[0].origin,
            remedy="applications in one kernel must agree on it",
        )
    return found[0] if found else ""


def fetched(context: Context, series: str = "") -> KernelSource:
    """Return the kernel's source; `series` as in Wanted.

    If Debian has only other kernels by now, the error says whether the patches would apply to
    the newest.
    """
    series = context.series or series
    try:
        return source.fetch(context.kernel_source, context.store, context.progress, series=series)
    except MovedOn as error:
        newest = next(iter(error.found), None)
        if newest is not None:
            with contextlib.suppress(UklError):  # the first error is more important
                found = tried(newest, context, series)
                error.message += f"; {found.summary()} (`ukl kernel try {newest}`)"
        raise


def specified(wanted: Wanted, context: Context) -> KernelSpec:
    """Return the specification of a kernel; fetch its source if necessary."""
    make_args.check_path(context.store.root)  # before a source is fetched into it
    check_profile(wanted.profile)
    pgo = None
    if wanted.pgo is not None:
        pgo = counts.unpacked(wanted.pgo, counts.KERNEL, context.store)
    found = fetched(context, wanted.series)
    spec = default_spec(found, wanted.options, wanted.profile)
    return replace(spec, patched=wanted.patched, pgo=pgo)


MINUTES = 10
"""What the objects of a kernel take on one idle processor, roughly."""


def announce(kernels: Iterable[Wanted], context: Context) -> None:
    """Say which of the kernels have to be built, and how long that takes, before it begins."""
    packages.require(*BUILD_TOOLS)
    missing: list[Wanted] = []
    for wanted in kernels:
        if wanted not in missing and not kernel_build.is_built(
            specified(wanted, context), context.store, context.progress
        ):
            missing.append(wanted)
    if missing:
        minutes = -(-MINUTES // (context.jobs or len(os.sched_getaffinity(0))))
        what = "a kernel is" if len(missing) == 1 else f"{len(missing)} kernels are"
        context.progress.line(
            f"  {what} built first: about {minutes} min each where nothing else runs, less where "
            "the cache has a similar one"
        )


def build(wanted: Wanted, context: Context) -> KernelBuild:
    """Return the compiled kernel objects; compile them if they are not in the cache."""
    packages.require(*BUILD_TOOLS)
    spec = specified(wanted, context)
    return kernel_build.build(spec, context.store, context.progress, context.jobs)


def config(directory: Path, wanted: Wanted, context: Context) -> Path:
    """Write the `.config` into `directory` and return its path."""
    packages.require(*BUILD_TOOLS)
    spec = specified(wanted, context)
    directory.mkdir(parents=True, exist_ok=True)
    return kernel_build.config(spec, context.store, context.progress, directory)


def compared(context: Context) -> compare.Comparison:
    """Return how the series changes object code without CONFIG_UKL."""
    packages.require(*BUILD_TOOLS)
    spec = specified(PLAIN, context)
    return compare.compare(spec, context.store, context.progress, context.jobs)


def each_patch(
    context: Context,
    *,
    first: int = 1,
    last: int | None = None,
    full: bool = False,
    quick: bool = False,
) -> each.Report:
    """Return whether the kernel builds after each patch from `first` to `last` (None: the end)."""
    packages.require(*BUILD_TOOLS)
    return each.check(
        specified(PLAIN, context),
        context.store,
        context.progress,
        first=first,
        last=last,
        full=full,
        quick=quick,
        jobs=context.jobs,
    )


def exported(directory: Path, series: str | None = None) -> list[Path]:
    """Write the patch series as mails into `directory` and return the files.

    `series` is the name of a series, such as 6.12 (None: the newest).
    """
    return export.export(_series(series).series, directory)


def tried(want: str | None, context: Context, series: str | None = None) -> trial.Report:
    """Return how the patch series applies to a kernel: a version, tarball, tree or package.

    With `want` None it is the newest kernel in the suites that the series names. `series` is as in
    exported().
    """
    packages.require("patch")
    base = _series(series)
    found = trial.tree(want, base, versions.bases(), context.store, context.progress)
    return trial.check(base, found, context.progress)


def _series(name: str | None) -> versions.Base:
    known = versions.bases()
    name = name or os.environ.get(source.SERIES)
    return versions.named(name, known) if name else known[0]
