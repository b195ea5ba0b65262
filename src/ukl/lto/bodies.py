# SPDX-License-Identifier: GPL-2.0
"""Makes a kernel function's body fit for an application, in LLVM's intermediate code. Pure.

Code compiled into an application runs in application mode: it can be preempted at any
instruction, and the kernel's protection of its data (disabled preemption, locks) does not
hold. So a body may compute, and read kernel variables; anything that is not known to be
harmless is rejected. Source: the LLVM Language Reference Manual.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from ukl.elf.names import IMPORT

BODY = "ukl_body_"
"""Prefix of a body's name."""

CLANG_FLAGS = (
    *("-O2", "-w", "-emit-llvm"),
    *("-mno-red-zone", "-mcmodel=kernel", "-fno-pic", "-fno-pie"),
    # The application has its own stack canary, at another place.
    "-fno-stack-protector",
    # As the kernel is compiled by gcc.
    *("-fno-asynchronous-unwind-tables", "-fno-jump-tables"),
)

_WITH_VALUE = frozenset({"-include", "-isystem", "-imacros", "-idirafter"})
_KEPT = re.compile(
    r"-(?:[IDU].*|std=.*|nostdinc|m64|mno-(?:sse2?|mmx|3dnow|avx|80387)"
    r"|f(?:no-strict-(?:aliasing|overflow)|short-wchar|unsigned-char|no-common|wrapv"
    r"|no-delete-null-pointer-checks|macro-prefix-map=.*))$"
)

_INSTRUCTIONS = frozenset(
    re.findall(
        r"\w+",
        "rep repz bsf bsr bswap bt btl btq mul mulb mull mulq div divl divq idivl idivq add "
        "addl addq adc adcl adcq sub subl subq sbb sbbl sbbq shld shldq shrd shrdq cmp cmpl "
        "cmpq cmov cmovc cmovnc cmovz mov movb movw movl movq lea leaq xor xorl xorq and or "
        "not neg setc sete rdtsc pause nop lfence mfence crc32b crc32l crc32q popcntl popcntq ",
    )
)
"""Instructions in inline assembler that use only registers, flags and ordinary memory."""

_NO_CODE = re.compile(r"#.*|^\s*\w+:")  # comments, labels
_SPECIAL = re.compile(r"%(?:cr\d|d[br]\d|[c-gs]s)\b")
_ASM = re.compile(r'\basm (?:sideeffect |alignstack |inteldialect |unwind )*"((?:[^"\\]|\\.)*)"')
_DEFINE = re.compile(r"^define [^@\n]*(@[\w.$-]+)\(", re.MULTILINE)
_DECLARE = re.compile(r"^declare [^@\n]*@([\w.$-]+)\(", re.MULTILINE)
_EXTERNAL = re.compile(r"^@([\w.$-]+) = external (.*)$", re.MULTILINE)
_THROUGH_POINTER = re.compile(r"\bcall [^@\n]*?%[\w.]+\(")
_OF_RESULT = "(?:zeroext|signext|noundef|noalias|nonnull)"
_FLAGS = re.compile(r"^!llvm\.(?:module\.flags|ident|commandline) = .*$", re.MULTILINE)


class Refused(Exception):
    """The function cannot be compiled into an application; the text is the reason."""


def clang_arguments(saved: str) -> list[str]:
    """Return clang's arguments, source last, from the kernel's saved command of an object.

    `saved` is the first line of a .cmd file (scripts/Kbuild.include). Flags for code generation
    and warnings are dropped: they are for gcc; clang's are in CLANG_FLAGS. Raises ValueError
    if the command does not compile C.
    """
    command = saved.partition(":= ")[2].partition(" ; ")[0]
    words = iter(shlex.split(command))
    kept: list[str] = []
    source = ""
    for word in words:
        if word in _WITH_VALUE:
            kept += [word, next(words, "")]
        elif word == "-o":
            next(words, None)
        elif _KEPT.match(word):
            kept.append(word)
        elif word.endswith(".c") and not word.startswith("-"):
            source = word
    if not source:
        raise ValueError("not a command of a C compiler")
    return [*kept, source]


