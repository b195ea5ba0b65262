# SPDX-License-Identifier: GPL-2.0
"""An image for others boots without ukl, and is what other tools take for one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.boot import echo_client
from tests.boot.harness import Built, Lab, free_port
from tests.boot.test_lifecycle import SECONDS, Cli, cli
from tests.conftest import OPTIONAL
from tests.containers import file, hard, layout, symlink
from ukl.base.errors import ExitCode
from ukl.flow import kernel as kernels
from ukl.package.formats import NEEDS, Format

__all__ = ["cli"]  # the fixture

# A network with a DHCP server, and a port that is not ours: as other engines have them.
MACHINE = (
    *("-machine", "q35", "-cpu", "max", "-m", "256M", "-nodefaults", "-display", "none"),
    *("-no-reboot", "-serial", "stdio", "-netdev", "user,id=net,net=10.0.9.0/24"),
    *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-serial-pci"),
)

FIRMWARE = Path("/usr/share/OVMF")


@pytest.fixture(scope="module")
def package(cli: Cli, hello: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert hello.image.marker is not None
    directory = tmp_path_factory.mktemp("package") / "hello"
    code, out, err = cli("package", "hello", "-o", str(directory), "--reference", "r/hello:v1")
    assert code == 0, err
    assert "sha256:" in out
    return directory


def layer(package: Path) -> Path:
    def blob(descriptor: dict[str, str]) -> Path:
        return package / "image/blobs" / descriptor["digest"].replace(":", "/")

    [reference] = json.loads((package / "image/index.json").read_text())["manifests"]
    return blob(json.loads(blob(reference).read_text())["layers"][0])


def ran(package: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """Boot the kernel and the initrd of an OCI image, with the arguments for KubeVirt."""
    with tarfile.open(layer(package)) as archive:
        archive.extractall(scratch, filter="data")
    machine = json.loads((package / "kubevirt.json").read_text())
    boot = machine["spec"]["template"]["spec"]["domain"]["firmware"]["kernelBoot"]
    paths = [scratch / boot["container"][key].lstrip("/") for key in ("kernelPath", "initrdPath")]
    argv = ["qemu-system-x86_64", *MACHINE, "-kernel", str(paths[0]), "-initrd", str(paths[1])]
    argv += ["-append", boot["kernelArgs"]]
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_it_boots_elsewhere(package: Path, tmp_path: Path) -> None:
    done = ran(package, tmp_path)
    assert "Hello from supervisor mode." in done.stdout, done.stdout + done.stderr
    assert "init: application exited with status 0" in done.stdout


def test_other_tools_take_it(package: Path, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("optional: no skopeo on this machine")
    source = f"oci:{package / 'image'}:v1"
    argv = ["skopeo", "--insecure-policy", "copy", source, f"dir:{tmp_path / 'copy'}"]
    subprocess.run(argv, check=True, timeout=SECONDS)


def test_the_bill_of_materials(package: Path) -> None:
    document = json.loads((package / "sbom.spdx.json").read_text())
    names = {row["name"]: row.get("versionInfo") for row in document["packages"]}
    assert {"linux", "hello", "libc6-dev", "busybox-static", "musl-dev"} <= set(names)
    assert names["libc6-dev"]
    assert "libc6-dev" in (package / "licences.txt").read_text()


# --- a container image again ----------------------------------------------------------


def test_a_program_as_it_is(cli: Cli, tmp_path: Path) -> None:
    script = 'print "six by seven: ", 6 * 7, "\\n"'
    directory = tmp_path / "perl"
    code, _, err = cli("package", "/usr/bin/perl", "-o", str(directory), "--", "-e", script)
    assert code == 0, err
    done = ran(directory, tmp_path / "files")
    assert "six by seven: 42" in done.stdout.splitlines(), done.stdout + done.stderr
    document = json.loads((directory / "sbom.spdx.json").read_text())
    names = {row["name"] for row in document["packages"]}
    assert {"linux", "perl", "perl-base", "libc6", "busybox-static"} <= names
    assert "libc6-dev" not in names


SHOW = """#!/bin/sh
stat -c '%n %a %u:%g %h' /etc/kept /etc/again
cat /etc/hosts | head -n 1; pwd; id -u
grep -c 10.0.9 /proc/net/fib_trie >/dev/null && echo has an address
exec level from a package
"""


@pytest.mark.skipif(
    shutil.which("sqfstar") is None, reason=f"{OPTIONAL} no squashfs-tools on this machine"
)
def test_a_container_image_boots_elsewhere(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "level.c"
    source.write_text(
        '#include <stdio.h>\nint main(void){unsigned long c; asm("mov %%cs,%0":"=r"(c));'
        'printf("level %lu\\n", c & 3); return 0; }'
    )
    subprocess.run(["gcc", "-static", "-o", tmp_path / "level", source], check=True)
    members = (
        file("bin/busybox", Path("/bin/busybox").read_bytes(), 0o755),
        *(symlink(f"bin/{name}", "busybox") for name in ("sh", "stat", "cat", "head", "pwd")),
        *(symlink(f"bin/{name}", "busybox") for name in ("id", "grep")),
        file("bin/level", (tmp_path / "level").read_bytes(), 0o755),
        file("etc/kept", "x", 0o640, uid=5, gid=70000),
        hard("etc/again", "etc/kept"),
        file("show.sh", SHOW, 0o755),
    )
    image = layout(tmp_path / "image", members, Cmd=["/show.sh"], User="7", WorkingDir="/made")
    code, _, err = cli("package", f"oci:{image}", "-o", str(tmp_path / "package"))
    assert code == 0, err
    done = ran(tmp_path / "package", tmp_path / "files")
    lines = done.stdout.splitlines()
    assert "level 0" in lines, done.stdout + done.stderr
    assert {"/etc/kept 640 5:70000 2", "/etc/again 640 5:70000 2"} <= set(lines)
    assert {"127.0.0.1 localhost", "/made", "7", "has an address"} <= set(lines)
    assert "init: application exited with status 0" in done.stdout


def test_an_image_that_does_not_fit(cli: Cli, tmp_path: Path) -> None:
    if shutil.which("sqfstar") is None:
        pytest.skip(f"{OPTIONAL} no squashfs-tools on this machine")
    (tmp_path / "root/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "root/bin/sh")
    (tmp_path / "root/large").write_bytes(bytes(100 << 20))
    words = ("package", "--rootfs", str(tmp_path / "root"), "/bin/sh", "-m", "128M")
    code, _, err = cli(*words, "-o", str(tmp_path / "out"))
    assert (code, (tmp_path / "out").exists()) == (4, False)
    assert "the files of the image take 101 MiB" in err
    assert "-m" in err


def test_it_boots_as_urunc_boots_it(package: Path, tmp_path: Path) -> None:
    with tarfile.open(layer(package)) as archive:
        archive.extractall(tmp_path, filter="data")
    told = json.loads((tmp_path / "urunc.json").read_text())
    words = {
        name.rpartition(".")[2]: base64.b64decode(value).decode() for name, value in told.items()
    }
    paths = [tmp_path / words[name].lstrip("/") for name in ("binary", "initrd")]
    # Its type linux on qemu; this address is not what DHCP would give here.
    arguments = (
        "panic=-1 console=ttyS0 root=/dev/ram0 rw PATH=/bin "
        "ip=10.0.9.77::10.0.9.2:255.255.255.0:urunc:eth0:off "
        f"rdinit={words['cmdline']} -- "
    )
    booted("-kernel", str(paths[0]), "-initrd", str(paths[1]), "-append", arguments)


# --- virtual machine monitors -------------------------------------------------------

# Machines of QEMU that have of devices what these monitors give, and no more: neither of the
# monitors works without KVM.
BARE = ("-cpu", "max", "-m", "256M", "-nodefaults", "-display", "none", "-no-reboot")
MONITORS = {
    "firecracker": (
        *("-machine", "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on", *BARE),
        *("-netdev", "user,id=net,net=172.16.0.0/24,host=172.16.0.1{forward}"),
        *("-device", "virtio-net-device,netdev=net"),
    ),
    "cloud-hypervisor": (
        *("-machine", "q35", *BARE),
        *("-netdev", "user,id=net,net=192.168.249.0/24,host=192.168.249.1{forward}"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
    ),
}


@pytest.fixture(scope="module")
def mmio(lab: Lab) -> None:
    """Build the kernel that finds devices without PCI."""
    options = NEEDS[Format.FIRECRACKER].options
    kernels.build(kernels.Wanted(options), lab.context)


def monitored(cli: Cli, target: str, kind: str, directory: Path, forward: str = "") -> list[str]:
    """Return the command that boots a target packaged for a monitor, by its configuration."""
    code, _, err = cli("package", target, "--format", kind, "-o", str(directory))
    assert code == 0, err
    config = json.loads((directory / f"{kind}.json").read_text())
    if kind == "firecracker":
        boot = config["boot-source"]
        kernel, initrd, words = (
            boot[key] for key in ("kernel_image_path", "initrd_path", "boot_args")
        )
    else:
        kernel, initrd, words = (
            config["payload"][key] for key in ("kernel", "initramfs", "cmdline")
        )
    machine = [word.format(forward=forward) for word in MONITORS[kind]]
    paths = ("-kernel", str(directory / kernel), "-initrd", str(directory / initrd))
    return ["qemu-system-x86_64", *machine, *paths, "-append", words, "-serial", "stdio"]


@pytest.mark.parametrize("kind", sorted(MONITORS))
@pytest.mark.usefixtures("mmio")
def test_a_machine_of_a_monitor_comes_to_its_end(cli: Cli, tmp_path: Path, kind: str) -> None:
    ended(monitored(cli, "hello", kind, tmp_path / "package"))


@pytest.mark.parametrize("kind", sorted(MONITORS))
@pytest.mark.usefixtures("mmio")
def test_a_machine_of_a_monitor_serves(cli: Cli, tmp_path: Path, kind: str) -> None:
    port = free_port()
    guest = {"firecracker": "172.16.0.2", "cloud-hypervisor": "192.168.249.2"}[kind]
    forward = f",hostfwd=tcp:127.0.0.1:{port}-{guest}:5555"
    argv = monitored(cli, "tcp-echo", kind, tmp_path / "package", forward)
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as machine:
        try:
            assert machine.stdout is not None
            assert any("listening on port" in line for line in machine.stdout)
            asyncio.run(echo_client.load(port, clients=2, messages=5, size=1000))
        finally:
            machine.kill()


# --- disks and EFI images -----------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(lab: Lab) -> None:
    """Build the kernel that UEFI can start: it takes longer than a command may."""
    if not (FIRMWARE / "OVMF_CODE.fd").is_file():  # before minutes are spent
        pytest.skip("optional: no OVMF on this machine")
    options = NEEDS[Format.EFI].options
    kernels.build(kernels.Wanted(options), lab.context)


def packaged(cli: Cli, kind: str, directory: Path) -> tuple[Path, str]:
    """Return the image of hello in a format, and its digest."""
    code, out, err = cli("package", "hello", "--format", kind, "-o", str(directory), "--json")
    if code == ExitCode.MISSING:
        pytest.skip(f"optional: {err}")
    assert code == 0, err
    made = json.loads(out)
    assert all(Path(name).is_file() for name in made["files"])
    return Path(made["image"]), made["digest"]


def firmware(tmp_path: Path) -> list[str]:
    """Return the words that give a machine UEFI, with variables of its own."""
    code, variables = FIRMWARE / "OVMF_CODE.fd", FIRMWARE / "OVMF_VARS.fd"
    if not code.is_file():
        pytest.skip("optional: no OVMF on this machine")
    own = tmp_path / "variables.fd"
    shutil.copyfile(variables, own)
    flash = "if=pflash,format=raw,unit={},file={}"
    return ["-drive", flash.format(0, code) + ",readonly=on", "-drive", flash.format(1, own)]


def booted(*words: str) -> str:
    """Return what a machine says from its start to its end by itself."""
    return ended(["qemu-system-x86_64", *MACHINE, *words])


def ended(argv: list[str]) -> str:
    """Return what the machine of a command says until it is at its end."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert "Hello from supervisor mode." in done.stdout, done.stdout + done.stderr
    assert "init: application exited with status 0" in done.stdout
    return done.stdout


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
@pytest.mark.parametrize("boots", ["bios", "uefi"])
@pytest.mark.usefixtures("kernel")
def test_a_disk_boots(cli: Cli, tmp_path: Path, kind: str, boots: str) -> None:
    image, _ = packaged(cli, kind, tmp_path / "disk")
    words = firmware(tmp_path) if boots == "uefi" else []
    drive = f"file={image},format={kind},if=virtio,snapshot=on"
    said = booted(*words, "-drive", drive)
    # What the firmware says when it starts something.
    assert ("BdsDxe: starting" in said) == (boots == "uefi")


