# SPDX-License-Identifier: GPL-2.0
"""The disassembly against objdump's: the machine's libc.a, and generated functions."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ukl.app import toolchain
from ukl.elf import archive
from ukl.elf.reader import Elf
from ukl.syscalls.code import codes
from ukl.syscalls.disassemble import sweep
from ukl.syscalls.rewritable import Site, Way

INSTRUCTIONS = (
    "mov ${n},%eax",
    "mov ${n},%edi",
    "movabs $0x050f050f050f,%rax",
    "mov %rcx,%r10",
    "xor %eax,%eax",
    "xor %edx,%edx",
    "cmp $-4095,%rax",
    "lea 0x50f(%rip),%rdi",
    "lea external(%rip),%rsi",
    "call external",
    "mov %rdi,-8(%rsp)",
    "mov 8(%rsp),%rdi",
    "push %rbx",
    "pop %rbx",
    "sub $24,%rsp",
    "vaddps %zmm0,%zmm1,%zmm2",
    "lock cmpxchg %edx,(%rdi)",
    "rep stosb",
    "jmp *%rax",
    "je 1f",
    "jmp 2f",
    "ret",
    "nopw 0x50f(%rax)",
)


@pytest.fixture(autouse=True)
def tools(need: Callable[..., None]) -> None:
    need("gcc", "objdump")


def sites(elf: Elf) -> Iterator[Site]:
    for code in codes(elf, elf.raw_symbols(), list(elf.relocations())).values():
        yield from sweep(code).sites


def objdump(path: Path) -> list[str]:
    argv = ["objdump", "-d", "--no-show-raw-insn", "-w", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_libc() -> None:
    [path] = (path for path in toolchain.find().runtime if path.name == "libc.a")
    found = [site for name, data in archive.members(path) for site in sites(Elf(data, name))]
    expected: Counter[str] = Counter()
    behind_mov = 0
    before = ""
    for line in objdump(path):
        if match := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            function = match[1]
        elif re.search(r"\tsyscall\b", line):
            expected[function] += 1
            behind_mov += bool(re.search(r"\tmov +\$0x[0-9a-f]+,%eax$", before))
        before = line
    assert Counter(site.function for site in found).total() == expected.total() > 400
    ways = Counter(site.way for site in found)
    # Only what has the number directly before it can change in place, and nearly all of it can.
    assert behind_mov - 15 <= ways[Way.IN_PLACE] <= behind_mov
    assert ways[Way.KEEP] < len(found) // 20
    assert {site.function for site in found if site.way is Way.KEEP} >= {"__restore_rt"}
    assert sum(site.red_zone for site in found) < 10


def generated(chance: random.Random) -> str:
    lines = [".text"]
    for number in range(12):
        name = f"f{number}"
        lines += [f".globl {name}", f".type {name},@function", f"{name}:"]
        for _ in range(chance.randrange(5, 60)):
            if chance.random() < 0.2:
                lines.append(chance.choice(("1:", "2:")))
            if chance.random() < 0.3:
                if chance.random() < 0.5:
                    lines.append("mov ${n},%eax")
                lines.append("syscall")
            lines.append(chance.choice(INSTRUCTIONS))
        lines += ["1:", "2:", "ret", f".size {name},.-{name}"]
        if chance.random() < 0.5:
            lines.append(f".fill {chance.randrange(1, 40)},1,{chance.choice((0, 0x90, 0xCC))}")
    return "\n".join(lines).replace("{n}", str(chance.randrange(400))) + "\n"


@pytest.mark.parametrize("seed", range(12))
def test_generated_functions(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "generated.o"
    text = generated(random.Random(seed))
    subprocess.run(
        ["gcc", "-c", "-x", "assembler", "-o", path, "-"], input=text.encode(), check=True
    )
    found = list(sites(Elf.open(path)))
    starts, targets, expected = set(), set(), []
    for line in objdump(path):
        if match := re.match(r"\s+([0-9a-f]+):\t(\S+)", line):
            starts.add(int(match[1], 16))
            if match[2] == "syscall":
                expected.append(int(match[1], 16))
            if jump := re.search(r"\tj\w+ +([0-9a-f]+) <", line):
                targets.add(int(jump[1], 16))
    assert [site.address for site in found] == expected
    assert expected
    for site in found:
        # What changes begins and ends between instructions, and nothing jumps into it.
        assert site.start in starts
        assert site.way is Way.KEEP or site.end - site.start >= 5
        if site.way is not Way.KEEP:
            assert not targets & set(range(site.start + 1, site.end))
