# SPDX-License-Identifier: GPL-2.0
"""Layers of an image on top of each other: whiteouts, links, and names that leave the root."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import containers
from tests.containers import (
    Member,
    directory,
    elf,
    file,
    hard,
    head,
    merged,
    opaque,
    program,
    symlink,
    whiteout,
)
from ukl.base.errors import InputError
from ukl.container import layers
from ukl.container.tree import Tree


def names(tree: Tree) -> list[str]:
    return [path for path, _ in tree.walk()]


def read(tree: Tree, path: str) -> bytes:
    found = tree.find(path)
    assert found is not None
    assert found[1].content is not None
    with found[1].content() as stream:
        return stream.read()


def test_an_upper_layer_replaces_files_and_keeps_directories() -> None:
    tree = merged(
        [directory("etc", 0o700, uid=5), file("etc/a", "1"), file("etc/b", "2"), file("plain")],
        [directory("./etc", 0o755), file("./etc/a", "3", 0o600), directory("plain")],
    )
    assert names(tree) == ["/etc", "/plain", "/etc/a", "/etc/b"]
    assert (read(tree, "/etc/a"), read(tree, "/etc/b")) == (b"3", b"2")
    found = tree.find("/etc")
    assert found is not None
    assert (found[1].mode & 0o7777, found[1].uid) == (0o755, 0)
    assert tree.root.children["plain"].is_directory


def test_a_file_in_place_of_a_directory() -> None:
    assert names(merged([file("a/b/c")], [file("a", "x")])) == ["/a"]
    assert names(merged([symlink("a", "b"), file("b/c")], [directory("a")])) == ["/a", "/b", "/b/c"]


def test_whiteouts_concern_the_layers_below_alone() -> None:
    lower = [file("d/a"), file("d/b"), file("d/sub/c"), file("gone/x"), file("stays")]
    tree = merged(lower, [file("d/b", "new"), whiteout("d/b"), whiteout("d/sub"), whiteout("gone")])
    assert names(tree) == ["/d", "/stays", "/d/a", "/d/b"]
    assert read(tree, "/d/b") == b"new"
    assert names(merged(lower, [whiteout("no/such"), whiteout("nothing")])) == names(merged(lower))


def test_an_opaque_directory_hides_what_is_below_it() -> None:
    lower = [directory("d", 0o750), file("d/a"), file("d/sub/b")]
    tree = merged(lower, [file("d/new"), opaque("d"), file("d/.wh..wh.plnk")])
    assert names(tree) == ["/d", "/d/new"]
    assert tree.root.children["d"].mode & 0o7777 == 0o750


def test_symbolic_links_of_lower_layers_are_followed_in_the_root() -> None:
    tree = merged(
        [directory("usr/lib"), symlink("lib", "usr/lib"), symlink("abs", "/usr")],
        [file("lib/a"), file("abs/b"), whiteout("lib/gone")],
    )
    assert names(tree) == ["/abs", "/lib", "/usr", "/usr/b", "/usr/lib", "/usr/lib/a"]


def test_hard_links_are_one_file() -> None:
    tree = merged([file("a", "x"), hard("b", "a")], [hard("c", "./b"), file("a", "y")])
    root = tree.root.children
    assert root["b"] is root["c"]
    assert root["b"] is not root["a"]
    assert read(tree, "/c") == b"x"


def test_owners_devices_and_attributes() -> None:
    attributes = {
        "SCHILY.xattr.security.capability": b"\x01\xff\n=".decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.user.a": "b",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "label",
        "comment": "x",
    }
    tree = merged(
        [
            file("p", "x", 0o4755, uid=1000, gid=70000, mtime=12, pax_headers=attributes),
            ("null", None, {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o666}),
            ("pipe", None, {"type": tarfile.FIFOTYPE, "mode": 0o600}),
        ]
    )
    inode = tree.root.children["p"]
    assert (inode.mode, inode.uid, inode.gid, inode.mtime) == (0o104755, 1000, 70000, 12)
    assert inode.xattrs == {"security.capability": b"\x01\xff\n=", "user.a": b"b"}
    assert tree.root.children["null"].device == (1, 3)
    assert tree.root.children["null"].mode == 0o020666
    assert tree.root.children["pipe"].mode == 0o010600


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ([file("../etc/passwd")], r"climbs out of the root: '../etc/passwd' has `..`"),
        ([file("a/../../b")], r"climbs out of the root"),
        ([whiteout("../a")], r"climbs out of the root"),
        ([symlink("up", ".."), file("up/x")], r"'up/x' goes through symbolic links that leave it"),
        ([symlink("a/up", "../../.."), file("a/up/x")], r"goes through symbolic links"),
        ([symlink("a", "b"), symlink("b", "a"), file("a/x")], r"goes through symbolic links"),
        ([symlink("up", "../x"), opaque("up")], r"goes through symbolic links"),
        ([symlink("up", ".."), hard("x", "up/y")], r"goes through symbolic links"),
        ([hard("x", "../y")], r"climbs out of the root"),
        ([hard("x", "nowhere")], r"hard link to 'nowhere', which is not there"),
        ([directory("d"), hard("x", "d")], r"hard link to 'd'"),
        ([file("plain"), file("plain/x")], r"/plain is not a directory"),
        ([symlink("dangling", "no"), file("dangling/x")], r"/dangling is not a directory"),
        ([("odd", None, {"type": b"Z", "mode": 0})], r"of a kind that no file system has"),
    ],
)
def test_what_cannot_be_in_a_root(members: Iterable[Member], wrong: str) -> None:
    lower = list(members)
    with pytest.raises(InputError, match=wrong) as caught:
        merged(lower[:-1], lower[-1:])
    assert caught.value.where == "layer 1"
    assert caught.value.remedy


def test_in_a_guest_links_are_followed_as_linux_does() -> None:
    tree = merged(
        [
            file("usr/bin/x"),
            symlink("bin", "usr/bin"),
            symlink("up", "../../usr"),  # in a root, .. of / is /
            symlink("loop", "loop"),
            symlink("link", "/bin/x"),
        ]
    )
    found = {path: tree.find(path) for path in ("/bin/x", "up/bin/x", "link", "/../bin/../bin/x")}
    assert {each[0] for each in found.values() if each} == {"/usr/bin/x"}
    assert None not in found.values()
    assert tree.find("/loop") is None
    assert tree.find("/usr/bin/x/y") is None
    assert tree.find("/none") is None
    link = tree.find("/link", follow=False)
    assert link is not None
    assert link[1].is_link


def test_what_is_kept_of_a_tree_says_what_can_be_started() -> None:
    tree = merged(
        [
            program("bin/p", "/lib/ld.so", uid=7),
            symlink("sh", "bin/p"),
            file("s", "#!/sh x\n", 0o755),
        ]
    )
    again = Tree.load(tree.dump())
    assert again.dump() == tree.dump()
    found = again.find("/sh")
    assert found is not None
    assert (found[0], found[1].uid, found[1].head) == ("/bin/p", 7, "elf x86-64 /lib/ld.so")


def test_what_an_executable_is() -> None:
    assert head(elf()) == "elf x86-64 "
    assert head(elf("/lib64/ld-linux-x86-64.so.2")) == "elf x86-64 /lib64/ld-linux-x86-64.so.2"
    assert head(elf(machine=183)) == "elf aarch64 "
    assert head(elf(machine=250)) == "elf machine-250 "
    assert head(elf()[:20]) == ""
    assert head(b"#!/bin/sh -e\nexit\n") == "#!/bin/sh -e"
    assert head(b"#!" + b"a" * 1000) == "#!" + "a" * 253
    assert head(b"") == ""
    corrupt = bytearray(elf("/lib/ld.so"))
    corrupt[32:40] = b"\xff" * 7 + b"\0"
    assert head(bytes(corrupt)) == "elf x86-64 "


@pytest.mark.parametrize(
    ("cut", "complete"), [(0, True), (512, True), (1024, False), (2000, False)]
)
def test_an_archive_that_is_cut_off(tmp_path: Path, cut: int, complete: bool) -> None:
    data = containers.tar([file("a", "x" * 700), file("b", "y" * 700)])
    data = data.rstrip(b"\0")  # what follows is padding
    data = data.ljust(-(-len(data) // 512) * 512 + 1024, b"\0")
    path = tmp_path / "a.tar"
    path.write_bytes(data[: len(data) - cut])
    with tarfile.open(path) as archive:
        if cut == 2000:  # within the last file: apply() says so
            with pytest.raises(InputError, match="unexpected end of data"):
                layers.apply(Tree(), archive, "layer")
            return
        layers.apply(Tree(), archive, "layer")
        assert layers.is_complete(path, archive) == complete


def test_what_is_no_archive() -> None:
    data = bytearray(containers.tar([file("a", "x"), file("b", "y")]))
    data[1024:1100] = b"?" * 76
    archive = tarfile.open(fileobj=io.BytesIO(bytes(data)))  # noqa: SIM115
    tree = Tree()
    layers.apply(tree, archive, "layer")
    assert names(tree) == ["/a"]  # tarfile stops; the digest or is_complete() finds it
