# SPDX-License-Identifier: GPL-2.0
"""Which of the proposed options can really go: tried by few builds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Try = Callable[[frozenset[str]], bool]
"""Builds a kernel without these options and runs the workload; whether that ends well."""


@dataclass(slots=True)
class Search:
    """Looks for a large set of options without which `attempt` succeeds.

    `left` is how many trials there may be. `culprits` are options that are known to be
    needed: without them alone, beside what was known to be good, it failed.
    """

    attempt: Try
    left: int
    good: frozenset[str] = frozenset()
    culprits: list[str] = field(default_factory=list)

    def run(self, options: Sequence[str]) -> frozenset[str]:
        """Return the options that can go; the most likely of `options` are the first.

        All of them at once, if that works. Else halves: the first, and then what of the other
        goes besides. The result was tried as a whole, or is empty.
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
        """Find what of `options` can go; all of them, with what is good, cannot."""
        if len(options) == 1:
            self.culprits += options
            return
        middle = (len(options) + 1) // 2
        first, second = options[:middle], options[middle:]
        works = self._works(first)
        if not works and self.left > 0:
            self._halve(first)
        # If the first half goes, and both did not, the second as a whole is known to fail.
        if self.left > 0 and (works or not self._works(second)):
            self._halve(second)