def fit(text: str, name: str) -> str:
    """Return a module with the function `name`, renamed to BODY + name, and what it calls.

    `text` is the module, from which everything else has been removed. Kernel variables become
    weak IMPORT names. Raises Refused for code that must not run as application text.
    """
    if f"@{name}" not in _DEFINE.findall(text):
        raise Refused("its source defines no such function")
    for reason in _reasons(text):
        raise Refused(reason)
    text = _FLAGS.sub("", text)
    for variable, rest in _EXTERNAL.findall(text):
        text = text.replace(
            f"@{variable} = external {rest}", f"@{variable} = extern_weak dso_local {_bare(rest)}"
        )
        text = re.sub(rf"@{re.escape(variable)}(?![\w.$-])", f"@{IMPORT}{variable}", text)
    text = re.sub(r'^(define [^\n]*) section "[^"]*"', r"\1", text, flags=re.MULTILINE)
    # A weak linkage would prevent inlining.
    plain = rf"^define [^@\n]*?((?:{_OF_RESULT} )*\S+ )@{re.escape(name)}\("
    text = re.sub(plain, rf"define \1@{name}(", text, flags=re.MULTILINE)
    return re.sub(rf"@{re.escape(name)}(?![\w.$-])", f"@{BODY}{name}", text)


def variables(fitted: str) -> list[str]:
    """Return the kernel variables that a module from fit() refers to."""
    return re.findall(rf"^@{IMPORT}([\w.$-]+) = extern_weak ", fitted, re.MULTILINE)


def _bare(rest: str) -> str:
    """Return the declaration of a variable without its section, which only the kernel has."""
    words = re.sub(r', section "[^"]*"', "", rest)
    return re.sub(r"^(?:(?:dso_local|hidden|local_unnamed_addr|unnamed_addr) )*", "", words)


def _reasons(text: str) -> Iterator[str]:
    """Yield the reasons not to compile the functions of a module into an application."""
    calls = sorted(name for name in _DECLARE.findall(text) if not name.startswith("llvm."))
    if calls:
        yield f"it calls {', '.join(calls)}, which runs on the kernel's stack"
    if _THROUGH_POINTER.search(text):
        yield "it calls a function through a pointer"
    if "addrspace(256)" in text:
        yield "it uses a per-CPU variable"
    hidden = [name for name, rest in _EXTERNAL.findall(text) if rest.startswith("hidden ")]
    if hidden:
        yield f"it uses {', '.join(hidden)}, visible only within its source"
    if "callbr " in text:
        yield "it has branches that the kernel patches"
    if re.search(r"\b(?:cmpxchg|atomicrmw)\b", text):
        yield "it changes a variable atomically, as other threads may do at the same time"
    for variable, _ in _EXTERNAL.findall(text):
        if re.search(rf"^ *store [^\n]*@{re.escape(variable)}(?![\w.$-])", text, re.MULTILINE):
            yield f"it changes {variable}"
    for asm in _ASM.findall(text):
        if foreign := _foreign(asm):
            yield f"its inline assembler has {foreign}, which applications must not use"


def _foreign(asm: str) -> str:
    """Return the first word of inline assembler that is not in _INSTRUCTIONS, or "".

    Control, debug and segment registers count as well: they belong to the kernel.
    """
    if special := _SPECIAL.search(asm):
        return special[0]
    lines: Sequence[str] = re.split(r"\\0A|;|\n", asm.replace("\\09", " "))
    for line in lines:
        words = _NO_CODE.sub("", line).split()
        if words and words[0].lower() not in _INSTRUCTIONS:
            return words[0].replace("\\22", '"')
    return ""
