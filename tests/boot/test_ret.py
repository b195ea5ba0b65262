# SPDX-License-Identifier: GPL-2.0
"""Interrupts and exceptions return by RET, and nothing is another than with IRET."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.boot.gdbstub import IF, RF, attach
from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.injection import KERNEL_HALF, RED_ZONE
from ukl.base.model import Guest, Outcome, Returns
from ukl.elf.reader import Elf
from ukl.settings import manifest
from ukl.vm.launch import Options

AGAIN = "10000"
"""How often the program runs on a stack: longer than any test."""


@pytest.fixture(scope="module")
def returns(lab: Lab) -> Built:
    return lab.program("returns")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cpus", [1, 2])
def test_wherever_the_stack_pointer_is(lab: Lab, returns: Built, cpus: int) -> None:
    ran = lab.run(returns, cpus=cpus)
    assert ran.result.outcome is Outcome.EXITED, ran.text
    assert ran.result.status == 0, ran.text
    assert "all ok" in ran.lines, ran.text


@pytest.mark.timeout(300)
def test_the_way_is_taken(lab: Lab, returns: Built) -> None:
    """That it is what is tested here: three instructions on the application's own stack."""
    symbols = Elf.open(returns.image.vmlinux).addresses(
        ("ukl_return_by_ret", "__ukl_text_start", "__ukl_text_end")
    )

    async def go() -> None:
        options = Options(Guest(append=("nokaslr",), timeout=200.0))
        async with lab.boot(returns, AGAIN, options=options) as booted:
            await booted.says("ok a stack")
            session = booted.session
            async with attach(session, session.settings.directory / "gdb") as stub:
                first = await stub.go(symbols["ukl_return_by_ret"])
                assert first.sp < KERNEL_HALF, first
                assert not first.flags & IF, first
                flags, ip = await stub.words(first.sp, 2)
                second = await stub.step()
                # POPF clears RF (SDM Vol. 2, POPF). QEMU 10 does so, 7.2 does not.
                assert second.flags | RF == flags | RF, second
                await stub.step()
                third = await stub.step()
                assert third.ip == ip, third
                assert symbols["__ukl_text_start"] <= ip < symbols["__ukl_text_end"], third
                assert third.sp == first.sp + 16 + RED_ZONE, third
                assert third.flags & IF, third
                await stub.leave()
            await booted.stop()

    asyncio.run(go())


@pytest.mark.timeout(300)
def test_iret_is_the_default(lab: Lab) -> None:
    """The marker alone says it: the very same image, without the flag."""
    spec = manifest.load(PROGRAMS / "returns")
    built = lab.build(replace(spec, name="returns-iret", returns=Returns.IRET))
    symbol = Elf.open(built.image.vmlinux).addresses(("ukl_return_by_ret",))["ukl_return_by_ret"]

    async def go() -> None:
        async with lab.boot(built, AGAIN, options=Options(Guest(append=("nokaslr",)))) as booted:
            await booted.says("ok a stack")
            session = booted.session
            async with attach(session, session.settings.directory / "gdb") as stub:
                with pytest.raises(AssertionError, match="did not come"):
                    await stub.go(symbol, patience=5.0)

    asyncio.run(go())
