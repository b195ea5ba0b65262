# SPDX-License-Identifier: GPL-2.0
"""A web server of each language, as it is, under load from this machine: all answers are right."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.apps.test_languages import JAVA, LANGUAGES, Language, directory, made
from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import Guest, Outcome
from ukl.flow.bootable import bootable
from ukl.vm.launch import Options

__all__ = ["directory"]  # the fixture

HERE = Path(__file__).parent / "servers"
PORT = 8000
CONNECTIONS = 10
REQUESTS = 20
"""Of each connection; a server that closes it after an answer gets another one."""


def like(name: str, *args: str, make: tuple[str, ...] = ()) -> Language:
    """Return what runs a test program of a language, with a server in its place."""
    language = LANGUAGES[name]
    return replace(language, args=args, make=make or language.make)


SERVERS: Mapping[str, Language] = {
    "python": Language(
        "/usr/bin/python3.11",
        ("{top}/server.py",),
        files={"/usr/lib/python3.11": "/usr/lib/python3.11"},
    ),
    "perl": like("perl", "{top}/server.pl"),
    "php": like("php", *LANGUAGES["php"].args[:-1], "-S", f"0.0.0.0:{PORT}", "{top}/server.php"),
    "ruby": like("ruby", *LANGUAGES["ruby"].args[:-1], "{top}/server.rb"),
    "node": like("node", "{top}/server.js"),
    "luajit": like("luajit", "{top}/server.lua"),
    "java": like(
        "java",
        *("-Xmx256m", "-cp", "{top}", "Server"),
        make=(str(JAVA / "bin/javac"), "-d", "{top}", "{top}/Server.java"),
    ),
    "go": like("go"),
}

READY = {"php": "Development Server (http://0.0.0.0:8000) started"}
"""What a server says that does not say `serving`."""


def answer(number: int) -> str:
    """Return what each server has to answer."""
    return f"{number} {sum(each * 7 for each in range(2000 + number)) % 1000003}\n" * 100


def client(port: int, first: int) -> list[int]:
    """Send requests one after another; return the numbers of those with a wrong answer."""
    wrong = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for number in range(first, first + REQUESTS):
        connection.request("GET", f"/{number}")
        reply = connection.getresponse()
        text = reply.read().decode()
        if (reply.status, text) != (200, answer(number)):
            wrong.append(number)
    connection.close()
    return wrong


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SERVERS)
def test_server(lab: Lab, directory: Path, name: str, user: bool) -> None:
    spec = made(lab, f"server-{name}", SERVERS[name], directory / f"server-{name}", HERE)
    found = bootable(spec, lab.context, Guest(mode=mode_of(user)))
    built = Built(found.spec, found.image, found.initrd)

    async def load() -> None:
        options = Options(Guest(mode=mode_of(user), timeout=900))
        async with lab.boot(
            built, *spec.args, cpus=spec.cpus, guest_port=PORT, options=options
        ) as guest:
            await guest.says(READY.get(name, "serving"), 300)
            clients = (
                asyncio.to_thread(client, guest.port, number * REQUESTS)
                for number in range(CONNECTIONS)
            )
            assert await asyncio.gather(*clients) == [[]] * CONNECTIONS
            ran = await guest.stop()
            assert ran.result.outcome is Outcome.STOPPED, ran.text

    asyncio.run(load())
