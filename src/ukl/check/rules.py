# SPDX-License-Identifier: GPL-2.0
"""The rules: what each finding means and what to do. docs/reference/check.md lists them.

An error is certain not to link or not to run; a warning fails when that part of the
program is reached, or matters to some; the rest are facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its usual severity, what happens, and the remedy."""

    severity: Severity
    happens: str
    remedy: str = ""


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

RULES: dict[str, Rule] = {
    "dynamic": Rule(
        _E,
        "the program is linked dynamically; code of shared objects lies in user pages, "
        "which ring 0 may not execute",
        "link it statically: build it by `ukl wrap -- COMMAND`, or with ukl-cc as compiler",
    ),
    "no-static-library": Rule(
        _E,
        "the program needs a library of which there is no static archive here",
        "install the package that has it, or build one from the library's source",
    ),
    "static-library": Rule(_I, "the static archive that takes a shared library's place is here"),
    "linked": Rule(
        _E,
        "the program is linked already, at addresses of its own; the kernel takes a "
        "relocatable object",
        "build it by `ukl wrap -- COMMAND`, which leaves PROG.ukl.o beside PROG",
    ),
    "build": Rule(_E, "", ""),
    "machine": Rule(
        _E,
        "code for another machine",
        "rebuild it for x86-64",
    ),
    "lto-only": Rule(
        _E,
        "holds the compiler's intermediate code and no machine code",
        "compile it with -fno-lto or -ffat-lto-objects",
    ),
    "undefined": Rule(
        _W,
        "no file here and not the C library defines it; the link fails if nothing else does",
        "add the object or library that defines it",
    ),
    "data-room": Rule(
        _E,
        "more data than lies within reach of the program's text in the kernel",
        "make large static arrays dynamic (malloc, mmap), or raise "
        "CONFIG_PHYSICAL_START in [kernel] options",
    ),
    "narrow-address": Rule(
        _E,
        "the address of code in 32 bits without a sign: compiled for the low 2 GiB, "
        "while the text will be in the top 2 GiB",
        "compile it with -fPIC or -mcmodel=kernel; of a library, take the "
        "position-independent archive (lib*-pic.a)",
    ),
    "writable-code": Rule(
        _E,
        "a section is both writable and executable; kernel text is not writable, nor are data "
        "executable",
        "put code and data into different sections",
    ),
    "exec-stack": Rule(
        _W,
        "it asks for an executable stack and does not get one: code on the stack "
        "(trampolines of nested functions) ends with SIGSEGV",
        'avoid pointers to nested functions; in assembly add .section .note.GNU-stack,"",@progbits',
    ),
    "jit": Rule(
        _W,
        "it makes memory executable, to run code it generates or loads; ring 0 may not "
        "execute user pages (SMEP), so that ends with SIGSEGV",
        "turn the JIT compiler or the closures off when building, or at run time",
    ),
    "dlopen": Rule(
        _W,
        "it loads shared objects at run time; their code lies in user pages, "
        "which ring 0 may not execute: SIGSEGV at its first call",
        "build the modules in; leave the feature out that loads them",
    ),
    "python-extension": Rule(
        _W,
        "a shared object among the packages; its code cannot run in ring 0, so it is left out "
        "of the guest and its import is an ImportError",
        "use a version of the package that is pure Python; many take one by themselves",
    ),
    "python-module": Rule(
        _W,
        "not among the modules of the guest's standard library: ModuleNotFoundError",
        "do without it; see docs/howto/python.md for what there is",
    ),
    "nss": Rule(
        _W,
        "glibc looks names up by the services of /etc/nsswitch.conf: `files` and `dns` are "
        "built in, any other is loaded with dlopen and ends with SIGSEGV",
        "without the file in the guest, or with only `files` and `dns` in it, all is well",
    ),
    "iconv": Rule(
        _W,
        "glibc converts between UTF-8, UCS-2, UCS-4 and ASCII by itself; any other character "
        "set is loaded with dlopen: refused without its module, SIGSEGV with it",
        "use the built-in character sets, or link GNU libiconv",
    ),
    "gs": Rule(
        _E,
        "it refers to memory by %gs, which is the kernel's in ring 0: what it reads is not "
        "the program's, and the kernel breaks by what it writes",
        "for gs:0x28, the stack protector of -mcmodel=kernel, add "
        "-mstack-protector-guard=tls -mstack-protector-guard-reg=fs "
        "-mstack-protector-guard-offset=40 (ukl-cc does)",
    ),
    "gs-base": Rule(
        _E,
        "it changes %gs, by which the kernel finds its own data: the machine crashes",
        "leave this code out",
    ),
    "set-gs": Rule(
        _W,
        "arch_prctl(ARCH_SET_GS) fails with EPERM: %gs is the kernel's",
        "keep thread data under %fs, as glibc does",
    ),
    "privileged": Rule(
        _W,
        "an instruction that ends a process with SIGSEGV takes effect in ring 0",
        "make sure that it is never reached, or is meant",
    ),
    "int80": Rule(
        _W,
        "the 32-bit way into the kernel; there is none here: SIGSEGV",
        "use the syscall instruction, or libc's syscall()",
    ),
    "sysenter": Rule(
        _W,
        "the 32-bit way into the kernel; there is none here",
        "use the syscall instruction, or libc's syscall()",
    ),
    "vsyscall": Rule(
        _W,
        "an address of the vsyscall page, which is user text and is not there: SIGSEGV",
        "call time(), gettimeofday() or getcpu() of libc",
    ),
    "rseq": Rule(
        _W,
        "critical sections of restartable sequences in the program's text, which the kernel "
        "refuses because it lies in the kernel half: SIGSEGV when one is interrupted",
        "turn them off (glibc.pthread.rseq=0 in GLIBC_TUNABLES makes most libraries do so)",
    ),
    "cpu-needed": Rule(
        _W,
        "it says that it needs a later processor than any x86-64; on less it ends with SIGILL",
        "run it where the guest's processor has the level (not under emulation), or compile "
        "with -march=x86-64",
    ),
    "vector-code": Rule(
        _I,
        "it uses AVX instructions without a name that says they are chosen at run time; if "
        "nothing asks the processor first, it ends with SIGILL on one without",
        "see to it that the guest's processor has them, or compile without -march",
    ),
    "ifunc": Rule(
        _I,
        "the variant is chosen when the program starts, by what the guest's processor can "
        "do; this works",
    ),
    "tls": Rule(
        _I,
        "thread-local variables; the final link turns all access models into the "
        "shortest, local-exec",
    ),
    "syscalls": Rule(
        _I,
        "system calls by the syscall instruction, which works in ring 0; the link makes calls "
        "of them",
    ),
    "syscall-kept": Rule(
        _I,
        "the syscall instruction stays; it works",
    ),
    "language": Rule(_I, ""),
    "licence": Rule(
        _W,
        "not compatible with GPL-2.0-only, the kernel's licence: matters if you distribute the "
        "image, not for use; this is not legal advice",
        "keep the image to yourself, or link a library under another licence",
    ),
    "licence-unknown": Rule(
        _I,
        "no licence found; it matters if you distribute the image, which is under GPL-2.0-only",
        "look it up before you distribute the image",
    ),
    "licences": Rule(_I, "compatible with GPL-2.0-only, the kernel's licence"),
}
"""Rule id -> what it says; some findings put their own words first."""
