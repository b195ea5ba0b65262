# SPDX-License-Identifier: GPL-2.0
"""Builds everything that a specification needs to boot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.app import as_is, captured
from ukl.app import build as app_build
from ukl.base.errors import InputError
from ukl.base.model import AppObject, AppSpec, Code, Guest, Image, KernelBuild, Level, Mode
from ukl.elf.reader import Elf
from ukl.flow import containers, needs
from ukl.flow import kernel as kernels
from ukl.flow.context import Context
from ukl.host import packages
from ukl.host.store import digest
from ukl.image import initrd as initrds
from ukl.kernel import link as kernel_link
from ukl.kernel import side as kernel_side
from ukl.recipe import build as recipe_build
from ukl.recipe import bytecode, installed, python

LUAJIT = "luaJIT_setmode"
"""A function of LuaJIT."""


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
    if script is not None and (found := installed.chosen(script)) is not None:
        return installed.prepared(spec, script, found, context.store, context.progress)
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
        fast = patched and mode is Mode.UNIKERNEL and spec.level is Level.FAST
        return _as_is(spec, context, patched=patched, fast=fast)
    if spec.code is not Code.NONE:
        spec = as_is.with_objects(spec)
    specs = (spec, *spec.with_)
    # Without LTO, first link the applications: errors in them are found within seconds.
    apps_first = not any(each.lto for each in specs)
    apps = _objects(spec, context) if apps_first else []
    kernel = kernels.build(replace(kernels.wanted_by(specs), patched=patched), context)
    apps = apps or _objects(spec, context, kernel)
    if patched:
        apps = _with_kernel_code(apps, specs, context, kernel)
    app, *others = apps
    if patched and mode is Mode.UNIKERNEL:
        _say_slow((app, *others), context)
    image = (
        kernel_link.link(kernel, app, context.store, context.progress, others)
        if patched
        else kernel_link.link(kernel, None, context.store, context.progress)
    )
    return Linked(spec, app, kernel, image)


def _say_slow(apps: Sequence[AppObject], context: Context) -> None:
    """Say what `ukl check` says of LuaJIT: no error shows it."""
    for app in apps:
        if Elf.open(app.path).addresses([LUAJIT]):
            context.progress.line(
                f"  {app.name}: LuaJIT's compiler finds no memory near the program's text in ring "
                "0, and is slower than its interpreter: turn it off (jit.off(), -joff)"
            )


def _as_is(spec: AppSpec, context: Context, *, patched: bool, fast: bool) -> Linked:
    """Return a program that runs as it is, and its kernel. `fast`: its system calls are calls."""
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
    if fast:
        with context.progress.stage(f"fast calls of {spec.name}"):
            spec = as_is.with_fast_calls(spec, context.store)
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


def link_map(found: Linked, context: Context) -> Path:
    """Return ld's map of an image."""
    spec, kernel, quiet = found.spec, found.kernel, context.quiet()
    apps: list[AppObject] = []
    if found.image.directory != kernel.directory:  # not the plain kernel
        apps = _objects(spec, quiet, kernel)
        apps = _with_kernel_code(apps, (spec, *spec.with_), quiet, kernel)
    with context.progress.stage("link map of vmlinux"):
        return kernel_link.link_map(kernel, apps, context.store)


def _objects(spec: AppSpec, context: Context, kernel: KernelBuild | None = None) -> list[AppObject]:
    """Return the objects of all applications; `kernel` is needed by those with `lto`."""
    return [_object(each, context, kernel) for each in (spec, *spec.with_)]


def _with_kernel_code(
    apps: Sequence[AppObject], specs: Sequence[AppSpec], context: Context, kernel: KernelBuild
) -> list[AppObject]:
    """Return the applications with the objects of their kernel code."""
    found = []
    for app, spec in zip(apps, specs, strict=True):
        if spec.kernel_sources:
            from ukl.settings import exports  # noqa: PLC0415 - pycparser takes 0.1 s

            names = [each.name for each in exports.all_of(spec.kernel_sources)]
            side = kernel_side.build(spec, names, kernel, context.store, context.progress)
            app = replace(app, side=side, key=digest(app.key, side))  # noqa: PLW2901
        found.append(app)
    return found


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
