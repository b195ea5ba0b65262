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
    # What is called often may be copied into its callers though it is not small: by counts, the
    # compiler knows where that is worth it. Of a GET of Redis that spares more than all else.
    "-fipa-cp-clone",
    "-fsplit-paths",
    "--param=max-inline-insns-auto=60",
    "--param=inline-unit-growth=80",
    # Hot is what ran a thousandth as often as what ran most, or more; gcc takes a ten-thousandth.
    "--param=hot-bb-count-fraction=1000",
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
