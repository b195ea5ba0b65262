# SPDX-License-Identifier: GPL-2.0
"""SQLite loses its power several times, on a disk and on a volume, and loses nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.boot.harness import Lab, mode_of
from tests.powercut import Database, load
from ukl.base.model import Guest
from ukl.vm.launch import Options

CUTS = (1, 100, 333, 1000)
"""Transactions that each guest is given time for, at least."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("journal", "place"), [("wal", "disk"), ("delete", "disk"), ("delete", "volume")]
)
def test_power_cuts(lab: Lab, tmp_path: Path, user: bool, journal: str, place: str) -> None:
    database = Database(lab, lab.example("sqlite"), tmp_path, volume=place == "volume")
    options = Options(Guest(mode=mode_of(user), timeout=900))

    async def whole() -> None:
        there = 0
        for more in CUTS:
            told = await database.cut(load(journal, there + 1), there + more, options)
            there = await database.kept(told, options)

    asyncio.run(whole())
