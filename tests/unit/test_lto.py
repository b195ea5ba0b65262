# SPDX-License-Identifier: GPL-2.0
"""What may be compiled into an application of the kernel's code, and what it becomes."""

from __future__ import annotations

import pytest

from ukl.lto import bodies
from ukl.lto.bodies import Refused

SAVED = (
    "savedcmd_lib/a.o := ccache gcc -Wp,-MMD,lib/.a.o.d -nostdinc -I/tree/include -I./include "
    "-include /tree/include/linux/kconfig.h -D__KERNEL__ -std=gnu11 -fshort-wchar -Wall "
    "-mno-sse -mno-fp-ret-in-387 -mindirect-branch=thunk-extern -fconserve-stack -O2 "
    "-fstack-protector-strong -DKBUILD_MODNAME='\"a\"' -c -o lib/a.o /tree/lib/a.c   "
    "; ./tools/objtool/objtool --orc lib/a.o"
)

BODY = """\
; ModuleID = 'cut.bc'
target triple = "x86_64-pc-linux-gnu"

@counter = external dso_local local_unnamed_addr global i64, section ".data", align 8
@counters = external dso_local global [4 x i64], align 8

define weak dso_local i64 @sum(i64 noundef %0) local_unnamed_addr #0 section ".text.cold" {
  %2 = load i64, i64* @counter, align 8
  %3 = load i64, i64* getelementptr ([4 x i64], [4 x i64]* @counters, i64 0, i64 1), align 8
  %4 = tail call i64 asm "rep; bsf $1,$0", "=r,r,~{dirflag}"(i64 %3) #1, !srcloc !4
  ret i64 %2
}

!llvm.module.flags = !{!0, !1}
!llvm.ident = !{!2}
!0 = !{i32 1, !"wchar_size", i32 2}
"""


def test_the_kernels_command_for_clang() -> None:
    assert bodies.clang_arguments(SAVED) == [
        "-nostdinc",
        "-I/tree/include",
        "-I./include",
        *("-include", "/tree/include/linux/kconfig.h"),
        "-D__KERNEL__",
        "-std=gnu11",
        "-fshort-wchar",
        "-mno-sse",
        '-DKBUILD_MODNAME="a"',
        "/tree/lib/a.c",
    ]


def test_what_is_no_c() -> None:
    saved = SAVED.replace("/tree/lib/a.c", "/tree/lib/a.S")
    with pytest.raises(ValueError, match="not a command"):
        bodies.clang_arguments(saved)


def test_a_body_fits() -> None:
    text = bodies.fit(BODY, "sum")
    assert "define i64 @ukl_body_sum(i64 noundef %0) local_unnamed_addr #0 {" in text
    assert "@ukl_import_counter = extern_weak dso_local global i64, align 8\n" in text
    assert "@ukl_import_counters = extern_weak dso_local global [4 x i64], align 8\n" in text
    assert "i64* @ukl_import_counter, align 8\n" in text
    assert "[4 x i64]* @ukl_import_counters, i64 0" in text
    # The kernel's `wchar_t` is another than the application's.
    assert "llvm.module.flags" not in text
    assert bodies.variables(text) == ["counter", "counters"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "  call void @other(i64 1)\n}\ndeclare dso_local void @other(i64)\ndefine void @x() {",
            "other",
        ),
        ("  %5 = tail call i64 %4(i64 1) #2", "through a pointer"),
        ("  %5 = load i64, i64 addrspace(256)* null", "per-CPU"),
        ('  callbr void asm sideeffect "1:", "X"(i8* null) to label %5 [label %6]', "patches"),
        ("  %5 = atomicrmw add i64* %4, i64 1 seq_cst", "at the same time"),
        ("  store i64 1, i64* @counter, align 8", "it changes counter"),
        ('  call void asm sideeffect "cli", "~{memory}"()', "has cli"),
        ('  call void asm sideeffect "\\0A\\09lock; incl $0", "~{memory}"()', "has lock"),
        ('  call void asm sideeffect "mov $0,%cr3", "r"(i64 1)', "has %cr3"),
        ('  call i64 asm "movq %gs:$1, $0", "=r,m"(i64* null)', "has %gs"),
        ('  call i64 asm "# ALT\\0A771:\\0A\\09call __sw_hweight64", "=r"()', "has call"),
    ],
)
def test_what_may_not_run_as_an_application(line: str, reason: str) -> None:
    text = BODY.replace("  ret i64 %2", f"{line}\n  ret i64 %2")
    with pytest.raises(Refused, match=reason):
        bodies.fit(text, "sum")


def test_a_variable_of_its_source_alone() -> None:
    text = BODY.replace("@counter = external dso_local", "@counter = external hidden")
    with pytest.raises(Refused, match="it uses counter, visible only within its source"):
        bodies.fit(text, "sum")


def test_another_function() -> None:
    with pytest.raises(Refused, match="no such function"):
        bodies.fit(BODY, "su")


@pytest.mark.parametrize("asm", ["", "\\0A\\09pause", "rep; nop", "# a comment", "rdtsc"])
def test_harmless_assembler(asm: str) -> None:
    line = f'  call void asm sideeffect "{asm}", "~{{memory}}"()\n  ret i64 %2'
    bodies.fit(BODY.replace("  ret i64 %2", line), "sum")
