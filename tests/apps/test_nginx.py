# SPDX-License-Identifier: GPL-2.0
"""nginx reloads its configuration several times, in both modes; test_suites.py has the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.boot.harness import Lab, mode_of
from tests.webserver import WATCH, Web, served
from ukl.base.model import Guest
from ukl.vm.launch import Options


def test_reloads(lab: Lab, tmp_path: Path, user: bool) -> None:
    web = Web(tmp_path)
    nginx = lab.example("nginx")

    async def talk() -> None:
        options = Options(Guest(companion=("/bin/sh", "-c", WATCH), mode=mode_of(user)))
        async with served(lab, nginx, web, options) as guest:
            for _ in range(5):
                await guest.reload()
                await guest.reload("changed by", "hello from")

    asyncio.run(talk())
