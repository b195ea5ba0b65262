# SPDX-License-Identifier: GPL-2.0
"""The cpio writer, checked against the format's description."""

from __future__ import annotations

import stat

import pytest

from ukl.base.errors import InputError
from ukl.image import cpio

FIELDS = (
    *("ino", "mode", "uid", "gid", "nlink", "mtime", "filesize"),
    *("devmajor", "devminor", "rdevmajor", "rdevminor", "namesize", "check"),
)


def members(data: bytes) -> list[tuple[str, dict[str, int], bytes]]:
    """Read an archive the way the format says, independently of the writer."""
    found: list[tuple[str, dict[str, int], bytes]] = []
    position = 0
    while True:
        assert position % 4 == 0
        assert data[position : position + 6] == b"070701"
        head = data[position + 6 : position + 110]
        values = [int(head[at : at + 8], 16) for at in range(0, 104, 8)]
        fields = dict(zip(FIELDS, values, strict=True))
        name_end = position + 110 + fields["namesize"]
        name = data[position + 110 : name_end]
        assert name.endswith(b"\0")
        begin = (name_end + 3) // 4 * 4
        content = data[begin : begin + fields["filesize"]]
        position = (begin + fields["filesize"] + 3) // 4 * 4
        if name == b"TRAILER!!!\0":
            assert position == len(data)
            return found
        found.append((name[:-1].decode(), fields, content))


def test_members_come_back() -> None:
    data = cpio.archive(
        {
            "/bin/tool": cpio.regular(b"12345", 0o755),
            "/bin/link": cpio.symlink("tool"),
            "/dev/console": cpio.character_device(5, 1),
        }
    )
    found = {name: (fields, content) for name, fields, content in members(data)}
    assert list(found) == ["bin", "bin/link", "bin/tool", "dev", "dev/console"]
    assert found["bin/tool"][0]["mode"] == stat.S_IFREG | 0o755
    assert found["bin/tool"][1] == b"12345"
    assert found["bin/link"][0]["mode"] == stat.S_IFLNK | 0o777
    assert found["bin/link"][1] == b"tool"
    assert found["dev/console"][0]["mode"] == stat.S_IFCHR | 0o600
    assert (found["dev/console"][0]["rdevmajor"], found["dev/console"][0]["rdevminor"]) == (5, 1)
    assert found["bin"][0]["mode"] == stat.S_IFDIR | 0o755


def test_same_tree_gives_same_bytes() -> None:
    one = {"/a": cpio.regular(b"1"), "/b/c": cpio.regular(b"2")}
    other = dict(reversed(one.items()))
    assert cpio.archive(one) == cpio.archive(other)
    for _, fields, _ in members(cpio.archive(one)):
        assert fields["uid"] == fields["gid"] == fields["mtime"] == 0


def test_inode_numbers_differ() -> None:
    """The kernel takes equal inodes with several links for hard links."""
    data = cpio.archive({f"/f{number}": cpio.regular(b"") for number in range(5)})
    numbers = [fields["ino"] for _, fields, _ in members(data)]
    assert len(set(numbers)) == len(numbers)


def test_hard_links_and_owners() -> None:
    first = cpio.Entry(stat.S_IFREG | 0o640, b"12", uid=5, gid=70000, mtime=9)
    again = cpio.Entry(first.mode, uid=5, gid=70000, mtime=9, same_as="/b")
    data = cpio.archive({"/c/d": again, "/b": first, "/c/e": cpio.regular(b"")})
    found = {name: (fields, content) for name, fields, content in members(data)}
    (one, content), (two, nothing), (other, _) = (found[name] for name in ("b", "c/d", "c/e"))
    assert (content, nothing) == (b"12", b"")  # the first name alone brings the content
    assert one["ino"] == two["ino"] != other["ino"]
    assert (one["nlink"], two["nlink"], other["nlink"]) == (2, 2, 1)
    assert (one["uid"], one["gid"], one["mtime"]) == (5, 70000, 9)


def test_parent_comes_before_child() -> None:
    """`a-b` sorts before `a/b` as text, but `a` must come before both."""
    data = cpio.archive({"/a-b": cpio.regular(b""), "/a/b": cpio.regular(b"")})
    names = [name for name, _, _ in members(data)]
    assert names.index("a") < names.index("a/b")


@pytest.mark.parametrize("path", ["/a/../b", "/./a", "/a//b", "/", "", "/a\0b"])
def test_unclean_paths_are_refused(path: str) -> None:
    with pytest.raises(InputError):
        cpio.archive({path: cpio.regular(b"")})


def test_two_spellings_of_one_path_are_refused() -> None:
    with pytest.raises(InputError, match="two files"):
        cpio.archive({"/a": cpio.regular(b""), "a": cpio.regular(b"")})


def test_file_below_a_file_is_refused() -> None:
    with pytest.raises(InputError, match="not a directory"):
        cpio.archive({"/a": cpio.regular(b""), "/a/b": cpio.regular(b"")})


def test_names_that_are_not_utf8_survive() -> None:
    name = b"/na\xefve".decode("utf-8", "surrogateescape")
    assert b"na\xefve\0" in cpio.archive({name: cpio.regular(b"")})
