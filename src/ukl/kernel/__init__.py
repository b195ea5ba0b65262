# SPDX-License-Identifier: GPL-2.0
"""Kernel source, patch series, configuration, build and final link -> Image."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ukl import resources
from ukl.kernel.versions import base_for, bases
from ukl.model import KernelSource, KernelSpec

_NONE: Mapping[str, str] = MappingProxyType({})


def default_spec(source: KernelSource, options: Mapping[str, str] = _NONE) -> KernelSpec:
    """Return what is built unless somebody says otherwise: our series and our fragments.

    `options` are a manifest's kernel options. Raises InputError when no series
    applies to the source's version.
    """
    base = base_for(source.version, bases(), source.directory)
    fragments = tuple(sorted(resources.path("kernel/config").glob("*.config")))
    return KernelSpec(source, base.series, fragments, dict(options))
