# SPDX-License-Identifier: GPL-2.0
"""Each command in the README, the tutorial and the how-tos is run by a test, or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import documents
from tests.documents import DOCUMENTS, TIERS

EXAMPLE = """# Title

<!-- run: boot -->

    ukl ps          # a comment
    ukl logs web

Text.

<!-- run: apps, hidden
touch file
-->

<!-- run: boot, detached -->

    ukl run web  # serves
    ./ukl run other -p 1:2

```toml
[app]
```

<!-- not run: it is the reader's -->

    reboot

- an item

      #!/bin/sh
      of the item

    ukl forgotten
"""


def test_blocks() -> None:
    found = list(documents.blocks(EXAMPLE))
    assert [(each.tier, each.detached, each.marked) for each in found] == [
        ("boot", False, True),
        ("apps", False, True),
        ("boot", True, True),
        (None, False, True),
    ]
    assert found[0].text == "ukl ps          # a comment\nukl logs web"
    assert found[1].text == "touch file"


def test_forgotten_blocks_are_found() -> None:
    found = list(documents.blocks("Text:\n\n    ukl ps\n\n```sh\nukl ps\n```\n"))
    assert [each.marked for each in found] == [False, False]


def test_what_a_console_prints_is_not_run() -> None:
    [found] = documents.blocks(
        "<!-- run: boot -->\n\n```console\n$ ukl ps\nNAME\n$ ukl ps -a\n```\n"
    )
    assert found.text == "ukl ps\nukl ps -a"


def test_script(tmp_path: Path) -> None:
    file = tmp_path / "example.md"
    file.write_text(EXAMPLE)
    lines = documents.script(file, "boot").splitlines()
    assert "touch file" not in lines
    assert "touch file" in documents.script(file, "apps").splitlines()
    at = lines.index("ukl run -d --name documented web")
    assert lines[at : at + 4] == [
        "ukl run -d --name documented web",
        "ukl rm --force documented",
        "./ukl run -d --name documented other -p 1:2",
        "ukl rm --force documented",
    ]
    assert not any("reboot" in line for line in lines)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_every_block_says_what_runs_it(document: Path) -> None:
    found = list(documents.blocks(document.read_text()))
    assert [f"{document.name}:{each.line}" for each in found if not each.marked] == []
    assert {each.tier for each in found} <= {*TIERS, None}
