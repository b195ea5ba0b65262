# SPDX-License-Identifier: GPL-2.0
"""The ways to run one program that are measured beside each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ukl.base.errors import UsageError
from ukl.base.model import AppSpec, Level, Mode, Returns


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the table.

    `patched` False takes the unpatched kernel of the same configuration, on which only
    normal processes run; `mode` process starts the normal executable of the very same object;
    `rewrite` False leaves its `syscall` instructions as they are, `level` is what they
    become otherwise; `returns` is how exceptions return; `page_size` is that of its
    anonymous memory. `pgo` compiles it, and its kernel, by counts of a training run.
    """

    name: str
    title: str
    patched: bool = True
    mode: Mode = Mode.UNIKERNEL
    rewrite: bool = True
    level: Level = Level.BASE
    returns: Returns = Returns.IRET
    page_size: int = 0
    pgo: bool = False

    @property
    def is_process(self) -> bool:
        """Whether the program runs as a normal process."""
        return self.mode is Mode.PROCESS

    @property
    def ring(self) -> str:
        """What a program finds in CS: `user` or `supervisor`."""
        return "user" if self.is_process else "supervisor"

    def applied(self, spec: AppSpec) -> AppSpec:
        """Return the specification as this variant builds it."""
        return replace(
            spec,
            rewrite_syscalls=self.rewrite,
            level=self.level,
            returns=self.returns,
            page_size=self.page_size or spec.page_size,
        )


# A normal process makes its system calls as any other: rewritten ones would cost it a call.
VARIANTS: Sequence[Variant] = (
    Variant(
        "unpatched", "process, unpatched Linux", patched=False, mode=Mode.PROCESS, rewrite=False
    ),
    Variant("process", "process, UKL kernel", mode=Mode.PROCESS, rewrite=False),
    Variant("syscall", "unikernel, syscall in ring 0", rewrite=False),
    Variant("base", "unikernel, level base"),
    Variant("fast", "unikernel, level fast", level=Level.FAST),
    Variant(
        "ret",
        "unikernel, level fast, returns by ret",
        level=Level.FAST,
        returns=Returns.RET,
    ),
    Variant(
        "pages",
        "the same, memory in pages of 64 KiB",
        level=Level.FAST,
        returns=Returns.RET,
        page_size=64 << 10,
    ),
    Variant(
        "pgo",
        "as ret, compiled by counts of a training run",
        level=Level.FAST,
        returns=Returns.RET,
        pgo=True,
    ),
)
"""All of them, in the order of the columns; a further level is a further element."""

NAMES = tuple(variant.name for variant in VARIANTS)


def chosen(names: Sequence[str], *, pgo: bool = False) -> tuple[Variant, ...]:
    """Return the variants called so, in our order; all where none is. UsageError else.

    Those that need counts are among all if there are some (`pgo`).
    """
    for name in names:
        if name not in NAMES:
            raise UsageError(
                f"there is no variant `{name}`", remedy=f"there are: {', '.join(NAMES)}"
            )
    found = tuple(each for each in VARIANTS if not names or each.name in names)
    needing = [each.name for each in found if each.pgo]
    if needing and names and not pgo:
        raise UsageError(
            f"the variant `{needing[0]}` is compiled by counts", remedy="name them with --pgo FILE"
        )
    return tuple(each for each in found if pgo or not each.pgo)