@pytest.mark.usefixtures("kernel")
def test_an_efi_image_boots(cli: Cli, tmp_path: Path) -> None:
    image, _ = packaged(cli, "efi", tmp_path / "efi")
    place = tmp_path / "volume/EFI/BOOT/BOOTX64.EFI"
    place.parent.mkdir(parents=True)
    shutil.copyfile(image, place)
    drive = f"file=fat:rw:{tmp_path / 'volume'},format=raw,if=virtio"
    booted(*firmware(tmp_path), "-drive", drive)


@pytest.mark.parametrize("kind", ["oci", "raw", "qcow2", "efi"])
@pytest.mark.usefixtures("kernel")
def test_the_same_package_each_time(cli: Cli, tmp_path: Path, kind: str) -> None:
    first, second = (packaged(cli, kind, tmp_path / name) for name in ("one", "two"))
    assert first[1] == second[1]
    sums = [
        {
            file.relative_to(image.parent): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in image.parent.rglob("*")
            if file.is_file()
        }
        for image, _ in (first, second)
    ]
    assert sums[0] == sums[1]


@pytest.mark.usefixtures("kernel")
def test_a_loader_is_in_the_bill(cli: Cli, tmp_path: Path) -> None:
    image, digest = packaged(cli, "raw", tmp_path / "disk")
    document = json.loads((image.parent / "sbom.spdx.json").read_text())
    packages = {row["name"]: row for row in document["packages"]}
    assert packages["grub-pc-bin"]["versionInfo"]
    image_itself = document["packages"][0]
    assert image_itself["checksums"][0]["checksumValue"] == digest.partition(":")[2]
    assert "grub-pc-bin" in (image.parent / "licences.txt").read_text()
