# SPDX-License-Identifier: GPL-2.0
"""What every step of a build needs: the cache, the progress lines, the kernel's source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ukl.base.progress import Progress
from ukl.host.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """Where and how things are built.

    `kernel_source` is what a person named (None: what the distribution packages), `jobs` the
    number of compilers at a time (None: as many as processors).
    """

    store: Store
    progress: Progress
    kernel_source: str | None = None
    jobs: int | None = None

    def quiet(self) -> Context:
        """Return the same without progress lines."""
        return replace(self, progress=Progress.quiet())
