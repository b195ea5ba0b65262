# SPDX-License-Identifier: GPL-2.0
"""nginx in a guest, with its configuration on a volume, and its reload by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.boot.harness import Booted, Built, Lab
from ukl.base.model import Volume
from ukl.settings import manifest
from ukl.vm.launch import Options

WATCH = """
while :; do
  if [ -e /conf/reload ]; then rm /conf/reload; kill -HUP $(cat /run/nginx.pid); fi
  sleep 0.2
done
"""
"""What runs beside nginx: a normal process that sends it the signal."""

IN_A_ROW = 20
"""Answers of new workers after which the old ones count as gone."""

PATIENCE = 120.0
"""Seconds for new workers to answer."""


class Web:
    """Configuration and files below a directory, as the recipe's tests want them."""

    def __init__(self, directory: Path) -> None:
        self.configuration = directory / "nginx"
        self.files = directory / "srv"
        recipe = manifest.resolve("nginx")
        assert recipe.suite is not None
        for guest, here in recipe.suite.files.items():
            target = directory / Path(guest).relative_to(
                "/etc" if guest.startswith("/etc/") else "/"
            )
            target.parent.mkdir(exist_ok=True)
            shutil.copy(here, target)
        self.protocol = recipe.directory / "tests" / "protocol.py"

    def change(self, old: str, new: str) -> None:
        """Replace words of the configuration."""
        file = self.configuration / "nginx.conf"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


async def ask(port: int) -> tuple[str, int]:
    """Return what a worker answers by a connection of its own, and its process id."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
    match = re.search(rb"\r\n\r\n(.*) (\d+)\n$", answer)
    assert match, answer
    return match[1].decode(), int(match[2])


@dataclass
class Served:
    """nginx that answers."""

    guest: Booted
    web: Web

    @property
    def env(self) -> dict[str, str]:
        """The variables of the recipe's tests."""
        ports = {f"PORT_{number}": str(host) for number, host in self.guest.ports.items()}
        return {"HOST": "127.0.0.1", "PORT": str(self.guest.port), **ports}

    async def reload(self, old: str = "hello from", new: str = "changed by") -> None:
        """Change the configuration, send the signal; new workers answer, the old ones leave."""
        port = self.guest.port
        before = {(await ask(port))[1] for _ in range(10)}
        self.web.change(f'"{old}', f'"{new}')
        (self.web.configuration / "reload").touch()

        async def changed() -> set[int]:
            found: list[int] = []
            # While the old workers leave, they may answer as well.
            while len(found) < IN_A_ROW:
                words, number = await ask(port)
                found = [*found, number] if words == new else []
            return set(found)

        after = await asyncio.wait_for(changed(), PATIENCE)
        assert not before & after
        for number in before:
            await self.guest.says(f"worker process {number} exited with code 0")


@contextlib.asynccontextmanager
async def served(lab: Lab, nginx: Built, web: Web, options: Options) -> AsyncIterator[Served]:
    """Boot nginx with the files of `web`, on ports 80 and 443, and wait until it serves."""
    volumes = (Volume(web.configuration, "/conf"), Volume(web.files, "/srv", read_only=True))
    built = replace(nginx, spec=replace(nginx.spec, volumes=volumes))
    args = ("-c", "/conf/nginx.conf")
    async with lab.boot(built, *args, guest_port=80, more_ports=(443,), options=options) as guest:
        await guest.says("start worker process ")
        yield Served(guest, web)
