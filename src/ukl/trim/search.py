# SPDX-License-Identifier: GPL-2.0
"""Finds out by a few builds which of the proposed options can really go. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Try = Callable[[frozenset[str]], bool]
"""Builds a kernel without these options and runs the workload; returns whether that succeeds."""


@dataclass(slots=True)
class Search:
    """Searches for a large set of options without which `attempt` succeeds.

    `left` is the number of trials left. `culprits` are options that are known to be needed:
    the trial failed when only they were dropped in addition to the `good` ones.
    """

    attempt: Try
    left: int
    good: frozenset[str] = frozenset()
    culprits: list[str] = field(default_factory=list)

    def run(self, options: Sequence[str]) -> frozenset[str]:
        """Return the options that can go; `options` has the most likely ones first.

        It tries all at once. If that fails, it tries the first half, then the second half in
        addition, and splits halves that fail. The result was tried as a whole, or is empty.
        """
        if options and not self._works(options):
            self._halve(options)
        return self.good

    def _works(self, options: Sequence[str]) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        wanted = self.good | frozenset(options)
        if not self.attempt(wanted):
            return False
        self.good = wanted
        return True

    def _halve(self, options: Sequence[str]) -> None:
        """Find the part of `options` that can go; it is known that not all of them can."""
        if len(options) == 1:
            self.culprits += options
            return
        middle = (len(options) + 1) // 2
        first, second = options[:middle], options[middle:]
        works = self._works(first)
        if not works and self.left > 0:
            self._halve(first)
        # If the first half works, and both together failed, the second half as a whole fails.
        if self.left > 0 and (works or not self._works(second)):
            self._halve(second)
