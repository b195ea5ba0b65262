# SPDX-License-Identifier: GPL-2.0
"""Where images are, what their names mean, and what is wrong with damaged ones."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import containers
from tests.conftest import Cli
from tests.containers import file, layout, program, saved
from ukl.base.errors import InputError
from ukl.base.progress import Progress
from ukl.base.root import RootKind, RootSource
from ukl.container import directory, root, unpack
from ukl.container.sources import Layer, opened
from ukl.host.store import Store
from ukl.settings import manifest, roots

QUIET = Progress.quiet()


def oci(path: Path, reference: str = "") -> RootSource:
    return RootSource(RootKind.OCI, str(path), reference)


def archive(path: Path, reference: str = "") -> RootSource:
    return RootSource(RootKind.DOCKER_ARCHIVE, str(path), reference)


# --- names --------------------------------------------------------------------------------


def test_names_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = {
        "oci:img": (RootKind.OCI, f"{tmp_path}/img", "", "img"),
        "oci:/a/b.c:v1": (RootKind.OCI, "/a/b.c", "v1", "b"),
        "docker-archive:x.tar:app:1": (RootKind.DOCKER_ARCHIVE, f"{tmp_path}/x.tar", "app:1", "x"),
        "docker://host:5000/a/redis:7": (RootKind.REGISTRY, "//host:5000/a/redis:7", "", "redis"),
        "docker://redis@sha256:12": (RootKind.REGISTRY, "//redis@sha256:12", "", "redis"),
    }
    for target, (kind, name, reference, short) in found.items():
        spec = roots.image(target)
        assert spec is not None
        assert spec.root == RootSource(kind, name, reference)
        assert spec.name == short
        assert roots.image(spec.root.text) == spec
    assert roots.image("hello") is None
    assert roots.image("./oci:x") is None
    for target in ("oci:", "docker:redis", "docker://", "docker-archive::x"):
        with pytest.raises(InputError, match="not the name of an image"):
            roots.image(target)


def test_a_program_of_a_root(tmp_path: Path) -> None:
    spec = manifest.runnable("/bin/server", {"args": ("-x",)}, str(tmp_path))
    assert spec.root == RootSource(RootKind.FILES, str(tmp_path))
    assert (spec.name, spec.args) == ("server", ("/bin/server", "-x"))
    assert manifest.runnable("", {}, str(tmp_path)).args == ()
    with pytest.raises(InputError, match="no such file or directory"):
        manifest.runnable("/bin/server", {}, str(tmp_path / "none"))


def test_who_takes_images() -> None:
    assert manifest.runnable("oci:x", {"ring0": "/bin/a"}).ring0 == "/bin/a"
    with pytest.raises(InputError, match="only `ukl run`, `ukl package` and `ukl compose`"):
        manifest.specified("oci:x", {})
    with pytest.raises(InputError, match="there is none"):
        manifest.runnable("hello", {"ring0": "/bin/a"})
    for name in ("with_", "lto", "populate", "files"):
        with pytest.raises(InputError, match="not for a root file system"):
            manifest.runnable("oci:x", {name: ("x",)})
    with pytest.raises(InputError, match="takes no compiler options"):
        manifest.runnable("oci:x", {"cflags": ("-O2",)})


# --- opening -------------------------------------------------------------------------------


def test_a_layout(tmp_path: Path) -> None:
    path = layout(tmp_path / "i", [file("a")], [file("b")], tag="v1", Cmd=["/a"])
    with opened(oci(path)) as contents:
        assert contents.config.command == ("/a",)
        assert [layer.diff_id for layer in contents.layers] == list(contents.config.diff_ids)
        key = contents.key
    with opened(oci(path, "v1")) as contents:
        assert contents.key == key
    with pytest.raises(InputError, match="no image `v2`") as caught, opened(oci(path, "v2")):
        pass
    assert "v1" in str(caught.value.remedy)


def test_an_index_with_platforms(tmp_path: Path) -> None:
    path = layout(tmp_path / "i", [file("a")], Cmd=["/a"])
    index = json.loads((path / "index.json").read_text())
    mine = {**index["manifests"][0], "platform": {"os": "linux", "architecture": "amd64"}}
    other = {"digest": "sha256:0", "platform": {"os": "linux", "architecture": "arm64"}}

    def nested(*manifests: Any) -> None:
        data = json.dumps({"manifests": manifests}).encode()
        name = containers.digest(data).partition(":")[2]
        (path / "blobs/sha256" / name).write_bytes(data)
        (path / "index.json").write_text(json.dumps({"manifests": [containers.described(data)]}))

    nested(other, mine)
    with opened(oci(path)) as contents:
        assert contents.config.command == ("/a",)
    nested(other)
    with pytest.raises(InputError, match="for linux/arm64, not for linux/amd64"), opened(oci(path)):
        pass


def test_what_docker_saved(tmp_path: Path) -> None:
    path = saved(tmp_path / "i.tar", [file("a")], tag="reg/app:1", Cmd=["/a"])
    for reference in ("", "app:1", "reg/app:1"):
        with opened(archive(path, reference)) as contents:
            assert contents.config.command == ("/a",)
            assert contents.layers[0].open().read() == containers.tar([file("a")])
    packed = tmp_path / "i.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with opened(archive(packed)) as contents:
        assert contents.config.command == ("/a",)
    with pytest.raises(InputError, match="0 images `x`") as caught, opened(archive(path, "x")):
        pass
    assert "reg/app:1" in str(caught.value.remedy)


def broken(path: Path, said: str, kind: Any = oci) -> None:
    with pytest.raises(InputError, match=said) as caught, opened(kind(path)):
        pass
    assert caught.value.remedy
    assert caught.value.where


def test_damaged_layouts(tmp_path: Path) -> None:
    broken(tmp_path / "none", "no such file")
    broken(tmp_path, "it has no index.json")
    path = layout(tmp_path / "i", [file("a")])
    index = path / "index.json"
    good = index.read_text()
    for text, said in (
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"manifests": []}', "there are 0 images"),
        ('{"manifests": [{}]}', "not a digest"),
        ('{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}', "not a digest"),
        ('{"manifests": [{"digest": "sha256:%s"}]}' % ("0" * 64), "part of the image is missing"),
    ):
        index.write_text(text)
        broken(path, said)
    index.write_text(good)
    for blob in (path / "blobs/sha256").iterdir():
        if b"schemaVersion" in blob.read_bytes():
            blob.write_bytes(blob.read_bytes() + b" ")
    broken(path, "the digest is wrong")


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"nothing")
    broken(path, "not a tar archive", archive)
    path.write_bytes(containers.tar([file("a")]))
    broken(path, "manifest.json is not in the archive", archive)
    path.write_bytes(containers.tar([file("manifest.json", "{}")]))
    broken(path, "manifest.json is not a list", archive)
    whole = saved(tmp_path / "b.tar", [file("a", os.urandom(5000))])
    path.write_bytes(whole.read_bytes()[:3000])
    broken(path, "not in the archive|not a tar archive|cut off", archive)


def test_another_architecture(tmp_path: Path) -> None:
    path = layout(tmp_path / "i", [file("a")], architecture="arm64")
    broken(path, "an image for linux on arm64")


# --- unpacking ------------------------------------------------------------------------------


def stored(path: Path, data: bytes, tar: bytes, **more: Any) -> Layer:
    path.write_bytes(data)
    given = {"digest": containers.digest(data), "size": len(data)}
    given |= {"diff_id": containers.digest(tar)}
    return Layer("layer", lambda: path.open("rb"), path, **{**given, **more})


def test_layers_are_unpacked_and_checked(tmp_path: Path) -> None:
    tar = containers.tar([file("a", os.urandom(9000))])
    packed = gzip.compress(tar)
    for data in (tar, packed):
        layer = stored(tmp_path / "l", data, tar)
        assert unpack.tar_of(layer, tmp_path, 0, "img").read_bytes() == tar
    for data, unpacked, more, said in (
        (packed, tar, {"size": 9}, r"cut off: \d+ bytes instead of 9"),
        (packed, tar, {"digest": "sha256:0"}, "the digest is wrong"),
        (packed, b"other", {}, "the digest is wrong"),
        (packed[:5000], tar, {}, "cut off or damaged: Compressed file ended"),
        (packed[:40] + b"xx" + packed[42:], tar, {}, "cut off or damaged"),
    ):
        wrong = stored(tmp_path / "l", data, unpacked, **more)
        with pytest.raises(InputError, match=said) as caught:
            unpack.tar_of(wrong, tmp_path, 0, "img")
        assert caught.value.where.startswith("img, layer")  # type: ignore[union-attr]


# --- directories ----------------------------------------------------------------------------


def test_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d").mkdir(mode=0o750)
    (tmp_path / "d/a").write_text("x")
    (tmp_path / "d/b").hardlink_to(tmp_path / "d/a")
    (tmp_path / "link").symlink_to("/d/a")
    tree = directory.scan(tmp_path)
    inner = tree.root.children["d"].children
    assert inner["a"] is inner["b"]
    assert tree.root.children["d"].mode & 0o7777 == 0o750
    assert tree.root.children["link"].target == "/d/a"
    before = directory.key(tmp_path)
    assert directory.key(tmp_path) == before
    (tmp_path / "d/a").chmod(0o600)
    assert directory.key(tmp_path) != before
    # What a user owns is meant to be root's, in the guest.
    real = os.lstat(tmp_path / "d/a").st_uid
    monkeypatch.setattr(os, "geteuid", lambda: real)
    assert directory.scan(tmp_path).root.children["d"].uid == 0


# --- the command line ------------------------------------------------------------------------


def test_errors_leave_nothing_behind(tmp_path: Path) -> None:
    """Whoever makes the file system finds out what is wrong before it is written."""
    store = Store(tmp_path / "cache")
    bad = layout(tmp_path / "i", [program("a")], [file("../x")], Cmd=["/a"])
    with pytest.raises(InputError, match="climbs out of the root"):
        root.made(oci(bad), store, QUIET)
    assert [path for path in store.root.rglob("*") if path.suffix in {".tar", ".squashfs"}] == []
    assert not list(store.root.glob("container/*"))
    assert not list(store.root.glob("container/.*"))


@pytest.mark.process
def test_one_line_and_a_status(cli: Cli, tmp_path: Path) -> None:
    ran = cli("run", f"oci:{tmp_path}")
    assert ran.returncode == 4
    assert ran.stderr.splitlines() == [
        f"ukl: error: {tmp_path}: not a directory with an OCI image: it has no index.json",
        "  remedy: make one with `skopeo copy docker://NAME oci:DIR:TAG`, or use --rootfs for a "
        "directory of files",
    ]
    for words, status, said in (
        (["run"], 2, "TARGET"),
        (["run", "oci:"], 4, "not the name of an image"),
        (["run", "--rootfs", f"{tmp_path}/none", "/bin/a"], 4, "no such file or directory"),
        (["build", f"oci:{tmp_path}"], 4, "only `ukl run`"),
        (["run", "hello", "--ring0", "/bin/a"], 4, "there is none"),
        (["run", f"oci:{tmp_path}", "--ring0", "a"], 2, "not the absolute path"),
    ):
        ran = cli(*words)
        assert (ran.returncode, said in ran.stderr) == (status, True), ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.process
def test_an_image_of_a_registry_is_fetched_once(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = layout(tmp_path / "i", [file("a")], Cmd=["/a"])
    skopeo = tmp_path / "bin/skopeo"
    skopeo.parent.mkdir()
    copy = f'for to; do :; done\nto=${{to#oci:}}\ncp -r {image} "${{to%:latest}}"\n'
    skopeo.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n{copy}')
    skopeo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{skopeo.parent}:/usr/bin:/bin")
    source = RootSource(RootKind.REGISTRY, "//app:1")
    for _ in range(2):
        found = root.local(source, store, QUIET)
        assert root.config(found).command == ("/a",)
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith("--override-os linux --override-arch amd64 copy docker://app:1 oci:/")
