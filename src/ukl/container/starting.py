# SPDX-License-Identifier: GPL-2.0
"""What is started in a root file system, and which program of it runs in ring 0. Pure."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ukl.base.errors import InputError
from ukl.base.root import Start
from ukl.container import programs, users
from ukl.container.config import Config
from ukl.container.tree import Inode, Tree

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of an image that sets none: that of container engines."""

SCRIPTS_MAX = 5
"""Interpreters that Linux starts for one program (fs/exec.c)."""

AS_PROCESS = "start it as a normal process with --mode process"


@dataclass(frozen=True, slots=True)
class Root:
    """The files and the configuration of an image. `texts` are some files' contents."""

    where: str
    tree: Tree
    config: Config
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says: arguments instead of the image's command, further variables.

    `ring0` is the program in ring 0, if it is not the first one; with `process` none is.
    """

    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ring0: str = ""
    process: bool = False


def start(root: Root, wanted: Wanted) -> Start:
    """Return how the program is started; raises InputError if it cannot be."""
    config = root.config
    argv = (*config.entrypoint, *(wanted.args or config.command))
    if not argv or not argv[0]:
        raise InputError(
            "the image has neither an entry point nor a command",
            where=root.where,
            remedy="name a program: `ukl run IMAGE -- /path/of/program`, or `ukl run --rootfs DIR "
            "/path/of/program`",
        )
    texts = root.texts
    user = users.find(
        config.user, texts.get(users.PASSWD, ""), texts.get(users.GROUP, ""), root.where
    )
    env = {"PATH": PATH, "HOME": user.home, **config.env, **wanted.env}
    path = _located(root, argv[0], env["PATH"])
    program, interpreter = executed(root, path)
    first = Start(
        path,
        argv,
        env,
        config.directory,
        user.uid,
        user.gid,
        user.groups,
        config.stop_signal,
    )
    if wanted.process:
        return first
    if wanted.ring0:
        return _placed(root, first, wanted.ring0)
    _check_trusted(root, program)
    # Linux puts the words of the script's first line, and the script's path, in place of argv[0].
    return replace(first, program=program, interpreter=interpreter)


def _located(root: Root, name: str, path: str) -> str:
    """Return the path of a program, found as execvp() finds it."""
    if "/" in name:
        places = [posixpath.normpath(posixpath.join(root.config.directory, name))]
    else:
        places = [f"{directory or '.'}/{name}" for directory in path.split(":")]
    for place in places:
        found = root.tree.find(place)
        if found is not None and found[1].is_executable:
            return place
    where, why = root.where, "there is no such program"
    if any(root.tree.find(place) is not None for place in places):
        why = "this file is not executable"
    raise InputError(
        f"{why} in the root file system: {name}",
        where=where,
        remedy="name another one, by its absolute path"
        if "/" in name
        else f"name it by its absolute path; it is not in {path}",
    )


def executed(root: Root, path: str) -> tuple[str, tuple[str, ...]]:
    """Return the program that executes `path`, and the words before a script's arguments."""
    words: tuple[str, ...] = ()
    for _ in range(SCRIPTS_MAX):
        found = root.tree.find(path)
        if found is None or not found[1].is_executable:
            raise InputError(
                f"its interpreter {path} is not in the root file system",
                where=f"{root.where}, {words[-1] if words else path}",
                remedy="add it to the image",
            )
        line = programs.script(found[1].head)
        if not line:
            _check_program(root, *found)
            return path, words
        words = (*line, path, *words[1:])
        path = line[0]
    raise InputError("too many interpreters", where=f"{root.where}, {path}", remedy="use fewer")


def _check_program(root: Root, path: str, inode: Inode) -> None:
    """Raise InputError for what is not a program of this architecture, or lacks its loader."""
    kind, machine, loader = [*inode.head.split(" ", 2), "", ""][:3]
    if kind != "elf":
        raise InputError(
            "neither an ELF program nor a script that begins with #!",
            where=f"{root.where}, {path}",
            remedy="name another program",
        )
    if machine != programs.NATIVE:
        raise InputError(
            f"a program for another architecture ({machine})",
            where=f"{root.where}, {path}",
            remedy=f"use an image for {programs.NATIVE}",
        )
    if loader and root.tree.find(loader) is None:
        raise InputError(
            f"its interpreter {loader} is not in the root file system",
            where=f"{root.where}, {path}",
            remedy="add the C library to the image, or link the program statically",
        )


def _check_trusted(root: Root, path: str) -> None:
    """Raise InputError unless a program meets the kernel's rules for those in ring 0."""
    found = root.tree.find(path)
    assert found is not None
    real, inode = found
    wrong = ""
    if inode.mode & (stat.S_ISUID | stat.S_ISGID):
        wrong = "a set-user-ID or set-group-ID program cannot run in ring 0"
    elif inode.uid != 0:
        wrong = f"a program in ring 0 must be owned by root; this one is by user {inode.uid}"
    elif inode.mode & 0o022:
        wrong = "a program in ring 0 must not be writable by group or others"
    if wrong:
        raise InputError(
            wrong,
            where=f"{root.where}, {real}",
            remedy=f"change its owner or mode in the image, name another program with --ring0, or "
            f"{AS_PROCESS}",
        )


def _placed(root: Root, first: Start, path: str) -> Start:
    """Return a start in which every execution of `path` is one in ring 0."""
    found = root.tree.find(path)
    if found is None or not found[1].is_executable:
        raise InputError(
            f"there is no such program in the root file system: {path}",
            where=root.where,
            remedy="name the absolute path of a program with --ring0",
        )
    real, inode = found
    if programs.script(inode.head):
        raise InputError(
            "a script cannot run in ring 0, but its interpreter can",
            where=f"{root.where}, {real}",
            remedy=f"--ring0 {programs.script(inode.head)[0]}",
        )
    _check_program(root, real, inode)
    _check_trusted(root, real)
    directory, name = posixpath.split(real)
    # In the same directory: the loader's $ORIGIN, and what looks for files beside it, are right.
    return replace(first, program=real, aside=posixpath.join(directory, f".{name}.ring0"))
