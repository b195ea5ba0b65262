# SPDX-License-Identifier: GPL-2.0
"""Describes a KubeVirt machine that boots the kernel and initrd of an OCI image. Pure.

The manifest is JSON, which is also YAML. Fields: kubevirt.io/v1, KernelBoot and
KernelBootContainer.
"""

from __future__ import annotations

import json
from typing import Any

from ukl.base.model import AppSpec

KERNEL, INITRD = "/boot/bzImage", "/boot/initrd"
"""Paths in the image."""


def machine(spec: AppSpec, reference: str, kernel_args: str) -> dict[str, Any]:
    """Return the manifest; `reference` names the image in its registry."""
    name = "".join(char if char.isalnum() else "-" for char in spec.name.lower()).strip("-")
    interface: dict[str, Any] = {"name": "default", "masquerade": {}}
    if spec.ports:
        interface["ports"] = [
            {"port": port.guest, "protocol": port.protocol.upper()} for port in spec.ports
        ]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "runStrategy": "Always",
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "domain": {
                        "cpu": {"cores": spec.cpus},
                        "memory": {"guest": f"{spec.memory >> 20}Mi"},
                        "devices": {"interfaces": [interface], "rng": {}},
                        "firmware": {
                            "kernelBoot": {
                                "container": {
                                    "image": reference,
                                    "kernelPath": KERNEL,
                                    "initrdPath": INITRD,
                                },
                                "kernelArgs": kernel_args,
                            }
                        },
                        "resources": {},
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "terminationGracePeriodSeconds": 15,
                },
            },
        },
    }


def text(value: dict[str, Any]) -> str:
    """Return a manifest as the text of a file."""
    return json.dumps(value, indent=2) + "\n"
