# SPDX-License-Identifier: GPL-2.0
"""The recipe of Redis: it serves and saves from inside the kernel."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.boot.harness import Built, Lab
from tests.resp import Client
from ukl.recipe import debian

PORT = 6379

CLOCK_ERROR = 0.010
"""Seconds that the guest's clock may be wrong: init's question took at most twice that.
Redis' own tests of absolute times have no more patience than 50 ms."""

TIME = "local now = redis.call('time') return string.format('%d.%06d', now[1], now[2])"


@pytest.fixture(scope="module")
def redis(lab: Lab) -> Built:
    """Return Redis, built; skips when its source cannot be had."""
    try:
        return lab.example("redis")
    except debian.Unavailable as error:
        pytest.skip(str(error))


def test_it_serves_and_saves(lab: Lab, redis: Built) -> None:
    async def talk() -> None:
        args = (*redis.spec.args, "--save", "")
        async with lab.boot(redis, *args, guest_port=PORT) as guest:
            await guest.says("Ready to accept connections")
            client = await Client.connect(guest.port)
            big = bytes(range(256)) * 400
            assert await client.do("SET", "word", "value") == b"OK"
            assert await client.do("SET", "big", big) == b"OK"
            assert await client.do("GET", "word") == b"value"
            assert await client.do("GET", "big") == big
            assert await client.do("GET", "nothing") is None
            # An error of a script travels by longjmp.
            script = (
                "local ok = pcall(error, 'x') return redis.call('get', KEYS[1]) .. tostring(ok)"
            )
            assert await client.do("EVAL", script, "1", "word") == b"valuefalse"

            # BGSAVE forks: the child writes while the parent goes on.
            before = (await client.info("persistence"))["rdb_last_save_time"]
            await asyncio.sleep(1.1)  # the time has seconds
            await client.do("BGSAVE")
            for number in range(500):
                assert await client.do("SET", f"key{number}", str(number)) == b"OK"
            info = await client.info("persistence")
            for _ in range(200):
                if info["rdb_last_save_time"] != before:
                    break
                await asyncio.sleep(0.1)
                info = await client.info("persistence")
            assert info["rdb_last_bgsave_status"] == "ok"
            assert info["rdb_last_save_time"] != before
            assert await client.do("DBSIZE") == 502
            assert await client.do("GET", "key499") == b"499"

    asyncio.run(talk())


def test_its_clock_is_that_of_the_host(lab: Lab, redis: Built) -> None:
    async def talk() -> None:
        async with lab.boot(redis, *redis.spec.args, guest_port=PORT) as guest:
            await guest.says("Ready to accept connections")
            client = await Client.connect(guest.port)
            errors = []
            for _ in range(10):
                before = time.time()
                answer = await client.do("EVAL", TIME, "0")
                after = time.time()
                assert isinstance(answer, bytes)
                told = float(answer)
                errors.append(max(before - told, told - after))
            assert min(errors) < CLOCK_ERROR

    asyncio.run(talk())
