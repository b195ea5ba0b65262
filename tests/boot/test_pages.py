# SPDX-License-Identifier: GPL-2.0
"""How an application gets its memory: page by page, in larger pages, at once."""

from __future__ import annotations

import errno
import re
from dataclasses import replace

import pytest

from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import Guest, Outcome
from ukl.vm.launch import Options

PAGES = 1024
"""That the program touches of each kind of memory."""


@pytest.fixture(scope="module")
def pages(lab: Lab) -> Built:
    return lab.program("pages")


def counted(lab: Lab, built: Built, options: Options | None = None) -> dict[str, int]:
    ran = lab.run(built, options=options)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    found = re.findall(r"^(\w+): (\d+)$", ran.text, re.MULTILINE)
    return {name: int(number) for name, number in found}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("user", [False, True])
def test_each_page_is_a_fault(lab: Lab, pages: Built, user: bool) -> None:
    found = counted(lab, pages, Options(Guest(mode=mode_of(user))))
    assert found["mapped"] == found["heap"] == PAGES
    assert found["bss"] in {PAGES - 1, PAGES}
    assert found["copied"] == PAGES
    assert found["locked"] == 0
    assert found["advised"] == PAGES * 4096 // (2 << 20)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("word", ["never", "madvise"])
def test_the_command_line_decides_about_huge_pages(lab: Lab, pages: Built, word: str) -> None:
    append = (f"transparent_hugepage={word}",)
    found = counted(lab, pages, Options(Guest(append=append)))
    assert (found["advised"] == PAGES) is (word == "never")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("size", "per_fault"), [(64 << 10, 16), (2 << 20, 512)])
def test_larger_pages(lab: Lab, pages: Built, size: int, per_fault: int) -> None:
    built = replace(pages, spec=replace(pages.spec, page_size=size))
    found = counted(lab, built)
    # Where it begins and ends within a large page there are small ones, or one more.
    for name in ("mapped", "bss", "heap"):
        assert found[name] <= PAGES // per_fault + 2 * per_fault, found
    assert found["mapped"] <= PAGES // per_fault + 1, found
    assert found["locked"] == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("user", [False, True])
def test_populated(lab: Lab, pages: Built, user: bool) -> None:
    built = lab.build(replace(pages.spec, name="pages-populated", populate=True))
    found = counted(lab, built, Options(Guest(mode=mode_of(user))))
    assert found["mapped"] == found["bss"] == found["heap"] == 0
    assert found["reserved"] == errno.ENOMEM
    assert found["inaccessible"] == 0
    # Those of a child are not: fork() copies at the first write, as ever.
    assert found["copied"] == PAGES
    assert found["locked"] > 3 * PAGES * 4
    assert found["unlocked"] == 0
    # Who may not lock so much does not get to main().
    ran = lab.run(built, "limited", options=Options(Guest(mode=mode_of(user))))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 126), ran.text
    assert "populate: mlockall() failed with errno 12: it takes CAP_IPC_LOCK" in ran.text
    assert "mapped" not in ran.text
