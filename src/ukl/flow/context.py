# SPDX-License-Identifier: GPL-2.0
"""The parameters of all build steps: cache, progress lines, kernel source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ukl.base.progress import Progress
from ukl.host.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """Where and how things are built.

    `kernel_source` is the option of that name (None: the distribution's package), `jobs` the
    number of parallel compilers (None: one per processor). `series` is the kernel series that a
    verb's option chose for all guests (empty: each guest's own setting).
    """

    store: Store
    progress: Progress
    kernel_source: str | None = None
    jobs: int | None = None
    series: str = ""

    def quiet(self) -> Context:
        """Return the same without progress lines."""
        return replace(self, progress=Progress.quiet())
