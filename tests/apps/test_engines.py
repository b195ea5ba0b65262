# SPDX-License-Identifier: GPL-2.0
"""Just-in-time compilers do in each form what docs/reference/check.md says.

V8 and HotSpot, which are not linked into the kernel, are in test_languages.py.
"""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.apps.test_installed import unpacked
from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import AppSpec, Code, Guest
from ukl.base.progress import Progress
from ukl.flow.bootable import bootable
from ukl.vm import outcome
from ukl.vm.launch import Options

HERE = Path(__file__).parent / "engines"
LIBRARIES = "usr/lib/x86_64-linux-gnu"

SEGV = 128 + signal.SIGSEGV


@dataclass(frozen=True)
class Engine:
    """The package and archive of a compiler."""

    package: str
    archive: str


ENGINES = {
    "pcre2": Engine("libpcre2-dev", "libpcre2-8.a"),
    "ffi": Engine("libffi-dev", "libffi.a"),
    "luajit": Engine("libluajit-5.1-dev", "libluajit-5.1.a"),
}

NONE, FILES, JIT, WX = Code.NONE, Code.FILES, Code.JIT, Code.WX

CASES: dict[tuple[str, str], dict[Code, tuple[int, list[str]]]] = {
    ("pcre2", "linked"): {
        NONE: (SEGV, ["compiled 1"]),
        JIT: (0, ["compiled 0", "match 2"]),
        WX: (0, ["compiled 1", "match 2"]),
    },
    ("pcre2", "as-is"): {
        FILES: (0, ["compiled 0", "match 2"]),
        JIT: (0, ["compiled 0", "match 2"]),
        WX: (0, ["compiled 1", "match 2"]),
    },
    ("pcre2", "process"): {NONE: (0, ["compiled 1", "match 2"])},
    ("ffi", "linked"): {
        NONE: (SEGV, ["prepared"]),
        JIT: (0, ["prepared", "called 42"]),
    },
    ("ffi", "as-is"): {FILES: (0, ["prepared", "called 42"])},
    ("ffi", "process"): {NONE: (0, ["prepared", "called 42"])},
    ("luajit", "linked"): {
        NONE: (0, ["sum 6000", "compiled 0"]),
        JIT: (0, ["sum 6000", "compiled 0"]),
        WX: (0, ["sum 6000", "compiled 0"]),
    },
    ("luajit", "as-is"): {
        FILES: (1, ["PANIC: unprotected error in call to Lua API (runtime code generation failed"]),
        JIT: (0, ["sum 6000", "compiled 1"]),
    },
    ("luajit", "process"): {NONE: (0, ["sum 6000", "compiled 1"])},
}
"""Engine and form -> by what is allowed: the status, and how the lines begin that are printed."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", [(*key, code) for key, row in CASES.items() for code in row])
def test_engine(
    lab: Lab,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, str, Code],
) -> None:
    name, form, code = case
    top = unpacked(lab, f"engine-{name}", (ENGINES[name].package,))
    include = (f"-I{top}/usr/include", f"-I{top}/usr/include/x86_64-linux-gnu")
    archive = top / LIBRARIES / ENGINES[name].archive
    source = HERE / f"{name}.c"
    if form == "as-is":
        program = tmp_path / name
        inputs = [str(source), str(archive), "-lm", "-ldl", "-Wl,-E"]
        subprocess.run(["gcc", "-O2", *include, *inputs, "-o", str(program)], check=True)
        spec = AppSpec(name, program, tmp_path, program=program, code=code)
    else:
        spec = AppSpec(
            f"engine-{name}",
            HERE,
            HERE,
            sources=(source,),
            cflags=include,
            libraries=("m", "dl"),
            objects=(archive,),
            code=code,
        )
    guest = Guest(mode=mode_of(form == "process"))
    made = bootable(spec, replace(lab.context, progress=Progress()), guest)
    warned = "LuaJIT's compiler finds no memory" in capsys.readouterr().err
    assert warned == (name == "luajit" and form == "linked")
    ran = lab.run(Built(made.spec, made.image, made.initrd), options=Options(guest))
    status, lines = CASES[name, form][code]
    assert outcome.exit_code(ran.result) == status, ran.text
    assert len(ran.lines) == len(lines), ran.text
    for line, wanted in zip(ran.lines, lines, strict=True):
        assert line.startswith(wanted), ran.text
