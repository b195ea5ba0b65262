# SPDX-License-Identifier: GPL-2.0
"""Builds an application and writes its image, with bill of materials and licences."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ukl import __version__
from ukl.base.errors import InputError, MissingError
from ukl.base.model import DHCP, AppSpec, Guest, Network, NetworkKind
from ukl.check import target as check
from ukl.check.model import LinkedLibrary
from ukl.flow import containers
from ukl.flow.bootable import Bootable, bootable
from ukl.flow.build import replacing
from ukl.flow.context import Context
from ukl.host import exec as host_exec
from ukl.host import packages
from ukl.host.programs import clean_environment
from ukl.host.requirements import install_command
from ukl.image import initrd as initrds
from ukl.package import disk, efi, kube, oci, sbom, urunc, vmm
from ukl.package.formats import NEEDS, SBIN, Format, Needs, with_options
from ukl.package.sbom import Part
from ukl.recipe import newest
from ukl.vm import qemu

IMAGE, SBOM, LICENCES, MACHINE = "image", "sbom.spdx.json", "licences.txt", "kubevirt.json"
"""The output: the directory of the OCI layout, and three files."""

BUSYBOX = "busybox-static"
MUSL = "musl-dev"
"""The C library of the guest's init."""
DEBIAN = "Organization: Debian"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to package: the target as the user named it, and its specification.

    `tag` is that of the OCI image, `reference` its name in a registry.
    """

    target: str
    spec: AppSpec
    tag: str
    reference: str
    kind: Format = Format.OCI


@dataclass(frozen=True, slots=True)
class BootFiles:
    """What each format contains: kernel, initrd, and the kernel's arguments."""

    wanted: Wanted
    vmlinux: Path
    kernel: bytes
    initrd: bytes
    arguments: str
    version: str


@dataclass(frozen=True, slots=True)
class Written:
    """The output of a format: the image, its SHA-256 (`sha256:...`), and further files."""

    image: str
    digest: str
    others: tuple[str, ...] = ()


