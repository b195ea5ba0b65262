# SPDX-License-Identifier: GPL-2.0
"""Says what works, one line each, and ends with a traceback."""

import asyncio
import hashlib
import importlib
import json
import os
import sqlite3
import ssl
import subprocess
import sys
import threading
import zlib
from decimal import Decimal
from pathlib import Path


def modules() -> bool:
    """Tell whether modules that are built in give right results."""
    [row] = sqlite3.connect(":memory:").execute("select 6 * 7")
    return (
        row == (42,)
        and json.loads("[1, 2.5]") == [1, 2.5]
        and zlib.decompress(zlib.compress(b"x" * 1000)) == b"x" * 1000
        and hashlib.sha256(b"").hexdigest().startswith("e3b0c44298fc1c14")
        and Decimal(1) / 3 == Decimal("0.3333333333333333333333333333")
        and ssl.create_default_context().check_hostname
    )


def forked() -> int:
    """Return the status of a forked child."""
    child = os.fork()
    if child == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def threads() -> int:
    """Return how many threads have run."""
    seen: list[int] = []
    running = [threading.Thread(target=seen.append, args=(number,)) for number in range(20)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return len(set(seen))


async def gathered() -> int:
    """Return what concurrent tasks give."""
    return sum(await asyncio.gather(*(asyncio.sleep(0.01, result=1) for _ in range(3))))


def shared() -> str:
    """Say what becomes of the import of a shared object."""
    Path("/tmp/compiled.so").touch()
    sys.path.append("/tmp")
    try:
        importlib.import_module("compiled")
    except ImportError as error:
        return f"{type(error).__name__} {'cannot run in the kernel' in str(error)}"
    return "imported"


print("argv", sys.argv)
print("input", sys.stdin.readline().strip())
print("modules", "ok" if modules() else "wrong")
print("child", forked())
code = "import sys; print(sys.executable); sys.exit(5)"
again = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, text=True)
print("again", again.returncode, again.stdout.strip())
print("busybox", subprocess.check_output(["busybox", "echo", "sub"], text=True).strip())
print("threads", threads())
print("asyncio", asyncio.run(gathered()))
print("shared", shared())
raise KeyError("the end")
