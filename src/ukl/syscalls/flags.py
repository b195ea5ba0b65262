# SPDX-License-Identifier: GPL-2.0
"""Tells whether the flags that a `syscall` leaves alone are looked at behind it.

A call does not keep them. Whatever is not known for certain counts as "looked at":
the instruction stays then, and works.

Source of what instructions do: Intel SDM, volume 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from ukl.syscalls.instruction import Instruction

FAR = 64
"""Instructions that are looked at; compilers write the flags within three."""

_WRITERS = """
    add sub cmp and or xor test neg imul mul ptest comiss comisd ucomiss ucomisd
    popf popfd popfq cmpxchg xadd bsf bsr tzcnt lzcnt popcnt andn blsr blsi blsmsk bextr bzhi
"""

_WRITE_ALL = frozenset(_WRITERS.split())
"""What leaves none of the arithmetic flags as it was (or leaves them undefined)."""

_READ = ("set", "cmov", "fcmov", "adc", "sbb", "rc", "pushf", "lahf", "cmc", "adox", "loop", "j")

_END = frozenset({"ret", "repz ret", "ud2", "hlt", "call"})
"""Behind these the flags are nobody's, by the ABI or because nothing comes."""


def live(instructions: Sequence[Instruction], index: int) -> bool:
    """Return whether the flags may be read from instruction number `index` on.

    `instructions` are those of the whole function. The direction flag counts too.
    """
    if any(mnemonic == "std" for _, _, mnemonic, _ in instructions):
        return True
    numbers: dict[int, int] | None = None
    for _ in range(FAR):
        if index >= len(instructions):
            return True
        _, _, mnemonic, operands = instructions[index]
        plain = mnemonic.removeprefix("lock ").removeprefix("bnd ").removeprefix("notrack ")
        if plain in _END or plain in _WRITE_ALL:
            return False
        if plain == "jmp" and operands[:1].isdigit():
            if numbers is None:
                numbers = {address: n for n, (address, *_) in enumerate(instructions)}
            following = numbers.get(int(operands, 0))
            if following is None:
                return True
            index = following
            continue
        if plain.startswith(_READ) or plain in {"int3", ".byte"}:
            return True
        index += 1
    return True
