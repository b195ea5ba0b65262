# SPDX-License-Identifier: GPL-2.0
"""The profile `trusted`: what the kernel's configuration leaves out, and what stays. No build."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.harness import Lab
from ukl.flow import kernel
from ukl.kernel import kconfig

OFF = ("HARDENED_USERCOPY", "STACKPROTECTOR", "INIT_STACK_ALL_ZERO", "CPU_MITIGATIONS")

STAYS = (
    *("STRICT_KERNEL_RWX", "VMAP_STACK", "FORTIFY_SOURCE", "RANDOMIZE_BASE"),
    *("RANDOMIZE_KSTACK_OFFSET", "SECCOMP", "SYN_COOKIES"),
)


@pytest.mark.parametrize("patched", [True, False])
def test_what_the_kernel_leaves_out(lab: Lab, tmp_path: Path, patched: bool) -> None:
    """kernel.config() itself fails if the configuration has not all that was asked for."""

    def options(name: str, profile: str) -> dict[str, str]:
        wanted = kernel.Wanted(profile=profile, patched=patched)
        return kconfig.read(kernel.config(tmp_path / name, wanted, lab.context).read_text())

    plain, trusted = options("plain", ""), options("trusted", "trusted")
    for name in OFF:
        assert plain.get(f"CONFIG_{name}") == "y", name
        assert f"CONFIG_{name}" not in trusted or trusted[f"CONFIG_{name}"] == "n", name
    assert not [name for name in trusted if "MITIGATION_" in name and trusted[name] != "n"]
    for name in STAYS:
        assert trusted.get(f"CONFIG_{name}") == "y", name
    assert trusted.get("CONFIG_UKL") == ("y" if patched else None)
