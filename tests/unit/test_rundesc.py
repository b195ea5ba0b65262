# SPDX-License-Identifier: GPL-2.0
"""The run description as the host writes it; tests/tool reads it with init's own parser."""

from __future__ import annotations

import pytest

from ukl.base.errors import InputError
from ukl.guest import rundesc
from ukl.guest.rundesc import GuestRun, Mount


def lines(run: GuestRun) -> list[str]:
    return rundesc.encode(run).decode().splitlines()


def test_begin_and_end() -> None:
    text = rundesc.encode(GuestRun(name="hello", path="/ukl/hello", argv=("hello",)))
    assert text.startswith(b"ukl-run 1\n")
    assert text.endswith(b"\nend\n")


def test_newline_and_backslash_are_escaped() -> None:
    found = lines(GuestRun(name="a", path="/a", argv=("a", "x\ny", "c:\\n")))
    assert "arg x\\ny" in found
    assert "arg c:\\\\n" in found


def test_environment_is_sorted() -> None:
    run = GuestRun(name="a", path="/a", argv=("a",), env={"B": "2", "A": "1=1"})
    assert [line for line in lines(run) if line.startswith("env")] == ["env A=1=1", "env B=2"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "ä", "a" * 65, 'a"b'])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="name for an application"):
        rundesc.encode(GuestRun(name=name))


@pytest.mark.parametrize(
    "run",
    [
        GuestRun(name="a", argv=("a\0b",)),
        GuestRun(name="a", env={"A=B": "c"}),
        GuestRun(name="a", env={"": "c"}),
        GuestRun(name="a", mounts=(Mount("bind", "/a b", "/c"),)),
        GuestRun(name="a", argv=("x" * rundesc.MAX_SIZE,)),
    ],
)
def test_what_execve_cannot_take_is_refused(run: GuestRun) -> None:
    with pytest.raises(InputError):
        rundesc.encode(run)
