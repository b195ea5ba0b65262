# SPDX-License-Identifier: GPL-2.0
"""The variants of a program's run that are compared with each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ukl.base.errors import UsageError
from ukl.base.model import AppSpec, Level, Mode, Returns


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the table.

    `patched` False takes the unpatched kernel of the same configuration, which runs only
    normal processes; `mode` process starts the normal executable made of the same object;
    `rewrite` False keeps its `syscall` instructions, otherwise `level` is that of the calls
    that replace them; `returns` is how exceptions return; `page_size` is that of anonymous
    memory [bytes]. `pgo` compiles program and kernel by the counts of a training run. `as_is`
    takes a dynamic executable, which is not linked into the kernel.
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
    as_is: bool = False

    @property
    def is_process(self) -> bool:
        """Whether the program runs as a normal process."""
        return self.mode is Mode.PROCESS

    @property
    def ring(self) -> str:
        """The mode that a program reads from CS: `user` or `supervisor`."""
        return "user" if self.is_process else "supervisor"

    def applied(self, spec: AppSpec) -> AppSpec:
        """Return the specification of the application in this variant."""
        return replace(
            spec,
            rewrite_syscalls=self.rewrite,
            level=self.level,
            returns=self.returns,
            page_size=self.page_size or spec.page_size,
        )


# Normal processes use the `syscall` instruction: rewriting would add a call.
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
        "dynamic",
        "process, dynamic executable",
        mode=Mode.PROCESS,
        rewrite=False,
        as_is=True,
    ),
    Variant("as-is", "the same in ring 0, as it is", level=Level.FAST, as_is=True),
    Variant(
        "pgo",
        "as ret, compiled by counts of a training run",
        level=Level.FAST,
        returns=Returns.RET,
        pgo=True,
    ),
)
"""All variants, in the order of the columns."""

NAMES = tuple(variant.name for variant in VARIANTS)


def chosen(names: Sequence[str], *, pgo: bool = False) -> tuple[Variant, ...]:
    """Return the variants of these names in the order of VARIANTS, all if `names` is empty.

    Variants that need branch counts are included only with `pgo`. Raises UsageError for an
    unknown name, and for a named variant that needs counts without `pgo`.
    """
    for name in names:
        if name not in NAMES:
            raise UsageError(f"unknown variant `{name}`", remedy=f"choose from: {', '.join(NAMES)}")
    found = tuple(each for each in VARIANTS if not names or each.name in names)
    counted = [each.name for each in found if each.pgo]
    if counted and names and not pgo:
        raise UsageError(
            f"the variant `{counted[0]}` needs branch counts",
            remedy="name their file with --pgo FILE",
        )
    return tuple(each for each in found if pgo or not each.pgo)
