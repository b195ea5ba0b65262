# SPDX-License-Identifier: GPL-2.0
"""Each recipe's own test suite, against the unikernel and against the normal process."""

from __future__ import annotations

import pytest

from tests.boot.harness import Lab
from ukl.flow import compare
from ukl.settings import manifest

RECIPES = [name for name in manifest.example_names() if manifest.resolve(name).suite is not None]


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("name", RECIPES)
def test_suite(lab: Lab, name: str) -> None:
    found = compare.compare(manifest.resolve(name), lab.context)
    text = "\n".join(compare.table(found))
    print(text)
    assert found.is_good, text
