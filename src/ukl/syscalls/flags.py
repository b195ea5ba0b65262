# SPDX-License-Identifier: GPL-2.0
"""Finds out whether the flags are read after a `syscall`.

The instruction preserves them, a call does not. In doubt they count as read: then the
instruction stays, and works.

Source for the effect of instructions: Intel SDM, volume 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from ukl.syscalls.instruction import Instruction

LIMIT = 64
"""Number of instructions to follow; compilers write the flags within three."""

_WRITERS = """
    add sub cmp and or xor test neg imul mul ptest comiss comisd ucomiss ucomisd
    popf popfd popfq cmpxchg xadd bsf bsr tzcnt lzcnt popcnt andn blsr blsi blsmsk bextr bzhi
"""

_WRITE_ALL = frozenset(_WRITERS.split())
"""Instructions that overwrite all arithmetic flags (or leave them undefined)."""

_READ = ("set", "cmov", "fcmov", "adc", "sbb", "rc", "pushf", "lahf", "cmc", "adox", "loop", "j")

_END = frozenset({"ret", "repz ret", "ud2", "hlt", "call"})
"""After these the flags are not read: the ABI does not preserve them, or execution ends."""


def live(instructions: Sequence[Instruction], index: int) -> bool:
    """Return whether the flags may be read from instruction number `index` on.

    `instructions` are those of the whole function. The direction flag counts too.
    """
    if any(mnemonic == "std" for _, _, mnemonic, _ in instructions):
        return True
    numbers: dict[int, int] | None = None
    for _ in range(LIMIT):
        if index >= len(instructions):
            return True
        _, _, mnemonic, operands = instructions[index]
        plain = mnemonic.removeprefix("lock ").removeprefix("bnd ").removeprefix("notrack ")
        if plain in _END or plain in _WRITE_ALL:
            return False
        if plain == "jmp" and operands[:1].isdigit():
            if numbers is None:
                numbers = {address: n for n, (address, *_) in enumerate(instructions)}
            target = numbers.get(int(operands, 0))
            if target is None:
                return True
            index = target
            continue
        if plain.startswith(_READ) or plain in {"int3", ".byte"}:
            return True
        index += 1
    return True
