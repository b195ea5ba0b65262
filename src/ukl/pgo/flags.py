# SPDX-License-Identifier: GPL-2.0
"""The compiler options of profile-guided optimisation, and where counts are. Imports nothing.

Source: "Instrumentation Options" and "Optimize Options" of the GCC manual. The compiler wrapper
reads it at each start.
"""

SUFFIX = ".gcda"
"""Of a file of counts: beside the object, unless -dumpdir says otherwise."""

COUNTING = (
    "-fprofile-arcs",
    # Threads count together; the kernel's own counters are updated so, too.
    "-fprofile-update=prefer-atomic",
)
"""Has the program count, and write the counts when it exits."""

COUNTED = (
    # Only the branches' counts: -fprofile-use would add passes that make code larger, and reads
    # values (-fprofile-values) that the kernel's coverage does not have.
    "-fbranch-probabilities",
    # What never ran in training stays as it would be without; else it would be made small, and
    # the first use of anything else would pay for it.
    "-fprofile-partial-training",
    # Counters of several threads need not agree with each other.
    "-fprofile-correction",
    # Sources without counts, and those that the configuration has changed since.
    "-Wno-missing-profile",
    "-Wno-coverage-mismatch",
)
"""Has the compiler read counts."""

ROOT = "/ukl-pgo/"
"""What counts of an application's own sources are named below: their directory is not known to
the program."""
