# SPDX-License-Identifier: GPL-2.0
"""SQLite loses its power in the middle, and is asked afterwards what it kept."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

from tests.boot.harness import Booted, Built, Lab
from ukl.base.model import Disk, Outcome, Volume
from ukl.vm.launch import Options

ROWS = 100_000
"""More than are written before the power is gone."""

CHECK = """
SELECT 'integrity ' || integrity_check FROM pragma_integrity_check;
SELECT 'kept ' || count(*) || ' ' || max(id) || ' ' || (SELECT count(*) FROM copy) || ' ' ||
  (SELECT count(*) FROM word JOIN copy USING(id) WHERE word.data = copy.data) FROM word;
SELECT 'mode ' || journal_mode FROM pragma_journal_mode;
INSERT INTO word VALUES(0, 'after');
.print end of the check
"""
"""Integrity first; each transaction has a row in both tables."""


def load(journal: str, first: int = 1) -> str:
    """Return a script of transactions, each acknowledged on the console when it is committed.

    `extra`: with `full`, the deletion of the journal, which is the commit, may be undone by
    a power cut (sqlite.org/pragma.html#pragma_synchronous). With WAL both are the same.
    """
    head = (
        f"PRAGMA journal_mode = {journal};\nPRAGMA synchronous = extra;\n"
        "PRAGMA wal_autocheckpoint = 40;\n"
        "CREATE TABLE IF NOT EXISTS word(id INTEGER PRIMARY KEY, data);\n"
        "CREATE TABLE IF NOT EXISTS copy(id INTEGER PRIMARY KEY, data);\n"
    )
    one = (
        "BEGIN;\nINSERT INTO word VALUES({0}, hex(randomblob(200)));\n"
        "INSERT INTO copy SELECT * FROM word WHERE id = {0};\nCOMMIT;\n"
        ".print acknowledged {0}\n"
    )
    return head + "".join(one.format(number) for number in range(first, ROWS))


def acknowledged(output: bytes) -> int:
    """Return the last transaction whose commit the console has told."""
    found = re.findall(rb"acknowledged (\d+)\r?\n", output)
    return int(found[-1]) if found else 0


class Database:
    """A database on a disk (or a volume) of the guest, with scripts for the shell."""

    def __init__(self, lab: Lab, built: Built, directory: Path, *, volume: bool = False) -> None:
        self.lab = lab
        self.scripts = directory / "sql"
        self.scripts.mkdir()
        volumes: tuple[Volume, ...] = (Volume(self.scripts, "/sql", read_only=True),)
        disks: tuple[Disk, ...] = ()
        if volume:
            (directory / "data").mkdir()
            volumes += (Volume(directory / "data", "/data"),)
        else:
            disks = (Disk(directory / "disk.img", "/data", 128 << 20),)
        self.built = replace(built, spec=replace(built.spec, volumes=volumes, disks=disks))

    async def cut(self, script: str, after: int, options: Options) -> int:
        """Run a script and kill QEMU when `after` is acknowledged; return what was, at last."""
        (self.scripts / "load.sql").write_text(script)
        arguments = ("-bail", "/data/main.db", ".read /sql/load.sql")
        async with self.lab.boot(self.built, *arguments, options=options) as guest:
            await guest.says(f"acknowledged {after}")
            os.kill(guest.session.pid, signal.SIGKILL)
            ran = await guest.end()
            assert ran.result.outcome is Outcome.LOST
            return acknowledged(ran.output)

    async def kept(self, least: int, options: Options) -> int:
        """Look at what is there: whole, and at least `least` transactions. Return how many."""
        (self.scripts / "check.sql").write_text(CHECK + "DELETE FROM word WHERE id = 0;\n")
        arguments = ("-bail", "/data/main.db", ".read /sql/check.sql")
        guest: Booted
        async with self.lab.boot(self.built, *arguments, options=options) as guest:
            ran = await guest.end()
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
        assert "integrity ok" in ran.lines, ran.text
        assert "end of the check" in ran.lines, ran.text
        match = re.search(r"kept (\d+) (\d+) (\d+) (\d+)", ran.text)
        assert match, ran.text
        count, last, copies, same = map(int, match.groups())
        assert count == last == copies == same, ran.text
        assert count >= least, ran.text
        return count
