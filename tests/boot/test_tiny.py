# SPDX-License-Identifier: GPL-2.0
"""The profile `tiny`: how small the kernel is, and with how little memory it runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab
from tests.resp import Client
from ukl.base.model import AppSpec
from ukl.elf.reader import Elf
from ukl.image import initrd
from ukl.recipe import debian
from ukl.settings import manifest

SIZE = 2 << 20
"""Bytes of a bzImage with hello in it."""

MEMORY = 16 << 20
REDIS_MEMORY = 24 << 20

IMAGE = 8 << 20
"""Bytes from the first to the last that a kernel with hello in it has in memory."""

pytestmark = pytest.mark.timeout(1800)  # it may be the first that builds this kernel


def tiny(lab: Lab, spec: AppSpec, memory: int) -> Built:
    return Lab(lab.store, lab.accelerator, lab.runs).build(
        replace(spec, profile="tiny", memory=memory)
    )


def alone(lab: Lab, built: Built) -> Path:
    """Return an initrd in which nothing is beside the application."""
    assert not initrd.has_userspace(built.spec)
    return initrd.build(built.image, built.spec, None, lab.store, lab.progress, userspace=False)


def test_hello_in_a_small_kernel(lab: Lab) -> None:
    built = tiny(lab, manifest.resolve("hello"), MEMORY)
    assert built.image.bzimage.stat().st_size <= SIZE
    assert not built.image.relocatable
    ran = lab.run(replace(built, initrd=alone(lab, built)))
    assert ran.error is None, ran.text
    assert "Hello from supervisor mode." in ran.text
    assert "-ukl-tiny" in ran.text


def test_its_parts_follow_each_other(lab: Lab) -> None:
    vmlinux = tiny(lab, manifest.resolve("hello"), MEMORY).image.vmlinux
    symbols = {each.name: each.value for each in Elf.open(vmlinux).symbols}
    assert symbols["_end"] - symbols["_text"] <= IMAGE
    assert symbols["__entry_text_start"] % (2 << 20)
    assert symbols["__start_rodata"] - symbols["_etext"] < 4096
    assert symbols["_sdata"] - symbols["__end_rodata"] < 65536  # aligned to a stack


def test_redis_in_little_memory(lab: Lab) -> None:
    try:
        built = tiny(lab, manifest.resolve("redis"), REDIS_MEMORY)
    except debian.Unavailable as error:
        pytest.skip(str(error))

    async def talk() -> None:
        guest_of = replace(built, initrd=alone(lab, built))
        args = (*built.spec.args, "--save", "")
        async with lab.boot(guest_of, *args, guest_port=6379) as guest:
            await guest.says("Ready to accept connections")
            client = await Client.connect(guest.port)
            for number in range(1000):
                assert await client.do("SET", f"key{number}", str(number) * 20) == b"OK"
            assert await client.do("GET", "key999") == b"999" * 20

    asyncio.run(talk())
