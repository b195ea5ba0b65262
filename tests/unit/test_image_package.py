# SPDX-License-Identifier: GPL-2.0
"""An image for others: the OCI layout, the bill of materials, the machine for KubeVirt."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ukl.base.errors import InputError, MissingError, UklError
from ukl.base.model import AppSpec, PortForward, Protocol, Volume
from ukl.package import build, disk, efi, kube, oci, sbom, urunc, vmm
from ukl.package.formats import NEEDS, Format, Needs, with_options
from ukl.package.sbom import Part

FILES = {"/boot/bzImage": b"kernel", "/boot/initrd": b"initrd", "/etc/a/b": b""}


def layout(**labels: str) -> oci.Layout:
    return oci.layout(FILES, tag="v1", labels=labels, command=("/boot/bzImage",))


def blob(found: oci.Layout, descriptor: dict[str, Any]) -> bytes:
    """Return what a descriptor is about, checked against it."""
    data = found.files["blobs/" + descriptor["digest"].replace(":", "/")]
    assert descriptor["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert descriptor["size"] == len(data)
    return data


def test_a_layout_leads_from_the_index_to_the_files() -> None:
    found = layout(title="web")
    assert json.loads(found.files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(found.files["index.json"])
    [reference] = index["manifests"]
    assert reference["annotations"] == {oci.REFERENCE: "v1"}
    assert reference["digest"] == found.digest
    manifest = json.loads(blob(found, reference))
    config = json.loads(blob(found, manifest["config"]))
    [layer] = manifest["layers"]
    tar = gzip.decompress(blob(found, layer))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(tar).hexdigest()}"]
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert config["config"]["Labels"] == manifest["annotations"] == {"title": "web"}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = {member.name: member for member in archive}
        assert list(members) == ["boot", "boot/bzImage", "boot/initrd", "etc", "etc/a", "etc/a/b"]
        kernel = archive.extractfile("boot/bzImage")
        assert kernel is not None
        assert kernel.read() == b"kernel"
        assert {(each.mtime, each.uid, each.uname) for each in members.values()} == {(0, 0, "")}


def test_the_same_files_are_the_same_image() -> None:
    assert layout(a="1") == layout(a="1")
    assert layout(a="1").digest != layout(a="2").digest


PARTS = [
    Part("linux", "6.12", "GPL-2.0-only", "Organization: kernel.org"),
    Part("libc6-dev", "2.36", "LGPL-2.1+", "Organization: Debian", "pkg:deb/debian/libc6-dev@2.36"),
    Part("lib+odd", licence="OpenSSL"),
]


def test_a_bill_of_materials() -> None:
    document = sbom.document("web", "ab" * 32, PARTS)
    needed = {
        *("spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo"),
        *("packages", "relationships"),
    }
    assert set(document) == needed
    assert (document["spdxVersion"], document["dataLicense"]) == ("SPDX-2.3", "CC0-1.0")
    packages = {row["SPDXID"]: row for row in document["packages"]}
    assert len(packages) == 1 + len(PARTS)
    for row in packages.values():
        # Section 7 of the specification: what a package has to have.
        assert {"name", "SPDXID", "downloadLocation"} <= set(row)
        assert set(row["SPDXID"]) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"
        )
    known = {*packages, "SPDXRef-DOCUMENT"}
    kinds = [row["relationshipType"] for row in document["relationships"]]
    assert kinds == ["DESCRIBES", *["CONTAINS"] * 3]
    for row in document["relationships"]:
        assert {row["spdxElementId"], row["relatedSpdxElement"]} <= known
    rows = {row["name"]: row for row in packages.values()}
    assert rows["libc6-dev"]["licenseDeclared"] == "LGPL-2.1-or-later"
    assert rows["lib+odd"]["licenseDeclared"] == "NOASSERTION"
    assert "OpenSSL" in rows["lib+odd"]["licenseComments"]
    assert document == sbom.document("web", "ab" * 32, PARTS)


def test_a_report_of_licences() -> None:
    beside = Part("grub-pc-bin", "2.06", "GPL-3+", linked=False)
    lines = sbom.report([*PARTS, Part("mine"), beside]).splitlines()
    assert lines[0] == "linux 6.12: GPL-2.0-only; compatible with GPL-2.0-only"
    assert lines[2] == "lib+odd: OpenSSL; NOT compatible with GPL-2.0-only"
    assert lines[3] == "mine: licence unknown; unknown: check it yourself"
    assert lines[4] == "grub-pc-bin 2.06: GPL-3+; separate from the kernel, not linked into it"


def spec(**values: Any) -> AppSpec:
    return AppSpec("Web_1", Path("/x/ukl.toml"), Path("/x"), (), **values)


def test_a_machine_for_kubevirt() -> None:
    ports = (PortForward(8080, 80), PortForward(53, 53, protocol=Protocol.UDP))
    machine = kube.machine(spec(ports=ports, cpus=2), "r/web:v1", "quiet")
    assert machine["metadata"]["name"] == "web-1"
    domain = machine["spec"]["template"]["spec"]["domain"]
    boot = domain["firmware"]["kernelBoot"]
    assert boot["kernelArgs"] == "quiet"
    assert boot["container"]["image"] == "r/web:v1"
    assert {boot["container"]["kernelPath"], boot["container"]["initrdPath"]} <= set(FILES)
    assert domain["devices"]["interfaces"][0]["ports"] == [
        {"port": 80, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP"},
    ]
    assert (domain["cpu"]["cores"], domain["memory"]["guest"]) == (2, "256Mi")


def test_what_cannot_be_packaged(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not empty"):
        build._check(spec(), tmp_path)
    volumes = (Volume(tmp_path, "/data"),)
    with pytest.raises(InputError, match="volumes and disks"):
        build._check(spec(volumes=volumes), tmp_path / "new")


def test_the_options_of_a_format() -> None:
    assert with_options(spec(), Format.OCI) == spec()
    given = spec(kernel_options={"CONFIG_EFI": "y", "NUMA": "y"})
    options = with_options(given, Format.RAW).kernel_options
    forced = ("EFI", "EFI_STUB", "EFI_HANDOVER_PROTOCOL", "RELOCATABLE")
    assert options == {**dict.fromkeys(forced, "y"), "NUMA": "y"}
    with pytest.raises(InputError, match="efi needs a kernel with EFI_STUB=y"):
        with_options(spec(kernel_options={"EFI_STUB": "n"}), Format.EFI)


def test_the_tools_of_a_format() -> None:
    build._require(NEEDS[Format.OCI])
    with pytest.raises(MissingError, match="/no/file, no-program") as caught:
        build._require(Needs(files={"/no/file": "one"}, programs={"no-program": "two"}))
    assert caught.value.remedy is not None
    assert caught.value.remedy.endswith(" one two")


def test_the_plan_of_a_disk() -> None:
    plan = disk.plan(b"kernel", b"initrd", "quiet")
    assert plan.esp_size == disk.ESP_MINIMUM
    assert plan.total == disk.ESP_START + plan.esp_size + disk.MIB
    assert len({plan.disk_id, plan.core_id, plan.esp_id}) == 3
    assert plan == disk.plan(b"kernel", b"initrd", "quiet")
    other = disk.plan(b"kernel", b"initrd", "verbose")
    assert (plan.disk_id, plan.serial) != (other.disk_id, other.serial)
    assert f"search.fs_uuid {plan.serial[:4]}-{plan.serial[4:]} root" in plan.grub("quiet")
    assert "linux /boot/bzImage quiet" in plan.grub("quiet").splitlines()
    large = disk.plan(bytes(60 * disk.MIB), b"initrd", "quiet")
    # The tables are two of four bytes for each cluster of 512.
    assert large.esp_size * (1 - 8 / 512) > 61 * disk.MIB


def test_grub_is_told_where_it_lies() -> None:
    first, core = bytearray(512), bytearray(2000)
    first[510:] = b"\x55\xaa"
    struct.pack_into("<Q", first, 0x5C, 1)
    struct.pack_into("<Q", core, 500, 2)
    head, image = disk.boot_code(bytes(first), bytes(core))
    assert len(head) == 440
    assert struct.unpack_from("<Q", head, 0x5C) == (2048,)
    assert struct.unpack_from("<Q", image, 500) == (2049,)
    assert len(image) == len(core)
    core[500] = 7
    with pytest.raises(UklError, match="unknown format"):
        disk.boot_code(bytes(first), bytes(core))


HEADERS = """
Sections:
Idx Name          Size      VMA               LMA               File off  Algn
  0 .text         0000bff0  0000000000004000  0000000000004000  00000400  2**4
                  CONTENTS, ALLOC, LOAD, READONLY, CODE
  7 .sdmagic      00000034  0000000000019100  0000000000019100  00011200  2**2
                  CONTENTS, ALLOC, LOAD, READONLY, DATA
