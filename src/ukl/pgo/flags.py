# SPDX-License-Identifier: GPL-2.0
"""The compiler options of profile-guided optimisation, and the paths of counts.

Source: "Instrumentation Options" and "Optimize Options" of the GCC manual. Imports nothing:
the compiler wrapper imports it at each start.
"""

SUFFIX = ".gcda"
"""Suffix of a file of counts, which is beside the object unless -dumpdir names another place."""

COUNTING = (
    "-fprofile-arcs",
    # Threads share the counters; the kernel updates its counters the same way.
    "-fprofile-update=prefer-atomic",
)
"""Make the program count branches, and write the counts when it exits."""

COUNTED = (
    # Only the branch counts: -fprofile-use would add passes that make code larger, and would
    # read values (-fprofile-values) that the kernel's coverage does not record.
    "-fbranch-probabilities",
    # Inline and clone larger functions where they are called often: by the counts, the compiler
    # knows where it pays. For a GET of Redis this saves more than everything else.
    "-fipa-cp-clone",
    "-fsplit-paths",
    "--param=max-inline-insns-auto=60",
    "--param=inline-unit-growth=80",
    # Code is hot if it ran at least 1/1000 as often as the hottest; gcc's default is 1/10000.
    "--param=hot-bb-count-fraction=1000",
    # Compile code that never ran in training as without counts. Otherwise gcc optimises it for
    # size, and a use that was not part of the training is slow.
    "-fprofile-partial-training",
    # Counters of several threads may contradict each other.
    "-fprofile-correction",
    # For sources without counts, and those that another configuration has changed.
    "-Wno-missing-profile",
    "-Wno-coverage-mismatch",
)
"""Make the compiler use the counts."""

ROOT = "/ukl-pgo/"
"""Directory in the names of the counts of an application's own sources: the program does not
know the sources' directory."""
