# SPDX-License-Identifier: GPL-2.0
"""Lets an exception arrive before each instruction of a way through the kernel, and compares.

The guest stops in front of an instruction, gets the exception, and is stopped anew when
it is to execute that instruction: all registers must be what they were. So nothing is
left to chance, as it is with a storm of NMIs that hits where it happens to hit.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from tests.boot.gdbstub import AC, IF, RF, TF, State, Stub, attach
from tests.boot.harness import PROGRAMS, Built, Lab, Ran
from tests.boot.kernels import FULL
from tests.boot.stress import HARMLESS
from ukl.base.model import Guest, Outcome, Returns
from ukl.elf.reader import Elf
from ukl.flow.bootable import linked
from ukl.guest.mounts import marker_path
from ukl.image import initrd
from ukl.settings import manifest
from ukl.vm.launch import Options
from ukl.vm.session import Session

STATUS = 1 << 63 | 1 << 61 | 1 << 60 | 1 << 44
"""MCi_STATUS: valid, uncorrected, enabled; and deferred, with which AMD's rules go on, too:
see arch/x86/kernel/cpu/mce/severity.c."""

GLOBAL = 7
"""MCG_STATUS: in progress; the instruction pointer is that of the error, and one to go on at."""

BANK = 1
"""Of machine checks. The kernel does not use bank 0 of all processors."""

KERNEL_HALF = 1 << 63
RED_ZONE = 128
WAY = 256
"""Bytes of a function of ways.S up to where it enters the kernel, at most."""

LIMIT = 100_000
"""Instructions of a way at most."""

NESTED = 5000
"""How often others come by where one is waited for, at most: handlers of exceptions on other
stacks, and timers' interrupts of other tasks."""

HIGHEST = 15
"""The highest priority of interrupts."""

RETURN_LENGTH = 3
"""Instructions of a return without IRET on the application's stack."""

MINIMUM, FAST_MINIMUM = 50, 15
"""Instructions of a way at least, without its C function."""

UNTRAPPED = (b"\x48\xcf", b"\x48\x0f\x07")
"""IRETQ and SYSRETQ take the trap flag from elsewhere."""


CALLS, ANY = 512, 514
SLOT = 160
"""Entries of fast calls by number, the last entry, and bytes of each: asm/ukl_fast.h of the
overlay."""

KEYS = b"\n" * 14
"""Enough for the serial port to tell of them at once: it is set to do so from 8 on."""

TYPED = 0.05
"""Seconds until QEMU has what was typed."""

POPF = b"\x9d"


class Kind(StrEnum):
    """What arrives: three exceptions that find interrupts off as well as on; an interrupt."""

    NMI = "nmi"
    MACHINE_CHECK = "machine check"
    DEBUG = "debug"
    INTERRUPT = "interrupt"


HANDLERS = {
    Kind.NMI: "asm_exc_nmi",
    Kind.MACHINE_CHECK: "asm_exc_machine_check",
    Kind.DEBUG: "asm_exc_debug",
}
"""Where each arrives."""

GATE = 16
"""Bytes of an entry in gate.S, by which applications get to handlers: asm/ukl.h of the overlay."""

PAGE_FAULT, TIMER = 14, 0xEC
"""Vectors: asm/trapnr.h, and LOCAL_TIMER_VECTOR of asm/irq_vectors.h."""

INTERRUPTS = ("asm_common_interrupt", "asm_sysvec_apic_timer_interrupt")


@dataclass(frozen=True)
class Program:
    """The program, linked into a kernel, and as a normal one."""

    built: Built
    user: Path


