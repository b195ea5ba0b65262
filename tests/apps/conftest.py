# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the tests of whole applications: those of the boot tests, and the two modes."""

from __future__ import annotations

import pytest

from tests.boot.conftest import lab

__all__ = ["lab", "user"]


@pytest.fixture(params=[False, True], ids=["unikernel", "process"])
def user(request: pytest.FixtureRequest) -> bool:
    """Return whether the program is a normal process on the same kernel."""
    return bool(request.param)
