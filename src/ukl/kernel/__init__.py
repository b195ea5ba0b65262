# SPDX-License-Identifier: GPL-2.0
"""Kernel source, patch series, configuration, build and final link -> Image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import KernelSource, KernelSpec
from ukl.kernel.versions import base_for, bases

_NONE: Mapping[str, str] = MappingProxyType({})

PROFILES = ("debug", "dwarf", "tiny", "trusted")
"""Fragments that are added only on request: kernel/config/NAME.config."""


def check_profile(name: str) -> str:
    """Return `name` if it names a profile or is empty (no profile); else raise InputError."""
    if name and name not in PROFILES:
        raise InputError(
            f"there is no kernel profile `{name}`", remedy=f"use one of: {', '.join(PROFILES)}"
        )
    return name


def fragments(profile: str) -> list[Path]:
    """Return the fragments of the configuration that are the same for all series, in order."""
    check_profile(profile)
    found = sorted(resources.path("kernel/config").glob("*.config"))
    # The profile comes last: it overrides the others.
    ordered = [file for file in found if file.stem not in PROFILES]
    return ordered + [file for file in found if profile and file.stem == profile]


def default_spec(
    source: KernelSource, options: Mapping[str, str] = _NONE, profile: str = ""
) -> KernelSpec:
    """Return the default specification: this repository's series and fragments.

    `options` are a manifest's kernel options; `profile` is one of PROFILES, or empty. Raises
    InputError for an unknown profile, or if no series is for the source's version.
    """
    base = base_for(source.version, bases(), source.directory)
    ordered = fragments(profile)
    # Each is followed by the series' changes to it: kernel/VERSION/config.
    both = ((file, base.directory / "config" / file.name) for file in ordered)
    present = [file for pair in both for file in pair if file.is_file()]
    return KernelSpec(source, base.series, tuple(present), dict(options))
