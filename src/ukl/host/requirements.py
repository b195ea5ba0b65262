# SPDX-License-Identifier: GPL-2.0
"""The tools that `ukl` needs on Debian or Ubuntu: pure data, one row per tool.

The launcher at the top of the repository has its own list of the same packages, as it runs
before Python is installed; tests/unit compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """A tool or file, the Debian package that contains it, and its purpose.

    If `file`, an absolute path, is set, that file must exist; otherwise `tool` must be in PATH.
    """

    tool: str
    package: str
    purpose: str
    file: str | None = None
    optional: bool = False


REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("gcc", "gcc", "compiles the kernel and applications"),
    Requirement("ld", "binutils", "links them"),
    Requirement("objcopy", "binutils", "renames sections"),
    Requirement("make", "make", "builds the kernel"),
    Requirement("bc", "bc", "the kernel's build uses it"),
    Requirement("flex", "flex", "the kernel's configuration tool"),
    Requirement("bison", "bison", "the kernel's configuration tool"),
    Requirement("patch", "patch", "applies the kernel series"),
    Requirement("perl", "perl", "the kernel's build uses it"),
    Requirement("xz", "xz-utils", "unpacks kernel sources"),
    Requirement("lz4", "lz4", "compresses the kernel"),
    Requirement("libelf", "libelf-dev", "objtool of the kernel", file="/usr/include/libelf.h"),
    Requirement(
        "libc.a",
        "libc6-dev",
        "the C library that is linked into applications",
        file="/usr/lib/x86_64-linux-gnu/libc.a",
    ),
    Requirement("qemu-system-x86_64", "qemu-system-x86", "runs the unikernel"),
    Requirement("musl-gcc", "musl-tools", "compiles the guest's init"),
    Requirement("busybox", "busybox-static", "the guest's userspace", file="/bin/busybox"),
    Requirement("mke2fs", "e2fsprogs", "makes disks for guests", optional=True),
    Requirement(
        "sqfstar", "squashfs-tools", "makes root file systems of container images", optional=True
    ),
    Requirement("zstd", "zstd", "unpacks layers of container images", optional=True),
    Requirement("skopeo", "skopeo", "fetches container images (docker://)", optional=True),
    Requirement("dpkg-source", "dpkg-dev", "unpacks sources of recipes", optional=True),
    Requirement("g++", "g++", "compiles C++ applications", optional=True),
    Requirement("clang", "clang", "compiles kernel and application together", optional=True),
    Requirement("llvm-link", "llvm", "links clang's bitcode (--lto)", optional=True),
    Requirement("llvm-extract", "llvm", "extracts functions (--lto)", optional=True),
    Requirement("opt", "llvm", "removes unused functions (--lto)", optional=True),
    Requirement("gdb", "gdb", "debugs guests (ukl gdb)", optional=True),
    Requirement("strace", "strace", "traces calls in guests (ukl trace)", optional=True),
    Requirement("ccache", "ccache", "faster kernel rebuilds", optional=True),
)

PACKAGE_OF: dict[str, str] = {
    **{row.tool: row.package for row in REQUIREMENTS},
    "ar": "binutils",
    "apt-get": "apt",
    "addr2line": "binutils",
    "bzip2": "bzip2",
    "c++filt": "binutils",
    "cargo": "cargo",
    "cc": "gcc",
    "cc1": "gcc",
    "clang": "clang",
    "clang++": "clang",
    "cmake": "cmake",
    "cpio": "cpio",
    "debootstrap": "debootstrap",
    "dpkg": "dpkg",
    "dpkg-deb": "dpkg",
    "dpkg-query": "dpkg",
    "g++": "g++",
    "git": "git",
    "go": "golang-go",
    "gzip": "gzip",
    "ld.lld": "lld",
    "meson": "meson",
    "ninja": "ninja-build",
    "nm": "binutils",
    "objdump": "binutils",
    "readelf": "binutils",
    "strip": "binutils",
    "sudo": "sudo",
    "unsquashfs": "squashfs-tools",
    "tar": "tar",
}
"""Program name -> Debian package that contains it, for errors about missing programs."""


def install_command(*packages: str) -> str:
    """Return the shell command that installs `packages`, for remedies."""
    return "sudo apt-get install --no-install-recommends " + " ".join(dict.fromkeys(packages))
