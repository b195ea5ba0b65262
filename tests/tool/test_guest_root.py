# SPDX-License-Identifier: GPL-2.0
"""The guest's switch to its root file system, in a mount namespace of this machine.

The boot tests see the same in a guest; here a mistake is found without a kernel.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import OPTIONAL, skip_without
from tests.containers import Member, directory, file, merged, symlink
from ukl.base.resources import path as resource
from ukl.container import squash

DRIVER = r"""
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "init.h"

static void must(int result, const char *what)
{
    if (result < 0) {
        printf("%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    must(fd, path);
    must(write(fd, text, strlen(text)), path);
    close(fd);
}

/* A root like that of the initrd, and then the switch; what follows sees the new root. */
int main(int argc, char **argv)
{
    static const char *const names[] = { "proc", "sys", "dev" };
    char source[64];
    int error;

    must(unshare(CLONE_NEWNS), "unshare");
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    must(mount("tmpfs", argv[2], "tmpfs", 0, NULL), "tmpfs");
    must(chdir(argv[2]), "chdir");
    must(system("cp /bin/busybox ."), "busybox");
    for (int i = 0; i < 3; i++) {
        mkdir(names[i], 0755);
        snprintf(source, sizeof(source), "/%s", names[i]);
        must(mount(source, names[i], NULL, MS_BIND | MS_REC, NULL), names[i]);
    }
    must(mkdir("ukl", 0755) | mkdir("etc", 0755), "mkdir");
    put("ukl/app", "marker");
    put("etc/hosts", "127.0.0.1 localhost\n");
    must(mkdir("old", 0755), "mkdir");
    must(syscall(SYS_pivot_root, ".", "old"), "pivot_root");
    must(chdir("/") | umount2("/old", MNT_DETACH), "old root");
    if (!argv[1][0]) {  /* in the initrd */
        must(mkdir("root.image", 0755) | mkdir("root.image/etc", 0755), "mkdir");
        put("root.image/etc/kept", "of the initrd\n");
        must(mkdir("root.image/bin", 0755), "mkdir");
        must(link("busybox", "root.image/bin/busybox"), "link");
    }
    error = root_up(*argv[1] ? argv[1] : NULL);
    if (error) {
        printf("root_up: %s\n", strerror(-error));
        return 1;
    }
    return execl("/bin/busybox", "sh", "-c", argv[3], NULL);
}
"""

FILES: tuple[Member, ...] = (
    file("bin/busybox", Path("/bin/busybox").read_bytes(), 0o755),
    directory("run/mine", 0o700, uid=33),
    file("etc/kept", "x", 0o640, uid=5, gid=70000),
    symlink("etc/hosts", "../run/none/hosts"),
    file("etc/resolv.conf", "nameserver of the image\n"),
)


@contextlib.contextmanager
def attached(image: Path) -> Iterator[str]:
    """Attach a file to a loop device."""
    ran = subprocess.run(
        ["losetup", "-r", "-f", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        pytest.skip(f"{OPTIONAL} no loop devices: {ran.stderr.strip()}")
    try:
        yield ran.stdout.strip()
    finally:
        subprocess.run(["losetup", "-d", ran.stdout.strip()], check=True)


def switched(
    tmp_path: Path, script: str, files: tuple[Member, ...] = FILES, *, disk: bool = True
) -> list[str]:
    """Run a script in the new root, which is on a disk or in the initrd; return its lines."""
    kinds = Path("/proc/filesystems").read_text()
    if os.geteuid() != 0 or "squashfs" not in kinds or "overlay" not in kinds:
        pytest.skip(f"{OPTIONAL} needs root, and squashfs and overlays of the kernel")
    if shutil.which("sqfstar") is None:
        pytest.skip(f"{OPTIONAL} no squashfs-tools on this machine")
    skip_without("losetup", "gcc")
    (tmp_path / "driver.c").write_text(DRIVER)
    guest = resource("guest")
    words = ["-D_GNU_SOURCE", "-Wall", "-Werror", "-Wno-unused-parameter", f"-I{guest}"]
    sources = [str(tmp_path / "driver.c"), str(guest / "root.c")]
    program = tmp_path / "driver"
    subprocess.run(["gcc", "-static", *words, *sources, "-o", str(program)], check=True)
    image = tmp_path / "root.squashfs"
    squash.write(merged(files), image, lambda done, total: None)
    (tmp_path / "top").mkdir()
    with attached(image) as device:
        ran = subprocess.run(
            [program, device if disk else "", str(tmp_path / "top"), script],
            capture_output=True,
            text=True,
            check=False,
        )
    assert not list((tmp_path / "top").iterdir())  # of the namespace alone
    return (ran.stdout + ran.stderr).splitlines()


SHOW = """
busybox cat /etc/hosts /etc/resolv.conf /ukl/app; echo
busybox stat -c '%n %a %u:%g' / /etc/kept /run/mine /etc/hosts
echo new >/etc/kept && busybox cat /etc/kept
busybox ls /root.image /root.merged 2>&1
busybox ls -d /proc/self /dev/null /sys/kernel
busybox grep -c ' / overlay rw' /proc/self/mounts
busybox unshare -U busybox echo no chroot
"""


def test_the_new_root(tmp_path: Path) -> None:
    assert switched(tmp_path, SHOW.replace("busybox", "/bin/busybox")) == [
        "127.0.0.1 localhost",
        "nameserver of the image",
        "marker",
        "/ 755 0:0",
        "/etc/kept 640 5:70000",
        "/run/mine 700 33:0",
        "/etc/hosts 644 0:0",
        "new",
        "ls: /root.image: No such file or directory",
        "ls: /root.merged: No such file or directory",
        "/dev/null",
        "/proc/self",
        "/sys/kernel",
        "1",
        "no chroot",
    ]


def test_what_is_in_the_way(tmp_path: Path) -> None:
    lines = switched(tmp_path, "", (*FILES, file("ukl", "a file")))
    assert lines == ["root_up: Not a directory"]


def test_a_root_in_the_initrd(tmp_path: Path) -> None:
    show = "busybox cat /etc/hosts /etc/kept /ukl/app; echo; busybox ls / /root.image 2>&1"
    assert switched(tmp_path, show.replace("busybox", "/bin/busybox"), disk=False) == [
        "127.0.0.1 localhost",
        "of the initrd",
        "marker",
        "ls: /root.image: No such file or directory",
        "/:",
        *("bin", "dev", "etc", "proc", "sys", "ukl"),
    ]
