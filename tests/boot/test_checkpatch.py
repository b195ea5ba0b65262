# SPDX-License-Identifier: GPL-2.0
"""`checkpatch.pl --strict` has nothing to say of the series but what stays, with a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from ukl.flow import kernel
from ukl.host.exec import CommandFailed, run

STAYS = {
    "added, moved or deleted file(s), does MAINTAINERS need updating?": (
        "the entry that the first patch adds has patterns for all new files"
    ),
    "Avoid CamelCase: <Efault>": "the label of __unsafe_setup_sigcontext(), used beside it",
    "Avoid CamelCase: <Elf>": "types of <elf.h>, and relocs.c's own names for them",
    # fast-check.c: lists of arguments, and a check that is made of each row of a table.
    "Macros with complex values should be enclosed in parentheses": "0, 0 in () is one argument",
    "macros should not use a trailing semicolon": "the table's rows have none",
    "Argument 'sym' is not used in function-like macro": "rows that this file does not look at",
    "Argument 'ip' is not used in function-like macro": (
        "with CONFIG_UKL off, a constant changes no object; a function kept the compiler from "
        "joining two comparisons"
    ),
    "Argument 'mm' is not used in function-like macro": (
        "a function is not folded early enough, and mem_rw() of 7.3 differs with CONFIG_UKL off"
    ),
    "Macro argument reuse 'declaration' - possible side-effects?": "UKL_EXPORT(), see below",
    "Macro argument reuse 'parameters' - possible side-effects?": "UKL_EXPORT(), see below",
    "memory barrier without comment": "the line above a changed one has the comment",
    "Comparisons should place the constant on the right side of the test": (
        "UKL_FAST_CALLS is not less constant than NR_syscalls"
    ),
    # As SYSCALL_DEFINEx(): a declaration, and the beginning of the definition.
    "Macros with multiple statements should be enclosed in a do - while loop": "UKL_EXPORT()",
}
"""What checkpatch.pl says, but for the kind -> why it stays."""

NEWER = {
    "Prefer kzalloc_obj over kzalloc with sizeof": "the new files are those of 6.12, too",
    "Non-declarative macros with multiple statements should be enclosed in a do - while loop": (
        "UKL_EXPORT(), whose message has other words there"
    ),
    "struct bin_attribute should normally be const": "each application has one of its own",
}
"""What that of kernels behind 6.12 says besides."""

NO_LONGER = {
    "Macros with multiple statements should be enclosed in a do - while loop",
    "Argument 'sym' is not used in function-like macro",
    # begin_new_exec() takes the name from a variable there.
    "memory barrier without comment",
}
"""What it no longer says."""

_SAID = re.compile(r"^\S+:\d+: (?:ERROR|WARNING|CHECK): (.*)$", re.MULTILINE)


@pytest.mark.timeout(300)
def test_the_series_is_clean(lab: Lab, tmp_path: Path) -> None:
    spec = kernel.specified(kernel.PLAIN, lab.context)
    series = spec.series.parent.name
    files = [file for file in kernel.exported(tmp_path, series) if "/0000-" not in str(file)]
    assert len(files) > 20
    script = spec.source.directory / "scripts/checkpatch.pl"
    argv = ["perl", str(script), "--strict", "--no-tree", "--terse"]
    said: set[str] = set()
    for file in files:
        try:
            output = run([*argv, str(file)], cwd=tmp_path).stdout
        except CommandFailed as error:
            output = error.output
        said |= set(_SAID.findall(re.sub(r"<Elf\w+>", "<Elf>", output)))
    assert said == (set(STAYS) if series == "6.12" else {*STAYS, *NEWER} - NO_LONGER)