@dataclass(frozen=True)
class Symbols:
    """Addresses of the running kernel, which KASLR must not move."""

    addresses: dict[str, int]
    process: bool
    """Whether the program is a normal process."""

    @classmethod
    def of(cls, program: Program, process: bool) -> Symbols:
        """Return those that are needed here."""
        wanted = (
            *HANDLERS.values(),
            *INTERRUPTS,
            *("__ukl_text_start", "__ukl_stubs_start", "__ukl_text_end"),
            *("ukl_syscall", "ukl_syscall_restart"),
            *("entry_SYSCALL_64", "ukl_entry_SYSCALL_64"),
            *("asm_exc_page_fault", "exc_page_fault", "do_syscall_64"),
            "sysvec_apic_timer_interrupt",
            *("ukl_fast_calls", "ukl_fast_calls_end", "ukl_fast_tails"),
            *("ukl_fast_ret", "__x64_sys_getppid"),
            *("ukl_fast_110", "ukl_syscall_fast"),
            *("ukl_return_to_ip", "ukl_return_to_ip_end"),
            *("ukl_return_to_call", "ukl_return_to_call_ret"),
            *("ukl_return_by_ret", "ukl_return_by_ret_end", "ukl_gates"),
        )
        own = ("by_call", "by_syscall", "by_fault", "finished")
        vmlinux = program.built.image.vmlinux
        found = Elf.open(vmlinux).addresses(wanted)
        found.update(Elf.open(program.user if process else vmlinux).addresses(own))
        assert not {*wanted, *own} - set(found), found
        return cls(found, process)

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]

    def gate(self, vector: int, handler: str) -> int:
        """Return where the CPU goes on for a vector, in the program's address space."""
        return self[handler] if self.process else self["ukl_gates"] + GATE * vector

    def in_program(self, address: int) -> bool:
        """Whether the address is one of the program, as seen by the kernel."""
        if self.process:
            return address < KERNEL_HALF
        return self["__ukl_text_start"] <= address < self["__ukl_text_end"]

    def in_way(self, address: int) -> bool:
        """Whether the address is where the program, and it alone, enters the kernel."""
        return self["by_call"] <= address < self["by_fault"] + WAY

    def in_stubs(self, address: int) -> bool:
        """Whether the address is one of the kernel's own among application text."""
        return self["__ukl_stubs_start"] <= address < self["__ukl_text_end"]

    def completed(self, state: State) -> State:
        """Return a frame as a signal handler sees it: a stub that goes back has gone back."""
        ip = state.ip
        if self["ukl_return_to_ip"] <= ip < self["ukl_return_to_ip_end"]:
            pushed = 0
        elif self["ukl_return_to_call"] <= ip <= self["ukl_return_to_call_ret"]:
            pushed = 8 * (ip == self["ukl_return_to_call_ret"])
        else:
            return state
        flags = state.flags | IF
        return state.having_flags(flags).moved(ip=state.cx, sp=state.sp + pushed)

    def leaves(self, address: int) -> bool:
        """Whether the address is in the stubs of the way out, where interrupts may be off."""
        return self["__ukl_stubs_start"] <= address < self["ukl_syscall_restart"]


