# SPDX-License-Identifier: GPL-2.0
"""An image for others boots without ukl, and is what other tools take for one."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.boot.harness import Built
from tests.boot.test_lifecycle import SECONDS, Cli, cli

__all__ = ["cli"]  # the fixture

# A network with a DHCP server, and a port that is not ours: as other engines have them.
MACHINE = (
    *("-machine", "q35", "-cpu", "max", "-m", "256M", "-nodefaults", "-display", "none"),
    *("-no-reboot", "-serial", "stdio", "-netdev", "user,id=net,net=10.0.9.0/24"),
    *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-serial-pci"),
)


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


def test_it_boots_elsewhere(package: Path, tmp_path: Path) -> None:
    with tarfile.open(layer(package)) as archive:
        archive.extractall(tmp_path, filter="data")
    machine = json.loads((package / "kubevirt.json").read_text())
    boot = machine["spec"]["template"]["spec"]["domain"]["firmware"]["kernelBoot"]
    paths = [tmp_path / boot["container"][key].lstrip("/") for key in ("kernelPath", "initrdPath")]
    argv = ["qemu-system-x86_64", *MACHINE, "-kernel", str(paths[0]), "-initrd", str(paths[1])]
    argv += ["-append", boot["kernelArgs"]]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
    )
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
    assert {"linux", "hello", "libc6-dev", "busybox-static"} <= set(names)
    assert names["libc6-dev"]
    assert "libc6-dev" in (package / "licences.txt").read_text()
