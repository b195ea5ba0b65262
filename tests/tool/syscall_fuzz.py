# SPDX-License-Identifier: GPL-2.0
"""Generates functions around `syscall` instructions, in assembly, and a program that runs them.

Each function takes registers from one array and leaves them in another; what it does
between depends on nothing but these. RCX and R11 are lost in any system call.
"""

from __future__ import annotations

from random import Random

SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
FREE = ("rax", "rbx", "rbp", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r12", "r13")
"""What a body computes with; R15 keeps the array for the results, R14 is for loops."""

NUMBERS = (102, 107, 104, 110, 95, 1000, 1001)
"""getuid, geteuid, getgid, getppid, umask (which returns the last), two that do not exist."""

TURNS = 4
"""Times that each function runs, with other values."""

MAIN = """
#include <stdio.h>
extern void (*const table[])(const unsigned long *, unsigned long *);
extern const int count;
int main(void)
{
	unsigned long in[16], out[16], x = 88172645463325252UL;
	for (int n = 0; n < count; n++)
		for (int turn = 0; turn < 4; turn++) {
			for (int i = 0; i < 16; i++) {
				x ^= x << 13; x ^= x >> 7; x ^= x << 17;
				in[i] = i % 3 ? x : (x & 7);
				out[i] = 0;
			}
			table[n](in, out);
			printf("%d.%d", n, turn);
			for (int i = 0; i < 16; i++)
				printf(" %lx", out[i]);
			putchar('\\n');
		}
	return 0;
}
"""


class _Function:
    def __init__(self, random: Random, number: int) -> None:
        self.random = random
        self.number = number
        self.labels = 0
        self.lines: list[str] = []
        self.red_zone = random.random() < 0.35
        self.room = 0 if self.red_zone else random.choice((0, 8, 24, 136))

    def emit(self, *lines: str) -> None:
        self.lines += lines

    def label(self) -> str:
        self.labels += 1
        return f".L{self.number}_{self.labels}"

    def register(self, *but: str) -> str:
        return self.random.choice([name for name in FREE if name not in but])

    def offset(self) -> int:
        """Return where on the stack a word may be kept."""
        if self.red_zone:
            return -8 * self.random.randint(1, 16)
        return 8 * self.random.randrange(max(1, self.room // 8))

    def fill(self, most: int, *but: str) -> None:
        """Add some instructions that leave the registers `but` alone."""
        for _ in range(self.random.randint(0, most)):
            a, b = self.register("rax", *but), self.register("rax")
            self.emit(
                self.random.choice(
                    (
                        f"mov %{b}, %{a}",
                        f"add %{b}, %{a}",
                        f"xor ${self.random.randint(1, 100)}, %{a}",
                        f"lea 5(%{b}, %{a}, 2), %{a}",
                        f"imul $7, %{b}, %{a}",
                        f"mov ${self.random.randint(0, 1 << 30)}, %{a}",
                        f"bswap %{a}",
                        f"inc %{a}",
                        f"mov %fs:0, %{a}\n\txor %{a}, %{a}",
                        f"mov table(%rip), %{a}\n\txor %{a}, %{a}",
                    )
                )
            )

    def number_into_rax(self) -> None:
        number = self.random.choice(NUMBERS)
        self.emit(
            self.random.choice(
                (
                    f"mov ${number}, %eax",
                    f"mov ${number}, %eax",
                    f"movq ${number}, %rax",
                    "xor %eax, %eax\n\tmov $102, %al",
                    f"mov ${number}, %r10d\n\tmov %r10d, %eax",
                    f"push ${number}\n\tpop %rax" if not self.red_zone else "mov $102, %eax",
                )
            )
        )

    def site(self) -> None:
        """Add a system call, in one of the shapes that matter."""
        shape = self.random.choice(
            ("plain", "plain", "apart", "into", "over", "behind", "loop", "flags", "twice", "odd")
        )
        a, b, other = self.register("rax"), self.register("rax"), self.label()
        match shape:
            case "plain":
                self.number_into_rax()
                self.emit("syscall")
            case "apart":
                self.number_into_rax()
                self.fill(4)
                self.emit("syscall")
            case "into":  # something jumps between the number and the instruction
                self.emit("mov $1000, %eax", f"test $1, %{a}", f"jz {other}")
                self.number_into_rax()
                self.emit(f"{other}: syscall")
            case "over":
                self.emit("mov $5, %eax", f"cmp %{a}, %{b}", f"jb {other}")
                self.number_into_rax()
                self.emit("syscall", f"{other}:")
            case "behind":  # something jumps to what may move
                self.emit("mov $5, %eax", f"test $2, %{a}", f"jnz {other}", "xor %eax, %eax")
                self.emit("mov $104, %al", f"mov %{b}, %{b}", "syscall", f"lea 1(%{b}), %{b}")
                self.emit(f"{other}: add ${self.random.randint(1, 99)}, %{b}")
            case "loop":
                self.emit(f"mov ${self.random.randint(2, 4)}, %r14d", f"{other}:")
                self.number_into_rax()
                self.emit("syscall", f"add %rax, %{a}", "dec %r14d", f"jnz {other}")
            case "flags":
                self.flags(a, b)
            case "twice":
                self.number_into_rax()
                self.emit("syscall", f"add %rax, %{a}", "mov $107, %eax", "syscall")
            case _:  # a jump into the middle of an instruction
                self.emit(f"test $4, %{a}", f"jnz {other} + 1", f"{other}: mov $0x90909090, %eax")
                self.number_into_rax()
                self.emit("syscall")

    def flags(self, a: str, b: str) -> None:
        """Add a call with flags from before that are looked at behind, or are not."""
        number = self.random.choice(NUMBERS)
        end = self.label()
        self.emit(f"mov ${number}, %eax", f"cmp %{a}, %{b}")
        if self.random.random() < 0.5:
            self.emit(f"mov ${number}, %eax")
        self.emit("syscall")
        if self.random.random() < 0.4:
            self.emit(f"mov %rax, %{a}")
        self.emit(
            self.random.choice(
                (
                    f"setc %dl\n\tsets %{'sil'}",
                    f"adc $3, %{a}",
                    f"jo {end}\n\tadd $9, %{b}\n{end}:",
                    f"cmovbe %{a}, %{b}",
                    f"inc %{a}\n\tsbb %{b}, %{b}",
                    f"jmp {end}\n\tud2\n{end}: seta %dl",
                    f"test %{a}, %{a}\n\tsetz %dl",
                    f"add %{a}, %{b}",
                )
            )
        )

    def text(self) -> str:
        """Return the whole function."""
        name = f"f{self.number}"
        self.emit(*(f"push %{register}" for register in SAVED))
        if self.room:
            self.emit(f"sub ${self.room}, %rsp")
        self.emit("mov %rsi, %r15", "mov %rdi, %r14")
        self.emit(*(f"mov {8 * i}(%r14), %{register}" for i, register in enumerate(FREE)))
        for _ in range(self.random.randint(1, 3)):
            self.stretch()
        self.emit("xor %ecx, %ecx")
        self.emit(*(f"mov %{register}, {8 * i}(%r15)" for i, register in enumerate(FREE)))
        if self.room:
            self.emit(f"add ${self.room}, %rsp")
        self.emit(*(f"pop %{register}" for register in reversed(SAVED)), "ret")
        body = "\n".join(line if line.startswith(".L") else f"\t{line}" for line in self.lines)
        return f"\t.type {name}, @function\n{name}:\n{body}\n\t.size {name}, . - {name}\n"

    def stretch(self) -> None:
        self.fill(3)
        keep = (self.red_zone or self.room) and self.random.random() < 0.8
        at, value = self.offset(), self.register("rax")
        if keep and self.random.random() < 0.3:  # by a copy of the stack pointer
            self.emit("xor %r13d, %r13d", f"mov %{value}, %r12", "mov %rsp, %r13")
            self.emit(f"mov %r12, {at}(%r13)")
            self.number_into_rax()
            self.emit("syscall", f"mov {at}(%r13), %rdi", "xor %r13d, %r13d")
            return
        if keep:
            self.emit(f"mov %{value}, {at}(%rsp)")
        if not self.red_zone and self.room and self.random.random() < 0.3:
            self.emit("mov %r8, (%rsp)", "mov $104, %eax", "mov (%rsp), %rsi", "syscall")
        self.site()
        if keep:
            self.emit(f"mov {at}(%rsp), %{self.register('rax')}")
        self.fill(3)


def assembly(seed: int, count: int) -> str:
    """Return `count` functions and the table of them that MAIN reads."""
    random = Random(seed)
    functions = "".join(_Function(random, number).text() for number in range(count))
    rows = "".join(f"\t.quad f{number}\n" for number in range(count))
    return (
        f"\t.text\n{functions}\t.data\n\t.balign 8\n\t.globl table, count\ntable:\n{rows}"
        f'count:\t.long {count}\n\t.section .note.GNU-stack, "", @progbits\n'
    )