@dataclass
class Walk:
    """What came of a way through the kernel."""

    kind: Kind
    places: list[int] = field(default_factory=list)
    """Instruction pointers at which the exception arrived."""
    stacks: set[int] = field(default_factory=set)
    """The pages of their stack pointers."""
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Walker:
    """Walks through a guest with one processor."""

    stub: Stub
    session: Session
    symbols: Symbols
    skip: frozenset[int] = frozenset()
    """Functions to run through, undisturbed.

    The C functions among others: the storm's timer asks for the processor so often that, with
    an exception for each instruction, their loop before the way out would have no end.
    """

    async def walk(self, kind: Kind, state: State, until: Callable[[State], bool]) -> Walk:
        """Disturb each instruction from `state` on, until `until`, which sees each of them."""
        walk = Walk(kind)
        for _ in range(LIMIT):
            if state.ip in self.skip:
                (back,) = await self.stub.words(state.sp, 1)
                state = await self._again(back, state.sp + 8)
            if walk.places and until(state):
                return walk
            disturb = self._trap if kind is Kind.DEBUG else self._interrupt
            state = await disturb(walk, state)
            # What was overwritten may lead anywhere.
            assert not walk.wrong, walk.wrong
        raise AssertionError(f"no end after {LIMIT} instructions")

    async def send(self, kind: Kind) -> None:
        """Send one to the processor."""
        word = "nmi" if kind is Kind.NMI else f"mce 0 {BANK} {STATUS:#x} {GLOBAL:#x} 0 0"
        said = await self.session.monitor.human(word)
        assert not said.strip(), said

    async def _interrupt(self, walk: Walk, before: State) -> State:
        """Let the exception arrive here, and execute one instruction afterwards."""
        await self.send(walk.kind)
        arrived = await self.stub.go(self.symbols[HANDLERS[walk.kind]])
        frame = await self.stub.frame(arrived.sp)
        if (frame.ip, frame.flags & ~RF, frame.sp) != (before.ip, before.flags & ~RF, before.sp):
            walk.wrong.append(f"{walk.kind} at {frame.ip:#x}, not at {before.ip:#x}")
        await self._compare(walk, before, await self._again(before.ip, before.sp))
        return await self.stub.step()

    async def _trap(self, walk: Walk, before: State) -> State:
        """Execute one instruction with a trap behind it."""
        if (await self.stub.read(before.ip, 3)).startswith(UNTRAPPED):
            return await self.stub.step()
        await self.stub.set_flags(before.flags | TF)
        arrived = await self.stub.go(self.symbols[HANDLERS[Kind.DEBUG]])
        frame = await self.stub.frame(arrived.sp)
        expected = arrived.having(replace(frame, flags=frame.flags & ~TF))
        if not self.symbols.process:
            expected = self.symbols.completed(expected)
        after = await self._again(expected.ip, expected.sp)
        await self.stub.set_flags(after.flags & ~TF)
        after = await self.stub.state()
        await self._compare(walk, expected, after)
        return after

    async def _again(self, ip: int, sp: int) -> State:
        """Run until `ip` is executed on this very stack."""
        for _ in range(NESTED):
            state = await self.stub.go(ip)
            if state.sp == sp:
                return state
            await self.stub.step()
        raise AssertionError(f"{ip:#x} is executed again and again, but not on {sp:#x}")

    async def _compare(self, walk: Walk, before: State, after: State) -> None:
        walk.places.append(before.ip)
        walk.stacks.add(before.sp >> 12)
        if before.flags & IF:
            # Other tasks may have run, with page faults of their own.
            before, after = before.without_cr2(), after.without_cr2()
        if walk.kind is not Kind.NMI and self.symbols.leaves(before.ip):
            # What is application mode to the kernel goes on with interrupts on.
            before = before.having_flags(before.flags | IF)
        if before != after:
            walk.wrong.append(f"{walk.kind} at {before.ip:#x}: {before.differences(after)}")