def build(
    wanted: Wanted,
    directory: Path,
    context: Context,
    append: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Write the image into `directory`, which must be new or empty; return its description."""
    _check(wanted.spec, directory)
    wanted = replace(wanted, spec=containers.described(wanted.spec, context))
    _require(NEEDS[wanted.kind])
    # With busybox, whose DHCP client gets an address wherever the image runs.
    guest = Guest(network=Network(NetworkKind.BRIDGE, address=DHCP))
    made = bootable(with_options(wanted.spec, wanted.kind), context, guest)
    spec, image = made.spec, made.image
    root = b""
    if spec.root is not None:  # on a disk, it would not be in all formats
        root = containers.archive(spec, context)
        spec = replace(spec, disks=())
    parts = _parts(wanted, made, context)
    words = qemu.kernel_words(spec, verbose=False)
    words += append
    boot = BootFiles(
        replace(wanted, spec=spec),
        image.vmlinux,
        kernel=image.bzimage.read_bytes(),
        initrd=initrds.portable(
            made.initrd.read_bytes(), spec, image, reset=NEEDS[wanted.kind].resets
        )
        + root,
        arguments=" ".join(words),
        version=made.kernel.version,
    )
    with context.progress.stage(f"write {directory}"), replacing(directory) as temporary:
        written = _WRITERS[wanted.kind](boot, temporary)
        purpose = sbom.CONTAINER if wanted.kind is Format.OCI else sbom.SYSTEM
        document = sbom.document(spec.name, written.digest.partition(":")[2], parts, purpose)
        (temporary / SBOM).write_text(json.dumps(document, indent=1) + "\n")
        (temporary / LICENCES).write_text(sbom.report(parts))
    return {
        "ukl": __version__,
        "name": spec.name,
        "format": wanted.kind,
        "digest": written.digest,
        "image": directory / written.image,
        "files": [directory / name for name in (*written.others, SBOM, LICENCES)],
    }


# --- the formats --------------------------------------------------------------


def _oci(boot: BootFiles, directory: Path) -> Written:
    wanted = boot.wanted
    annotations = urunc.metadata(kube.KERNEL, kube.INITRD)
    layout = oci.layout(
        {
            kube.KERNEL: boot.kernel,
            kube.INITRD: boot.initrd,
            urunc.FILE: urunc.file(annotations),
        },
        tag=wanted.tag,
        labels={
            "org.opencontainers.image.title": wanted.spec.name,
            "org.opencontainers.image.licenses": "GPL-2.0-only",
            "org.unikernel-linux.kernel-arguments": boot.arguments,
            **annotations,
        },
        command=urunc.COMMAND,
    )
    machine = kube.machine(wanted.spec, wanted.reference, boot.arguments)
    _write(
        directory,
        {
            **{f"{IMAGE}/{name}": data for name, data in layout.files.items()},
            MACHINE: kube.text(machine).encode(),
        },
    )
    return Written(IMAGE, layout.digest, (MACHINE,))


def _raw(boot: BootFiles, directory: Path) -> Written:
    file = directory / f"{boot.wanted.spec.name}.raw"
    with tempfile.TemporaryDirectory(prefix="ukl-disk-") as scratch:
        disk.write(file, boot.kernel, boot.initrd, boot.arguments, Path(scratch))
    return _one(file)


def _qcow2(boot: BootFiles, directory: Path) -> Written:
    file = directory / f"{boot.wanted.spec.name}.qcow2"
    with tempfile.TemporaryDirectory(prefix="ukl-disk-") as scratch:
        raw = Path(scratch, "disk.raw")
        disk.write(raw, boot.kernel, boot.initrd, boot.arguments, Path(scratch))
        disk.qcow2(raw, file)
    return _one(file)


def _efi(boot: BootFiles, directory: Path) -> Written:
    name = boot.wanted.spec.name
    file = directory / f"{name}.efi"
    sections = efi.sections(boot.kernel, boot.initrd, boot.arguments, name, boot.version)
    with tempfile.TemporaryDirectory(prefix="ukl-efi-") as scratch:
        efi.write(file, sections, Path(scratch))
    return _one(file)


def _firecracker(boot: BootFiles, directory: Path) -> Written:
    config = vmm.firecracker(boot.wanted.spec, boot.arguments)
    return _monitor(boot, directory, vmm.FIRECRACKER, config)


def _cloud_hypervisor(boot: BootFiles, directory: Path) -> Written:
    config = vmm.cloud_hypervisor(boot.wanted.spec, boot.arguments)
    return _monitor(boot, directory, vmm.CLOUD_HYPERVISOR, config)


def _monitor(boot: BootFiles, directory: Path, name: str, config: dict[str, Any]) -> Written:
    """Write kernel, initrd and configuration; the kernel without the unneeded symbols."""
    kernel = directory / vmm.KERNEL
    host_exec.run(["objcopy", "--strip-all", boot.vmlinux, kernel])
    _write(directory, {vmm.INITRD: boot.initrd, name: kube.text(config).encode()})
    return replace(_one(kernel), others=(vmm.INITRD, name))


def _one(file: Path) -> Written:
    with file.open("rb") as stream:
        return Written(file.name, f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}")


_WRITERS: Mapping[Format, Callable[[BootFiles, Path], Written]] = {
    Format.OCI: _oci,
    Format.RAW: _raw,
    Format.QCOW2: _qcow2,
    Format.EFI: _efi,
    Format.FIRECRACKER: _firecracker,
    Format.CLOUD_HYPERVISOR: _cloud_hypervisor,
}


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        place = directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


# --- requirements and contents --------------------------------------------------


def _require(needs: Needs) -> None:
    """Raise MissingError, with the command to install them, if the format lacks tools."""
    absent = {file: package for file, package in needs.files.items() if not Path(file).is_file()}
    path = f"{clean_environment()['PATH']}:{SBIN}"
    for program, package in needs.programs.items():
        if shutil.which(program, path=path) is None:
            absent[program] = package
    if absent:
        raise MissingError(
            f"not installed: {', '.join(absent)}",
            remedy=install_command(*absent.values()),
        )


def _check(spec: AppSpec, directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(
            "the output directory is not empty",
            where=directory,
            remedy="name a new one with -o",
        )
    if spec.volumes or spec.disks:
        raise InputError(
            "volumes and disks belong to one machine, but an image may run on any",
            where=spec.origin,
            remedy="leave them out; put data that the program only reads into [run] files",
        )


def _parts(wanted: Wanted, made: Bootable, context: Context) -> list[Part]:
    """Return the parts of the image, with the licence of each if it is known.

    The application's own licence is known only if it is built from a Debian source package.
    """
    libraries: tuple[LinkedLibrary, ...] = ()
    separate = {BUSYBOX, MUSL}
    if not made.spec.executable:
        libraries = check.libraries(wanted.target, context.store, context.progress)
    elif made.spec.root is None:
        owners = packages.owners(str(file) for file in made.spec.files.values())
        separate |= {package for package in owners.values() if package}
    linked = {library.package for library in libraries if library.package}
    names = sorted(linked | separate)
    loaders = sorted(set(NEEDS[wanted.kind].files.values()))
    versions = packages.versions([*names, *loaders])
    build = newest.named(wanted.spec).build
    source = build.source.debian if build is not None else None
    found = [
        Part("linux", made.kernel.version, "GPL-2.0-only", "Organization: kernel.org"),
        Part("ukl", __version__, "GPL-2.0-only"),
        Part(
            wanted.spec.name,
            licence=check.licence(source) if source else "",
            linked=not made.spec.executable,
        ),
    ]
    for name in (*names, *loaders):
        installed = versions.get(name, "")
        purl = f"pkg:deb/debian/{name}@{installed}?arch=amd64" if installed else ""
        in_kernel = name not in {*separate, *loaders}
        found.append(Part(name, installed, check.licence(name), DEBIAN, purl, in_kernel))
    for library in libraries:
        if library.package is None:
            found.append(Part(Path(library.path).name))
    return found
