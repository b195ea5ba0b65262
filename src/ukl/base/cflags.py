# SPDX-License-Identifier: GPL-2.0
"""Compiler options for code that runs in the kernel and in a normal process.

This module imports nothing: the compiler wrapper loads it at each start.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NO_RED_ZONE = ("-mno-red-zone",)
"""An interrupt in ring 0 must not find live data below the stack pointer when a call
replaces the syscall instruction."""

KERNEL_MODEL = (
    # Text in the top 2 GiB, data in the bottom 2 GiB: sign-extended 32-bit
    # addresses reach both.
    "-mcmodel=kernel",
    "-fno-pic",
    "-fno-pie",
)
"""Not for position-independent code: compilers reject the combination."""

CANARY = (
    # With the kernel model, compilers read the canary from %gs, which is the kernel's.
    "-mstack-protector-guard=tls",
    "-mstack-protector-guard-reg=fs",
    "-mstack-protector-guard-offset=40",
)

NO_LTO = ("-fno-lto",)
"""The partial link reads machine code."""

_NOT_STATIC = ("address", "hwaddress", "thread", "leak", "memory", "dataflow")
"""Sanitizers whose run-time libraries do not work in a static program: compilers refuse it, or it
crashes before main()."""

SANITIZER_REMEDY = (
    "leave it out, or run a normal build of the program with it, outside of ukl; "
    "-fsanitize=undefined works here"
)

UKL_FLAGS = (*NO_RED_ZONE, *KERNEL_MODEL, *CANARY, *NO_LTO)
"""These come last on the command line, so they override the others."""


def sanitizers(words: "Iterable[str]") -> "list[str]":
    """Return the sanitizers that the options of a compiler select. Pure."""
    chosen: dict[str, None] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals or name not in ("-fsanitize", "-fno-sanitize"):
            continue
        for value in values.split(","):
            if name == "-fsanitize":
                chosen[value] = None
            elif value == "all":
                chosen.clear()
            else:
                chosen.pop(value, None)
    return list(chosen)


def refused_sanitizers(words: "Iterable[str]") -> str:
    """Return the text of the error about sanitizers that cannot be used; "" without any. Pure."""
    refused = [name for name in sanitizers(words) if name in _NOT_STATIC]
    if not refused:
        return ""
    return (
        f"-fsanitize={','.join(refused)} is not possible: a unikernel's program is linked "
        "statically, and the library of this sanitizer works in a dynamic program only"
    )
