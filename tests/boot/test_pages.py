# SPDX-License-Identifier: GPL-2.0
"""How an application gets its memory: page by page, in larger pages, at once."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.boot.harness import Built, Lab
from ukl.model import Outcome
from ukl.vm.launch import Options

PAGES = 1024
"""That the program touches of each kind of memory."""


@pytest.fixture(scope="module")
def pages(lab: Lab) -> Built:
    return lab.program("pages")


def counted(lab: Lab, built: Built, options: Options | None = None) -> dict[str, int | str]:
    ran = lab.run(built, options=options)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    found: dict[str, int | str] = {}
    for name, text in re.findall(r"^(\w+): (\w+)$", ran.text, re.MULTILINE):
        found[name] = int(text) if text.isdigit() else text
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("user", [False, True])
def test_each_page_is_a_fault(lab: Lab, pages: Built, user: bool) -> None:
    found = counted(lab, pages, Options(user=user))
    assert found["mapped"] == found["heap"] == PAGES
    assert found["bss"] in {PAGES - 1, PAGES}
    assert found["copied"] == PAGES
    assert found["locked"] == "no"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("size", "per_fault"), [(64 << 10, 16), (2 << 20, 512)])
def test_larger_pages(lab: Lab, pages: Built, size: int, per_fault: int) -> None:
    built = replace(pages, spec=replace(pages.spec, page_size=size))
    found = counted(lab, built)
    # Where it begins and ends within a large page there are small ones, or one more.
    for name in ("mapped", "bss", "heap"):
        assert int(found[name]) <= PAGES // per_fault + 2 * per_fault, found
    assert int(found["mapped"]) <= PAGES // per_fault + 1, found
    assert found["locked"] == "no"


@pytest.mark.timeout(300)
def test_populated(lab: Lab, pages: Built) -> None:
    built = lab.build(replace(pages.spec, name="pages-populated", populate=True))
    found = counted(lab, built)
    assert found["mapped"] == found["bss"] == found["heap"] == 0
    # Those of a child are not: fork() copies at the first write, as ever.
    assert found["copied"] == PAGES
    assert found["locked"] == "yes"
    # Who may not lock memory may not start it.
    ran = lab.run(built, options=Options(uid=1000, gid=1000))
    assert ran.result.outcome is Outcome.FAILED, ran.text
    assert "Operation not permitted" in ran.result.detail