@dataclass(frozen=True)
class Rounds:
    """Fast calls, each disturbed once, at the next instruction.

    A way cannot be walked as others are: behind the first disturbance the call may be one
    of ukl_syscall().
    """

    walker: Walker
    entry: str

    async def go(self, kind: Kind) -> Walk:
        """Disturb one instruction after the other until the call is back."""
        stub, symbols = self.walker.stub, self.walker.symbols
        packed = await stub.read(symbols["ukl_fast_tails"], 2 * (ANY + 1))
        tails = struct.unpack(f"<{ANY + 1}H", packed)
        walk = Walk(kind)
        for count in range(LIMIT):
            before = await self._call(count)
            if before.ip in self.walker.skip:
                continue
            if self._over(before.ip):
                return walk
            if kind is Kind.DEBUG:
                if (await stub.read(before.ip, 1)) == POPF:
                    return walk
                expected = await self._trap(before)
            elif kind is Kind.INTERRUPT:
                expected = self._interrupted(await self._interrupt(before), tails)
            else:
                expected = before if kind is Kind.NMI else await self._returned(before)
                await self.walker.send(kind)
                await self._arrived(before, HANDLERS[kind])
            after = await stub.go(expected.ip)
            walk.places.append(before.ip)
            walk.stacks.add(before.sp >> 12)
            wanted, found = expected.without_cr2(), after.without_cr2()
            if self.entry == ROUNDS[RETURN]:
                # It stays what the exception has made of it: nobody looks at it at CPL 0.
                wanted, found = wanted.without_ss(), found.without_ss()
            if wanted != found:
                differ = wanted.differences(found)
                walk.wrong.append(f"{kind} at {before.ip:#x}: {differ}")
            # What was overwritten may lead anywhere.
            assert not walk.wrong, walk.wrong
            if kind is Kind.DEBUG:
                # As a debugger has it; the program would get a signal for each of its own.
                await stub.set_flags(after.flags & ~TF)
        raise AssertionError(f"no end after {LIMIT} instructions")

    async def _call(self, count: int) -> State:
        """Wait for a call, and return what it has after so many instructions.

        Nothing interrupts it from here on: a timer may have run out whenever the guest stops.
        """
        stub, entry = self.walker.stub, self.walker.symbols[self.entry]
        await stub.mask(0)
        await stub.go(entry)
        await stub.mask(HIGHEST)
        state = await stub.state()
        for _ in range(count):
            if state.ip in self.walker.skip:
                (back,) = await stub.words(state.sp, 1)
                state = await stub.go(back)
            else:
                state = await stub.step()
        return state

    async def _interrupt(self, before: State) -> State:
        """Let an interrupt arrive: the serial port's, or a timer's that was first.

        Return the registers at its arrival, whose CR8 is another.
        """
        assert before.flags & IF, before
        self.walker.session.type(KEYS)
        await asyncio.sleep(TYPED)
        await self.walker.stub.mask(0)
        unmasked = await self.walker.stub.state()
        await self._arrived(unmasked, *INTERRUPTS)
        return unmasked

    async def _arrived(self, before: State, *handlers: str) -> None:
        stub, symbols = self.walker.stub, self.walker.symbols
        arrived = await stub.go(*(symbols[name] for name in handlers))
        # An interrupt's number was pushed behind its frame.
        pushed = arrived.ip == symbols["asm_common_interrupt"]
        frame = await stub.frame(arrived.sp + 8 * pushed)
        assert (frame.ip, frame.sp) == (before.ip, before.sp), frame

    async def _trap(self, before: State) -> State:
        """Execute one instruction with a trap behind it; return where that has to lead."""
        stub, symbols = self.walker.stub, self.walker.symbols
        await stub.set_flags(before.flags | TF)
        arrived = await stub.step()
        assert arrived.ip == symbols[HANDLERS[Kind.DEBUG]], arrived
        frame = await stub.frame(arrived.sp)
        assert frame.flags & TF, frame
        sp = frame.sp if frame.sp < KERNEL_HALF else arrived.r11
        number = self._slot(before.ip)
        return arrived.having(frame).moved(
            ip=symbols["ukl_syscall"], sp=sp, ax=number if number < CALLS else None
        )

    async def _returned(self, before: State) -> State:
        """Return what has to be found where a return is disturbed: that it has happened."""
        symbols, stub = self.walker.symbols, self.walker.stub
        begin = symbols["ukl_return_by_ret"]
        if not begin <= before.ip < symbols["ukl_return_by_ret_end"]:
            return before
        if before.ip == begin:
            flags, ip = await stub.words(before.sp, 2)
            return before.having_flags(flags | IF).moved(ip=ip, sp=before.sp + 16 + RED_ZONE)
        (ip,) = await stub.words(before.sp, 1)
        return before.having_flags(before.flags | IF).moved(ip=ip, sp=before.sp + 8 + RED_ZONE)

    def _over(self, ip: int) -> bool:
        """Whether the way ends before `ip`. What was interrupted may be a stub itself."""
        symbols = self.walker.symbols
        if self.entry == ROUNDS[RETURN]:
            return not symbols[self.entry] <= ip < symbols["ukl_return_by_ret_end"]
        return symbols.in_program(ip) and not symbols.in_stubs(ip)

    def _slot(self, ip: int) -> int:
        return min((ip - self.walker.symbols["ukl_fast_calls"]) // SLOT, ANY)

    def _interrupted(self, before: State, tails: Sequence[int]) -> State:
        """Return where an interrupt has to lead: to another look at the flags, at the latest."""
        symbols = self.walker.symbols
        if not symbols["ukl_fast_calls"] <= before.ip < symbols["ukl_fast_calls_end"]:
            return before
        slot = self._slot(before.ip)
        tail = symbols["ukl_fast_calls"] + slot * SLOT + tails[slot]
        if before.sp >= KERNEL_HALF:
            if before.ip < tail:
                return before
            # The tail ends with STAC; the work that it checks for runs with SMAP closed.
            return before.having_flags(before.flags & ~AC).moved(ip=tail)
        if before.ip >= tail:
            return before.moved(ip=symbols["ukl_fast_ret"])
        return before.moved(ip=symbols["ukl_syscall"], ax=slot if slot < CALLS else None)


Begin = Callable[[Walker], Awaitable[State]]


async def at_call(walker: Walker) -> State:
    """Wait for a call of ukl_syscall()."""
    return await walker.stub.go(walker.symbols["ukl_syscall"])


async def at_syscall(walker: Walker) -> State:
    """Wait for a SYSCALL of the program."""
    while True:
        entry = "entry_SYSCALL_64" if walker.symbols.process else "ukl_entry_SYSCALL_64"
        state = await walker.stub.go(walker.symbols[entry])
        if walker.symbols.in_way(state.cx):
            return state
        await walker.stub.step()


async def at_fault(walker: Walker) -> State:
    """Wait for the program's page fault."""
    while True:
        state = await walker.stub.go(walker.symbols.gate(PAGE_FAULT, "asm_exc_page_fault"))
        _, ip = await walker.stub.words(state.sp, 2)
        if walker.symbols.in_way(ip):
            return state
        await walker.stub.step()


async def at_timer(walker: Walker) -> State:
    """Wait for a timer's interrupt that hits application mode."""
    while True:
        state = await walker.stub.go(walker.symbols.gate(TIMER, INTERRUPTS[1]))
        (ip,) = await walker.stub.words(state.sp, 1)
        if walker.symbols.in_program(ip):
            return state
        await walker.stub.step()


# --- whole runs ---------------------------------------------------------------------

SCRIPT = """
mount -t debugfs none /sys/kernel/debug 2>/dev/null
# With one processor it sends nothing; but its handler is there, and takes page faults.
echo 1000000000 >/sys/kernel/debug/ukl/nmi_storm &
storm=$!
echo "the walk begins" >/dev/kmsg
{program} {way}
status=$?
kill $storm
echo "status $status"
cat /sys/kernel/debug/ukl/nmi_storm
dmesg -r | sed '1,/the walk begins/d' | grep -E '{log}' | grep -v -E '{harmless}' |
    sed 's/^/!!!/'
"""

LOG = "^<[0-4]>|BUG:|WARNING:|Oops|unwind"
WORST = "BUG:|Oops|unwind"
"""What is looked for in the kernel's log. Once it warns that it has not asked for a trap
behind an instruction of its own, which nothing but the test has."""

TIMEOUT = 600.0


@dataclass(frozen=True)
class Way:
    """A way into the kernel and out of it."""

    argument: str
    begin: Begin
    handler: str
    """The C function that does the work."""


RETURN = "return"
"""The last instructions of the way back without IRET, of a program that is to return so."""

WAYS = {
    "call": Way("call", at_call, "do_syscall_64"),
    "syscall": Way("syscall", at_syscall, "do_syscall_64"),
    "fault": Way("fault", at_fault, "exc_page_fault"),
    "fast-call": Way("e", at_call, "__x64_sys_getppid"),
    "fast-number": Way("n", at_call, "__x64_sys_getppid"),
    RETURN: Way("call", at_call, "do_syscall_64"),
    "timer": Way("call", at_timer, "sysvec_apic_timer_interrupt"),
}

FAST = {"fast-call": "ukl_fast_110", "fast-number": "ukl_syscall_fast"}
"""Where those enter the kernel. Single steps lead elsewhere there: see Rounds."""

ROUNDS = {**FAST, RETURN: "ukl_return_by_ret"}
"""Where ways begin that have a disturbance each time they are gone."""

PROCESS_WAYS = ("syscall", "fault")
"""Those that can be told from what other processes do."""


@dataclass(frozen=True)
class Walked:
    """A way that was walked, and how the guest ended."""

    walk: Walk
    ran: Ran


def build(lab: Lab, returns: Returns = Returns.IRET) -> Program:
    """Return the program in a kernel with CONFIG_UKL_TEST."""
    spec = manifest.load(PROGRAMS / "injected")
    name = f"{spec.name}-{returns}"
    spec = replace(spec, name=name, kernel_options=FULL, returns=returns)
    return Program(lab.build(spec), linked(spec, lab.context).app.user)


def run(
    lab: Lab,
    program: Program,
    name: str,
    kind: Kind,
    *,
    process: bool = False,
    append: tuple[str, ...] = (),
) -> Walked:
    """Walk one way with one kind of exception; `process`: as a normal process."""
    way = WAYS[name]
    built = program.built
    symbols = Symbols.of(program, process)

    async def go() -> Walked:
        path = initrd.user_path if process else marker_path
        log = WORST if kind is Kind.DEBUG else LOG
        words = SCRIPT.format(
            program=path(built.spec.name),
            way=way.argument,
            log=log,
            harmless="|".join(HARMLESS),
        )
        options = Options(
            Guest(
                companion=("/bin/sh", "-c", words),
                start=False,
                timeout=TIMEOUT,
                append=("nokaslr", *append),
            )
        )
        async with lab.boot(built, options=options) as booted:
            await booted.says("ready")
            session = booted.session
            async with attach(session, session.settings.directory / "gdb") as stub:
                skip = frozenset({symbols[way.handler]})
                walker = Walker(stub, session, symbols, skip)
                if name in ROUNDS:
                    walk = await Rounds(walker, ROUNDS[name]).go(kind)
                    await stub.mask(0)
                else:
                    state = await way.begin(walker)
                    walk = await walker.walk(kind, state, _home(symbols))
                # It is at home: its own page tables are in use.
                await stub.write(symbols["finished"], b"\1")
                await stub.leave()
            return Walked(walk, await booted.end())

    return asyncio.run(go())


def _home(symbols: Symbols) -> Callable[[State], bool]:
    """Return what tells that the application goes on, behind the kernel's stubs."""
    entered = False

    def until(state: State) -> bool:
        nonlocal entered
        entered = entered or not symbols.in_program(state.ip)
        return entered and symbols.in_program(state.ip) and not symbols.in_stubs(state.ip)

    return until


def judge(walked: Walked, name: str) -> None:
    """Assert that nothing was changed, by the stub, the program and the log."""
    walk, ran = walked.walk, walked.ran
    print(f"{name}, {walk.kind}: {len(walk.places)} instructions, {len(walk.stacks)} stacks")
    assert ran.result.outcome is Outcome.EXITED, ran.text
    assert "status 0" in ran.lines, ran.text
    assert "!!!" not in ran.text, ran.text
    if walk.kind is Kind.NMI:
        # And the handler was the one that takes page faults.
        handled = re.search(r"^sent 0 handled (\d+) ", ran.text, re.MULTILINE)
        assert handled is not None, ran.text
        assert int(handled[1]) >= len(walk.places), ran.text
    # The way was walked to its end: onto the kernel's stack and back.
    if name == RETURN:
        assert len(walk.places) == RETURN_LENGTH, walk
        return
    if name not in FAST:
        assert len(walk.places) > MINIMUM, walk
    elif walk.kind is not Kind.DEBUG:
        assert len(walk.places) > FAST_MINIMUM, walk
    assert len(walk.stacks) > 1, walk
