# SPDX-License-Identifier: GPL-2.0
"""The recipe of SQLite: what it acknowledged is there after a power cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from tests.powercut import Database, load
from ukl.recipe import debian
from ukl.vm.launch import Options


def test_a_power_cut(lab: Lab, tmp_path: Path) -> None:
    try:
        built = lab.example("sqlite")
    except debian.Unavailable as error:
        pytest.skip(str(error))
    database = Database(lab, built, tmp_path)

    async def whole() -> None:
        told = await database.cut(load("wal"), 200, Options())
        await database.kept(told, Options())

    asyncio.run(whole())
