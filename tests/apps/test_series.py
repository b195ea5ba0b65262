# SPDX-License-Identifier: GPL-2.0
"""The kernel is built after each patch of the series: `git bisect` may stop at any of them."""

from __future__ import annotations

import pytest

from ukl.base.errors import MissingError
from ukl.base.progress import Progress
from ukl.flow import kernel
from ukl.flow.context import Context
from ukl.host.store import Store


@pytest.mark.timeout(5 * 3600)
def test_each_patch_builds(shared_store: Store) -> None:
    try:
        found = kernel.each_patch(Context(shared_store, Progress()))
    except MissingError as error:
        pytest.skip(str(error))
    print("\n".join(found.lines()))
    assert found.is_good
    # Up to the end with the option off, and with it on from where it exists.
    assert found.results[-1].on is not None
