# SPDX-License-Identifier: GPL-2.0
"""The steps of a kernel: configure, build, compare, try and export it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, KernelBuild, KernelSpec
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
from ukl.pgo import counts

BUILD_TOOLS = tuple(row.tool for row in REQUIREMENTS if not row.optional)
"""Tools that are looked up first: a missing one is reported at once, not after minutes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The kernel to build: options, profile, and a file of branch counts.

    `patched` False leaves the source unpatched; otherwise the configuration is the same.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    profile: str = ""
    patched: bool = True
    pgo: Path | None = None


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
    profiles = sorted({spec.profile for spec in specs if spec.profile})
    if len(profiles) > 1:
        raise InputError(
            f"the applications ask for the kernel profiles {' and '.join(profiles)}",
            where=specs[0].origin,
            remedy="applications in one kernel must agree on its profile",
        )
    return Wanted(options, profiles[0] if profiles else "", pgo=specs[0].pgo)


def specified(wanted: Wanted, context: Context) -> KernelSpec:
    """Return the specification of a kernel; fetch its source if necessary."""
    make_args.check_path(context.store.root)  # before a source is fetched into it
    check_profile(wanted.profile)
    pgo = None
    if wanted.pgo is not None:
        pgo = counts.unpacked(wanted.pgo, counts.KERNEL, context.store)
    found = source.fetch(context.kernel_source, context.store, context.progress)
    spec = default_spec(found, wanted.options, wanted.profile)
    return replace(spec, patched=wanted.patched, pgo=pgo)


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

    `series` is the kernel version of a series, such as 6.12 (None: the newest).
    """
    return export.export(_series(series).series, directory)


def tried(want: str | None, context: Context, series: str | None = None) -> trial.Report:
    """Return how the patch series applies to a kernel: a version, tarball, tree or package.

    With `want` None it is the distribution's newest package. `series` is as in exported().
    """
    packages.require("patch")
    base = _series(series)
    found = trial.tree(want, versions.bases(), context.store, context.progress)
    return trial.check(base, found, context.progress)


def _series(name: str | None) -> versions.Base:
    known = {base.series.parent.name: base for base in versions.bases()}
    name = name or next(iter(known))
    if name not in known:
        raise InputError(
            f"there is no series for Linux {name}", remedy=f"the series are: {', '.join(known)}"
        )
    return known[name]
