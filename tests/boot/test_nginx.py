# SPDX-License-Identifier: GPL-2.0
"""The recipe of nginx: files, TLS and a proxy by forked workers, and a reload by a signal."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab
from tests.webserver import WATCH, Web, served
from ukl.base.model import Guest
from ukl.host import exec as host_exec
from ukl.recipe import debian
from ukl.vm.launch import Options

QUICK = ("a_file", "keep_alive", "a_proxy", "tls", "both_workers")
"""Those tests of the recipe's that are run here."""


@pytest.fixture(scope="module")
def nginx(lab: Lab) -> Built:
    """Return nginx, built; skips when its source cannot be had."""
    try:
        return lab.example("nginx")
    except debian.Unavailable as error:
        pytest.skip(str(error))


def test_it_serves_and_reloads(lab: Lab, nginx: Built, tmp_path: Path) -> None:
    web = Web(tmp_path)

    async def talk() -> None:
        options = Options(Guest(companion=("/bin/sh", "-c", WATCH)))
        async with served(lab, nginx, web, options) as guest:
            done = await asyncio.to_thread(
                host_exec.run,
                [sys.executable, web.protocol, *QUICK],
                env=guest.env,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stdout
            assert done.stdout.count("ok ") == len(QUICK), done.stdout
            await guest.reload()

    asyncio.run(talk())
