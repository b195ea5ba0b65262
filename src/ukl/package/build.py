# SPDX-License-Identifier: GPL-2.0
"""Builds an application, and writes its image for others with all that belongs to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ukl import __version__, pipeline
from ukl.check import target as check
from ukl.errors import InputError
from ukl.host import packages
from ukl.host.store import Store
from ukl.image import initrd as initrd_room
from ukl.model import AppSpec
from ukl.package import kube, oci, sbom
from ukl.package.sbom import Part
from ukl.progress import Progress
from ukl.vm import qemu

IMAGE, SBOM, LICENCES, MACHINE = "image", "sbom.spdx.json", "licences.txt", "kubevirt.json"
"""What is written: the layout's directory, and three files."""

BUSYBOX = "busybox-static"
DEBIAN = "Organization: Debian"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is packaged: the target as it was named, and what that is; `tag` of the image."""

    target: str
    spec: AppSpec
    tag: str
    reference: str


def build(
    wanted: Wanted,
    directory: Path,
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Write the image into `directory`, which must be new or empty; return what it is."""
    _check(wanted.spec, directory)
    spec = pipeline.prepared(wanted.spec, store, progress, jobs)
    app, kernel, image = pipeline.build_image(
        spec, store, progress, kernel_source=kernel_source, jobs=jobs
    )
    base = initrd_room.build(image, spec, app.user, store, progress)
    parts = _parts(wanted, kernel.version, store, progress)
    with progress.stage(f"write {directory}"):
        files = {
            kube.KERNEL: image.bzimage.read_bytes(),
            kube.INITRD: initrd_room.elsewhere(base.read_bytes(), spec, image),
        }
        arguments = " ".join(qemu.kernel_words(verbose=False))
        layout = oci.layout(
            files,
            tag=wanted.tag,
            labels={
                "org.opencontainers.image.title": spec.name,
                "org.opencontainers.image.licenses": "GPL-2.0-only",
                "org.unikernel-linux.kernel-arguments": arguments,
            },
            command=(kube.KERNEL,),
        )
        document = sbom.document(spec.name, layout.digest.partition(":")[2], parts)
        machine = kube.machine(spec, wanted.reference, arguments)
        _write(
            directory,
            {
                **{f"{IMAGE}/{name}": data for name, data in layout.files.items()},
                SBOM: (json.dumps(document, indent=1) + "\n").encode(),
                LICENCES: sbom.report(parts).encode(),
                MACHINE: kube.text(machine).encode(),
            },
        )
    return {
        "ukl": __version__,
        "name": spec.name,
        "digest": layout.digest,
        "image": directory / IMAGE,
        "files": [directory / name for name in (SBOM, LICENCES, MACHINE)],
    }


def _check(spec: AppSpec, directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(
            "the output directory is not empty",
            where=directory,
            remedy="name a new one with -o",
        )
    if spec.volumes or spec.disks:
        raise InputError(
            "volumes and disks are of one machine, and an image is for many",
            where=spec.origin,
            remedy="leave them out; what the program only reads can be in [run] files",
        )


def _write(directory: Path, files: dict[str, bytes]) -> None:
    with pipeline.beside(directory) as temporary:
        for name, data in files.items():
            place = temporary / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def _parts(wanted: Wanted, version: str, store: Store, progress: Progress) -> list[Part]:
    """Return what is in the image. Of the application itself only its owner knows the licence."""
    libraries = check.libraries(wanted.target, store, progress)
    names = sorted({each.package for each in libraries if each.package} | {BUSYBOX})
    versions = packages.versions(names)
    source = wanted.spec.build.source.debian if wanted.spec.build is not None else None
    found = [
        Part("linux", version, "GPL-2.0-only", "Organization: kernel.org"),
        Part("ukl", __version__, "GPL-2.0-only"),
        Part(wanted.spec.name, licence=check.licence(source) if source else ""),
    ]
    for name in names:
        known = versions.get(name, "")
        purl = f"pkg:deb/debian/{name}@{known}?arch=amd64" if known else ""
        found.append(Part(name, known, check.licence(name), DEBIAN, purl))
    for each in libraries:
        if each.package is None:
            found.append(Part(Path(each.path).name))
    return found
