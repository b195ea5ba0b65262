# SPDX-License-Identifier: GPL-2.0
"""Configurations for Firecracker and Cloud Hypervisor that boot the kernel. Pure.

Both read the kernel as an ELF file, and paths relative to the working directory: start them in
the package. Sources: Firecracker's docs/getting-started.md and its type `VmmConfig` (read by
`--config-file`); Cloud Hypervisor's cloud-hypervisor.yaml, `VmConfig` (read by `vm.create`).
"""

from __future__ import annotations

from typing import Any

from ukl.base.errors import InputError
from ukl.base.model import AppSpec

KERNEL, INITRD = "vmlinux", "initrd"

FIRECRACKER, CLOUD_HYPERVISOR = "firecracker.json", "cloud-hypervisor.json"
"""File names."""

_MAX_CPUS = 32
"""Processors of a Firecracker machine."""

_TAP = "tap0"
# Address, gateway and netmask, as in Firecracker's documentation.
_FIRECRACKER_NET = ("172.16.0.2", "172.16.0.1", "255.255.255.252")
# The gateway is the default address of Cloud Hypervisor's tap device.
_CLOUD_NET = ("192.168.249.2", "192.168.249.1", "255.255.255.0")


def firecracker(spec: AppSpec, arguments: str) -> dict[str, Any]:
    """Return the configuration for `firecracker --no-api --config-file`.

    If the application has ports, the machine has a network, through the host's device tap0.
    Raises InputError for more processors than Firecracker supports.
    """
    if spec.cpus > _MAX_CPUS:
        raise InputError(
            f"{spec.cpus} processors: Firecracker supports at most {_MAX_CPUS}", where=spec.origin
        )
    # A reset by the keyboard controller ends the machine; it has no PCI.
    words = [arguments, "reboot=k", "pci=off", *_address(spec, _FIRECRACKER_NET)]
    interfaces = [{"iface_id": "eth0", "host_dev_name": _TAP}] if spec.ports else []
    return {
        "boot-source": {
            "kernel_image_path": KERNEL,
            "initrd_path": INITRD,
            "boot_args": " ".join(words),
        },
        "machine-config": {
            "vcpu_count": spec.cpus,
            "mem_size_mib": spec.memory >> 20,
            "smt": False,
        },
        "drives": [],
        "network-interfaces": interfaces,
    }


def cloud_hypervisor(spec: AppSpec, arguments: str) -> dict[str, Any]:
    """Return the configuration for Cloud Hypervisor's `vm.create` (`ch-remote create`)."""
    config: dict[str, Any] = {
        "payload": {
            "kernel": KERNEL,
            "initramfs": INITRD,
            "cmdline": " ".join([arguments, *_address(spec, _CLOUD_NET)]),
        },
        "cpus": {"boot_vcpus": spec.cpus, "max_vcpus": spec.cpus},
        "memory": {"size": spec.memory},
        "serial": {"mode": "Tty"},
        "console": {"mode": "Off"},
    }
    if spec.ports:
        config["net"] = [{"tap": _TAP, "ip": _CLOUD_NET[1], "mask": _CLOUD_NET[2]}]
    return config


def _address(spec: AppSpec, network: tuple[str, str, str]) -> list[str]:
    address, gateway, mask = network
    return [f"ip={address}::{gateway}:{mask}::eth0:off"] if spec.ports else []
