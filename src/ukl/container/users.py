# SPDX-License-Identifier: GPL-2.0
"""The user that an image names, by the image's own /etc/passwd and /etc/group. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ukl.base.errors import InputError

PASSWD, GROUP = "/etc/passwd", "/etc/group"

_ID_MAX = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class User:
    """A process' owner; `groups` are the supplementary ones."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def find(text: str, passwd: str, group: str, where: str) -> User:
    """Return the user for `USER[:GROUP]`, names or numbers; raises InputError for unknown names.

    With a group of its own it has no supplementary groups, as the image specification says.
    """
    name, _, group_name = (text or "0").partition(":")
    rows = list(_rows(passwd, 7))
    row = next((each for each in rows if each[0] == name), None)
    if row is None and _number(name) is not None:
        row = next((each for each in rows if _number(each[2]) == _number(name)), None)
    uid = _number(row[2]) if row is not None else _number(name)
    if uid is None:
        raise InputError(
            f"the image has no user {name}",
            where=where,
            remedy="name one with a number: the image's configuration is wrong",
        )
    home = row[5] if row is not None and row[5].startswith("/") else "/"
    groups = list(_rows(group, 4))
    if group_name:
        found = next((each[2] for each in groups if each[0] == group_name), group_name)
        gid = _number(found)
        if gid is None:
            raise InputError(
                f"the image has no group {group_name}",
                where=where,
                remedy="name one with a number: the image's configuration is wrong",
            )
        return User(uid, gid, (), home)
    gid = _number(row[3]) if row is not None else 0
    login = row[0] if row is not None else ""
    more = {
        number
        for each in groups
        if login and login in each[3].split(",") and (number := _number(each[2])) is not None
    }
    return User(uid, gid or 0, tuple(sorted(more - {gid})), home)


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        words = line.split(":")
        if len(words) == columns:
            yield words


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _ID_MAX else None
