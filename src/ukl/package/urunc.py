# SPDX-License-Identifier: GPL-2.0
"""Metadata of an OCI image for urunc, a container runtime for unikernels. Pure.

The metadata are annotations, and also a file in the image for engines that do not pass
annotations on. Source: docs/package/index.md of urunc 0.7. urunc boots the kernel as type
`linux` and passes the address by `ip=`; the image's command must be the initrd's first program.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

FILE = "/urunc.json"
COMMAND = ("/init",)

_PREFIX = "com.urunc.unikernel."


def metadata(kernel: str, initrd: str) -> dict[str, str]:
    """Return the annotations of an image with the kernel and the initrd at these paths."""
    values = {
        "unikernelType": "linux",
        "hypervisor": "qemu",
        "binary": kernel,
        "initrd": initrd,
        "cmdline": COMMAND[0],
        "mountRootfs": "false",
    }
    return {f"{_PREFIX}{name}": value for name, value in values.items()}


def file(values: Mapping[str, str]) -> bytes:
    """Return the content of the file with the same metadata, values in base64."""
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return (json.dumps(encoded, indent=1, sort_keys=True) + "\n").encode()
