# SPDX-License-Identifier: GPL-2.0
"""Kernel source, patch series, configuration, build and final link -> Image."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import KernelSource, KernelSpec
from ukl.kernel.versions import base_for, bases

_NONE: Mapping[str, str] = MappingProxyType({})

PROFILES = ("debug", "dwarf", "tiny")
"""Fragments that are added only where they are asked for: kernel/config/NAME.config."""


def check_profile(name: str) -> str:
    """Return `name` if it is a profile's, or empty (none); else raise InputError."""
    if name and name not in PROFILES:
        raise InputError(
            f"there is no kernel profile `{name}`", remedy=f"there is: {', '.join(PROFILES)}"
        )
    return name


def default_spec(
    source: KernelSource, options: Mapping[str, str] = _NONE, profile: str = ""
) -> KernelSpec:
    """Return what is built unless somebody says otherwise: our series and our fragments.

    `options` are a manifest's kernel options; `profile` one of PROFILES, or empty. Raises
    InputError when there is no such profile, or no series for the source's version.
    """
    check_profile(profile)
    base = base_for(source.version, bases(), source.directory)
    found = sorted(resources.path("kernel/config").glob("*.config"))
    # The profile last: it has the last word on what the others say.
    ordered = [file for file in found if file.stem not in PROFILES]
    ordered += [file for file in found if profile and file.stem == profile]
    # Behind each, what is otherwise in that series' kernels: kernel/VERSION/config.
    both = ((file, base.directory / "config" / file.name) for file in ordered)
    fragments = [file for pair in both for file in pair if file.is_file()]
    return KernelSpec(source, base.series, tuple(fragments), dict(options))
