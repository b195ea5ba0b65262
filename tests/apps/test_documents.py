# SPDX-License-Identifier: GPL-2.0
"""The commands of the how-tos that take a kernel, or programs, of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import documents
from ukl.host.store import Store

SECONDS = 7200.0

DOCUMENTS = [each for each in documents.DOCUMENTS if documents.script(each, "apps")]


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.stem)
def test_commands(shared_store: Store, document: Path, tmp_path: Path) -> None:
    if tool := documents.missing(document, "apps"):
        pytest.skip(f"optional: no {tool} on this machine")
    documents.run(document, "apps", shared_store.root, tmp_path, SECONDS)