"""


def test_sections_of_an_efi_image() -> None:
    assert efi.end(HEADERS) == 0x19134
    with pytest.raises(UklError, match="no sections"):
        efi.end("")
    assert efi.places({".a": 1, ".b": 4096, ".c": 1}, 0x19134) == {
        ".a": 0x1A000,
        ".b": 0x1B000,
        ".c": 0x1C000,
    }
    sections = efi.sections(b"K", b"I", "quiet", "web", "6.12")
    assert list(sections)[-1] == ".linux"
    assert sections[".cmdline"] == b"quiet"


def closed(required: str, **properties: Any) -> dict[str, Any]:
    """Return a schema of an object that has no other properties than these."""
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}

# Fields, types and limits as firecracker.yaml (1.17.0-dev) has them in FullVmConfiguration and
# below; `drives` is required by the type that reads the file. Of those that we do not write
# nothing is here.
FIRECRACKER = closed(
    "boot-source drives",
    **{
        "boot-source": closed(
            "kernel_image_path", kernel_image_path=TEXT, initrd_path=TEXT, boot_args=TEXT
        ),
        "drives": {"type": "array"},
        "machine-config": closed(
            "mem_size_mib vcpu_count",
            mem_size_mib=NUMBER,
            vcpu_count={**NUMBER, "minimum": 1, "maximum": 32},
            smt=FLAG,
        ),
        "network-interfaces": {
            "type": "array",
            "items": closed("host_dev_name iface_id", host_dev_name=TEXT, iface_id=TEXT),
        },
    },
)

# VmConfig of cloud-hypervisor.yaml, and below.
MODE = {"enum": ["Off", "Pty", "Tty", "File", "Socket", "Null"]}
CLOUD_HYPERVISOR = closed(
    "payload",
    payload=closed("", kernel=TEXT, initramfs=TEXT, cmdline=TEXT),
    cpus=closed("boot_vcpus max_vcpus", boot_vcpus=NUMBER, max_vcpus=NUMBER),
    memory=closed("size", size=NUMBER),
    serial=closed("mode", mode=MODE),
    console=closed("mode", mode=MODE),
    net={"type": "array", "items": closed("", tap=TEXT, ip=TEXT, mask=TEXT)},
)


@pytest.mark.parametrize("ports", [(), (PortForward(8080, 80),)])
def test_machines_are_as_their_schemas_say(ports: tuple[PortForward, ...]) -> None:
    one = spec(ports=ports, cpus=2)
    jsonschema.validate(vmm.firecracker(one, "quiet"), FIRECRACKER)
    jsonschema.validate(vmm.cloud_hypervisor(one, "quiet"), CLOUD_HYPERVISOR)


def test_a_machine_for_firecracker() -> None:
    alone = vmm.firecracker(spec(cpus=2, memory=128 << 20), "console=ttyS0 quiet")
    assert alone["network-interfaces"] == alone["drives"] == []
    with pytest.raises(InputError, match="at most 32"):
        vmm.firecracker(spec(cpus=33), "quiet")
    assert alone["machine-config"] == {"vcpu_count": 2, "mem_size_mib": 128, "smt": False}
    words = alone["boot-source"]["boot_args"].split()
    assert words == ["console=ttyS0", "quiet", "reboot=k", "pci=off"]
    served = vmm.firecracker(spec(ports=(PortForward(8080, 80),)), "quiet")
    [interface] = served["network-interfaces"]
    assert interface == {"iface_id": "eth0", "host_dev_name": "tap0"}
    address = "ip=172.16.0.2::172.16.0.1:255.255.255.252::eth0:off"
    assert address in served["boot-source"]["boot_args"].split()


def test_a_machine_for_cloud_hypervisor() -> None:
    alone = vmm.cloud_hypervisor(spec(cpus=2, memory=128 << 20), "quiet")
    assert alone["payload"] == {"kernel": "vmlinux", "initramfs": "initrd", "cmdline": "quiet"}
    assert alone["cpus"] == {"boot_vcpus": 2, "max_vcpus": 2}
    assert alone["memory"] == {"size": 128 << 20}
    assert "net" not in alone
    served = vmm.cloud_hypervisor(spec(ports=(PortForward(8080, 80),)), "quiet")
    [interface] = served["net"]
    # The guest's gateway is the host's end of the tap device.
    assert f"::{interface['ip']}:{interface['mask']}:" in served["payload"]["cmdline"]


def test_what_urunc_is_told() -> None:
    told = urunc.metadata("/boot/bzImage", "/boot/initrd")
    # Those that urunc requires.
    for name in ("unikernelType", "hypervisor", "binary"):
        assert told[f"com.urunc.unikernel.{name}"]
    assert told["com.urunc.unikernel.unikernelType"] == "linux"
    content = json.loads(urunc.file(told))
    assert {name: base64.b64decode(value).decode() for name, value in content.items()} == told
