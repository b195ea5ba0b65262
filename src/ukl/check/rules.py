# SPDX-License-Identifier: GPL-2.0
"""The rules: what each finding means and what to do. docs/reference/check.md lists them.

A program with an error certainly does not link or run. A warning fails when the program
reaches that part, or matters only to some users. The rest are facts.
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
    "as-is": Rule(
        _I,
        "ukl-cc did not link it: it runs in ring 0 as it is, with its loader and shared objects; "
        "in most places, calls take the place of its system calls",
        "to link it into the kernel, build it with `ukl wrap -- COMMAND`",
    ),
    "missing-file": Rule(_E, ""),
    "code-jit": Rule(
        _W,
        "it makes memory executable, to run code that it generates; ring 0 refuses that (EACCES) "
        "unless it is allowed",
        'allow it by `--code jit` or [run] code = "jit"',
    ),
    "code-wx": Rule(
        _W,
        "memory is writable and executable at once; ring 0 refuses that unless it is allowed",
        'allow it by `--code wx` or [run] code = "wx"',
    ),
    "build": Rule(_E, "", ""),
    "machine": Rule(
        _E,
        "code for another machine",
        "rebuild it for x86-64",
    ),
    "lto-only": Rule(
        _E,
        "holds only the compiler's intermediate code, no machine code",
        "compile it with -fno-lto or -ffat-lto-objects",
    ),
    "undefined": Rule(
        _W,
        "neither these files nor the C library define it; the link fails unless another file does",
        "add the object or library that defines it",
    ),
    "data-room": Rule(
        _E,
        "more data than the program's text can reach in the kernel",
        "make large static arrays dynamic (malloc, mmap), or raise "
        "CONFIG_PHYSICAL_START in [kernel] options",
    ),
    "narrow-address": Rule(
        _E,
        "the address of code in 32 unsigned bits: compiled for the low 2 GiB, "
        "but the text will be in the top 2 GiB",
        "compile it with -fPIC or -mcmodel=kernel; for a library, use the "
        "position-independent archive (lib*-pic.a)",
    ),
    "writable-code": Rule(
        _E,
        "a section is both writable and executable; in the kernel, text is not writable and "
        "data are not executable",
        "put code and data into different sections",
    ),
    "exec-stack": Rule(
        _W,
        "it asks for an executable stack but does not get one: executing code on the stack "
        "(trampolines of nested functions) raises SIGSEGV",
        "avoid pointers to nested functions (in Fortran, internal procedures as arguments), or run "
        "the program as it is, with `--code wx`; in assembly add "
        '.section .note.GNU-stack,"",@progbits',
    ),
    "jit": Rule(
        _W,
        "it makes memory executable, to run code that it generates or loads; ring 0 may not "
        "execute user pages (SMEP): SIGSEGV",
        "allow it by `--code jit`, or turn the JIT compiler or the closures off",
    ),
    "dlopen": Rule(
        _W,
        "it loads shared objects at run time; unless that is allowed, ring 0 does not execute "
        "them: the first call raises SIGSEGV. A static program loads them for one thread, and not "
        "those with thread-local variables",
        "allow it by `--code files`, build the modules in, or leave out the feature",
    ),
    "python-extension": Rule(
        _W,
        "the packages include a shared object, which the linked interpreter cannot load: it is "
        "left out of the guest, and importing it raises ImportError",
        'leave out [python] interpreter = "linked": the installed interpreter can load it',
    ),
    "python-installed": Rule(
        _I,
        "this interpreter runs in ring 0 as it is, since it can load the extension modules",
    ),
    "python-module": Rule(
        _W,
        "the guest's standard library does not have this module: ModuleNotFoundError",
        "do not use it; docs/howto/python.md lists the modules that the guest has",
    ),
    "nss": Rule(
        _W,
        "glibc looks up names with the services in /etc/nsswitch.conf: `files` and `dns` are "
        "built in, any other is loaded as by dlopen",
        "leave the file out of the guest, or name only `files` and `dns` in it; or allow it by "
        "`--code files`, and add the services with --with-file",
    ),
    "iconv": Rule(
        _W,
        "glibc has conversions between UTF-8, UCS-2, UCS-4 and ASCII built in; any other "
        "character set is loaded as by dlopen: iconv_open() fails without its module",
        "use the built-in character sets, or link GNU libiconv; or allow it by `--code files`, "
        "and add the directory gconv with --with-file",
    ),
    "locale": Rule(
        _W,
        "the guest has no userspace, and so no locale C.UTF-8: setlocale() fails, and text is "
        "ASCII",
        "add --userspace, or the files of /usr/lib/locale/C.utf8 to `files` of [run]",
    ),
    "gs": Rule(
        _E,
        "it accesses memory through %gs, which belongs to the kernel in ring 0: it reads the "
        "kernel's data, and writing corrupts them",
        "for gs:0x28, the stack protector of -mcmodel=kernel, add "
        "-mstack-protector-guard=tls -mstack-protector-guard-reg=fs "
        "-mstack-protector-guard-offset=40 (ukl-cc does)",
    ),
    "gs-base": Rule(
        _E,
        "it changes %gs, through which the kernel finds its own data: the machine crashes",
        "remove this code",
    ),
    "set-gs": Rule(
        _W,
        "arch_prctl(ARCH_SET_GS) fails with EPERM: %gs is the kernel's",
        "keep thread data under %fs, as glibc does",
    ),
    "privileged": Rule(
        _W,
        "in a process this instruction raises SIGSEGV; in ring 0 it takes effect",
        "make sure that it is never executed, or that the effect is intended",
    ),
    "far": Rule(
        _W,
        "a far jump, call or return: the code segments of processes are not those of ring 0; "
        "SIGSEGV",
        "make sure that it is never executed: nothing can switch to 32-bit code",
    ),
    "int80": Rule(
        _W,
        "a 32-bit system call, which the kernel does not support: SIGSEGV",
        "use the syscall instruction, or libc's syscall()",
    ),
    "sysenter": Rule(
        _W,
        "a 32-bit system call, which the kernel does not support",
        "use the syscall instruction, or libc's syscall()",
    ),
    "vsyscall": Rule(
        _W,
        "an address in the vsyscall page, which is user text and not mapped: SIGSEGV",
        "call time(), gettimeofday() or getcpu() of libc",
    ),
    "cpu-needed": Rule(
        _W,
        "it declares that it needs more than the x86-64 baseline; an older processor raises SIGILL",
        "run it on a guest processor of that level (not under emulation), or compile it "
        "with -march=x86-64",
    ),
    "vector-code": Rule(
        _I,
        "AVX instructions in functions whose names do not mark them as chosen at run time; "
        "without a check of the processor they raise SIGILL where AVX is missing",
        "make sure that the guest's processor has AVX, or compile without -march",
    ),
    "ifunc": Rule(
        _I,
        "the variant is chosen at program start, by the features of the guest's processor; "
        "this works",
    ),
    "tls": Rule(
        _I,
        "thread-local variables; the final link relaxes all access models to the "
        "shortest, local-exec",
    ),
    "syscalls": Rule(
        _I,
        "system calls by the syscall instruction, which works in ring 0; the link turns them "
        "into calls",
    ),
    "syscall-kept": Rule(
        _I,
        "the syscall instruction stays; it works",
    ),
    "engine": Rule(_I, ""),
    "language": Rule(_I, ""),
    "licence": Rule(
        _W,
        "not compatible with GPL-2.0-only, the kernel's licence: matters only if you distribute "
        "the image; this is not legal advice",
        "do not distribute the image, or link a library under another licence",
    ),
    "licence-unknown": Rule(
        _I,
        "no licence found; it matters if you distribute the image, which is under GPL-2.0-only",
        "look up the licence before you distribute the image",
    ),
    "licences": Rule(_I, "compatible with GPL-2.0-only, the kernel's licence"),
}
"""Rule id -> rule; some findings put a text of their own in front."""
