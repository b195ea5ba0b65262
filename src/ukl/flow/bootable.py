# SPDX-License-Identifier: GPL-2.0
"""Builds everything that a specification needs to boot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ukl.app import as_is, captured
from ukl.app import build as app_build
from ukl.base.errors import InputError
from ukl.base.model import AppObject, AppSpec, Guest, Image, KernelBuild, Mode
from ukl.flow import containers, needs
from ukl.flow import kernel as kernels
from ukl.flow.context import Context
from ukl.host import packages
from ukl.image import initrd as initrds
from ukl.kernel import link as kernel_link
from ukl.recipe import build as recipe_build
from ukl.recipe import bytecode, python


@dataclass(frozen=True, slots=True)
class Linked:
    """An application, its kernel, and the image of both."""

    spec: AppSpec
    """The specification, with the programs of its recipes built."""
    app: AppObject
    kernel: KernelBuild
    image: Image


@dataclass(frozen=True, slots=True)
class Bootable(Linked):
    """A linked application with its initrd."""

    initrd: Path


def prepared(spec: AppSpec, context: Context) -> AppSpec:
    """Return `spec` with the programs of its recipes built."""
    script = spec.python
    spec = python.with_files(spec, context.progress)
    if spec.build is None and not any(each.build for each in spec.with_):
        return spec
    packages.require(*kernels.BUILD_TOOLS)
    others = tuple(prepared(each, context) for each in spec.with_)
    built = recipe_build.prepared(
        replace(spec, with_=others), context.store, context.progress, context.jobs
    )
    if script is None:
        return built
    return bytecode.with_files(built, script, context.store, context.progress)


def linked(
    spec: AppSpec, context: Context, *, patched: bool = True, mode: Mode = Mode.UNIKERNEL
) -> Linked:
    """Return the application linked into its kernel.

    `mode` is how a program of a container image will run. With `patched` False the kernel has
    the same configuration but is unpatched and without the application, which then runs as its
    normal executable.
    """
    packages.require(*kernels.BUILD_TOOLS)
    needs.check((spec, *spec.with_), kernels.wanted_by((spec, *spec.with_)))
    if spec.root is not None:
        return _with_kernel(containers.prepared(spec, context, mode), context, patched=patched)
    spec = prepared(spec, context)
    if as_is.is_as_is(spec, context.store):
        return _as_is(spec, context, patched=patched)
    specs = (spec, *spec.with_)
    # Without LTO, first link the applications: errors in them are found within seconds.
    apps_first = not any(each.lto for each in specs)
    apps = _objects(spec, context) if apps_first else []
    kernel = kernels.build(replace(kernels.wanted_by(specs), patched=patched), context)
    app, *others = apps or _objects(spec, context, kernel)
    image = (
        kernel_link.link(kernel, app, context.store, context.progress, others)
        if patched
        else kernel_link.link(kernel, None, context.store, context.progress)
    )
    return Linked(spec, app, kernel, image)


def _as_is(spec: AppSpec, context: Context, *, patched: bool) -> Linked:
    """Return a program that runs as it is, and its kernel."""
    for option, given in (
        ("--lto", spec.lto),
        ("--with", spec.with_),
        ("--populate", spec.populate),
    ):
        if given:
            raise InputError(
                f"{option} is for programs that are linked into the kernel",
                where=spec.origin,
                remedy=f"leave {option} out, or build the program with: ukl wrap -- COMMAND",
            )
    with context.progress.stage(f"find what {spec.name} loads") as stage:
        spec = as_is.prepared(spec)
        stage.result(f"{len(spec.files)} files")
    return _with_kernel(spec, context, patched=patched)


def _with_kernel(spec: AppSpec, context: Context, *, patched: bool) -> Linked:
    """Return a program that is not linked in, and a kernel that starts it."""
    kernel = kernels.build(replace(kernels.wanted_by((spec,)), patched=patched), context)
    app = as_is.build(spec)
    path = spec.start.aside if spec.start is not None else ""
    image = (
        kernel_link.program(kernel, spec.name, path or spec.executable, context.store)
        if patched
        else kernel_link.link(kernel, None, context.store, context.progress)
    )
    return Linked(spec, app, kernel, image)


def bootable(
    spec: AppSpec, context: Context, guest: Guest | None = None, *, patched: bool = True
) -> Bootable:
    """Return what boots `spec`; `guest` determines further contents of the initrd."""
    guest = guest or Guest()
    found = linked(spec, context, patched=patched, mode=guest.mode)
    initrd = initrds.build(
        found.image,
        found.spec,
        found.app.user,
        context.store,
        context.progress,
        userspace=initrds.needs_userspace(found.spec, guest),
    )
    return Bootable(found.spec, found.app, found.kernel, found.image, initrd)


def link_map(spec: AppSpec, kernel: KernelBuild, context: Context) -> Path:
    """Return ld's map of the image that linked() made."""
    apps = _objects(spec, context.quiet(), kernel)
    with context.progress.stage("link map of vmlinux"):
        return kernel_link.link_map(kernel, apps, context.store)


def _objects(spec: AppSpec, context: Context, kernel: KernelBuild | None = None) -> list[AppObject]:
    """Return the objects of all applications; `kernel` is needed by those with `lto`."""
    return [_object(each, context, kernel) for each in (spec, *spec.with_)]


def _object(spec: AppSpec, context: Context, kernel: KernelBuild | None) -> AppObject:
    if not spec.program:
        return app_build.build(spec, context.store, context.progress, kernel if spec.lto else None)
    if spec.lto:
        raise InputError(
            "--lto requires [app] sources; this program is compiled by its own build system",
            where=spec.origin,
            remedy="leave --lto out",
        )
    return captured.build(spec, context.store, context.progress)
