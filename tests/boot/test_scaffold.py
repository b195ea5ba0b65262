# SPDX-License-Identifier: GPL-2.0
"""A new project of each language is built as it is, boots, and answers."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from tests.conftest import OPTIONAL
from ukl import scaffold
from ukl.base.errors import UklError
from ukl.base.model import Guest
from ukl.settings import manifest
from ukl.vm.launch import Options

PORT = 8080
TOOLS = {"go": "/usr/bin/go", "rust": "/usr/bin/cargo", "c++": "/usr/bin/g++"}


@pytest.mark.parametrize("language", [*sorted(scaffold.LANGUAGES), scaffold.KERNEL_SIDE])
def test_it_answers(lab: Lab, tmp_path: Path, language: str) -> None:
    tool = TOOLS.get(language)
    if tool is not None and not Path(tool).exists():
        pytest.skip(f"{OPTIONAL} no {tool} on this machine")
    name = f"new-{scaffold.LANGUAGES.get(language, language)}"
    scaffold.create(tmp_path / name, language)
    try:
        built = lab.build(manifest.resolve(str(tmp_path / name)))
    except UklError as error:
        if "could not be downloaded" not in error.message:
            raise
        pytest.skip(str(error))
    assert built.spec.name == name
    assert [(each.host, each.guest) for each in built.spec.ports] == [(PORT, PORT)]

    async def whole() -> bytes:
        options = Options(Guest(timeout=240))
        async with lab.boot(built, guest_port=PORT, options=options) as guest:
            await guest.says("listening on port 8080")
            return await asyncio.to_thread(asked, guest.port)

    assert asyncio.run(whole()) == f"Hello from {name}.\n".encode()


def asked(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        content = answer.read()
        assert isinstance(content, bytes)
        return content
