# SPDX-License-Identifier: GPL-2.0
"""The commands of the README, the tutorial and the how-tos do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import documents
from ukl.host.store import Store

SECONDS = 1800.0

DOCUMENTS = [each for each in documents.DOCUMENTS if documents.script(each, "boot")]


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.stem)
def test_commands(shared_store: Store, document: Path, tmp_path: Path) -> None:
    if tool := documents.missing(document, "boot"):
        pytest.skip(f"optional: no {tool} on this machine")
    documents.run(document, "boot", shared_store.root, tmp_path, SECONDS)
