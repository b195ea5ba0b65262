# SPDX-License-Identifier: GPL-2.0
"""Values that packages pass to each other.

The classes are frozen and only hold data; code that uses the machine is in the package that
makes the value. Sizes are in bytes, durations in seconds; addresses are integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from ukl.base.root import RootSource, Start


class Level(StrEnum):
    """How an application calls the kernel, where a call replaces a `syscall` instruction.

    BASE: with all of Linux' work on entry and exit. FAST: without that work, unless a tracer,
    a filter, a signal or the scheduler needs it.
    """

    BASE = "base"
    FAST = "fast"


class Returns(StrEnum):
    """How interrupts and exceptions return to the application: UKL_MARKER_RET of the kernel."""

    IRET = "iret"
    RET = "ret"


class Code(StrEnum):
    """What an application may execute beyond its own text: UKL_MARKER_EXEC and following.

    NONE: nothing. FILES: files that it maps and that root alone can write, such as shared
    objects. JIT: also memory that it has written. WX: also while it is writable.
    """

    NONE = "none"
    FILES = "files"
    JIT = "jit"
    WX = "wx"


class Tune(StrEnum):
    """What a guest is tuned for: nothing, or to answer many requests."""

    OFF = "off"
    SERVER = "server"


class Mode(StrEnum):
    """How a program runs: in the kernel, or as a normal process."""

    UNIKERNEL = "unikernel"
    PROCESS = "process"


class Protocol(StrEnum):
    """Transport protocol of a forwarded port."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class PortForward:
    """A port of this machine that QEMU forwards to the guest (`-p HOST:GUEST[/udp]`)."""

    host: int
    guest: int
    address: str = "127.0.0.1"
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True)
class Volume:
    """A directory of this machine, mounted at `target` in the guest.

    Written `-v DIR:/path[:ro|:shared]`. `shared` allows further guests to write to it.
    """

    source: Path
    target: str
    read_only: bool = False
    shared: bool = False


DISK_SIZE = 1 << 30
"""Bytes of a new disk for which no size is given."""


@dataclass(frozen=True, slots=True)
class Disk:
    """An ext4 image that the guest mounts at `target` (`--disk FILE:/path`).

    A missing file is created: sparse, `size` bytes. The one with the target `/` is the root file
    system of a container image, a squashfs that several guests may read. With an `offset` it is a
    part of a snapshot, which stays as it is: what the guest writes is lost at its end.
    """

    file: Path
    target: str
    size: int = DISK_SIZE
    offset: int | None = None

    @property
    def is_root(self) -> bool:
        """Whether it is the root file system."""
        return self.target == "/"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a recipe's source is: one of `directory`, `url` with `sha256`, `debian`.

    `inputs` are patterns that select files of the directory (none: all files). The version of
    the Debian package must begin with one of `versions` (none: any version). `*` in its name
    stands for digits (recipe/newest.py).
    """

    directory: Path | None = None
    inputs: tuple[str, ...] = ()
    url: str | None = None
    sha256: str | None = None
    debian: str | None = None
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """How a program's own build system builds it: the checked content of `[build]`.

    `commands` are shell commands that run in the top directory of the source. `program` and
    the values of `files` (path in the guest = path in the source) are relative to it.
    """

    source: Source
    commands: tuple[str, ...]
    program: str
    packages: tuple[str, ...] = ()
    patches: tuple[Path, ...] = ()
    overlay: tuple[Path, ...] = ()
    """Files of the recipe that are copied into the top directory of the source."""
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """A program's own tests: the content of `[test]`. `timeout` is in seconds, per command.

    The tests are host `commands` that connect to the program, or `runs` (test name -> arguments
    of the program). Each of the `runs` has its own guest and passes if its exit status is 0.
    `passed`, `failed` and `skipped` are regular expressions for lines of output; their group is
    the test's name. `args` are the server's arguments during the tests. `files` (path in the
    guest = host path) and a new `disk` (its mount point) exist only for the tests.
    `shared` mounts the commands' working directory in the guest, under the same path.
    `ready` is a command that ends with status 0 once the server accepts requests.
    """

    commands: tuple[str, ...]
    passed: str | None = None
    failed: str | None = None
    skipped: str | None = None
    runs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    disk: str | None = None
    shared: bool = False
    ready: str | None = None
    quick: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    args: tuple[str, ...] | None = None
    timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class PythonSpec:
    """A Python program: the checked content of `[python]`, with absolute paths.

    `script` is a file, or a directory with a `__main__.py`; `path` lists directories of
    packages. `interpreter` is `linked` or `installed`; empty: `installed` if the packages have
    extension modules.
    """

    script: Path
    path: tuple[Path, ...] = ()
    interpreter: str = ""


SMALL = "tiny"
"""The kernel profile for a single program in little memory."""


@dataclass(frozen=True, slots=True)
class AppSpec:
    """What to build and how to start it: the checked content of `ukl.toml`.

    `origin` is the file (or C source) that the specification was read from. Paths are
    absolute. `files` maps a path in the guest to a path on the host.
    """

    name: str
    origin: Path
    directory: Path
    sources: tuple[Path, ...] = ()
    cflags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    objects: tuple[Path, ...] = ()
    rewrite_syscalls: bool = True
    """Whether calls replace `syscall` instructions, where possible."""
    level: Level = Level.FAST
    lto: bool = False
    """Whether the kernel functions that it imports are compiled into it (ukl.lto)."""
    returns: Returns = Returns.IRET
    code: Code = Code.NONE
    page_size: int = 0
    """Bytes of a page of anonymous memory, where possible; 0: the kernel uses large pages only
    on request (madvise)."""
    tune: Tune = Tune.OFF
    timezone: str = ""
    """Time zone of the guest, `host` for this machine's; empty: UTC."""
    sysctl: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the guest's kernel, as in /proc/sys."""
    populate: bool = False
    """Whether it first locks its memory, so that mapping memory also populates it."""
    userspace: bool | None = None
    """Whether the guest has busybox and the application's normal executable; None: as the
    kernel's profile says."""
    program: Path | None = None
    """An executable that ukl-cc linked; PROGRAM.ukl.o next to it is the application."""
    executable: str = ""
    """Path in the guest of `program`, if that runs as it is; empty: it is linked in."""
    invoked: str = ""
    """Path in the guest of a symbolic link to `executable`, by which that is started; some
    programs do one thing or another by their name. Empty: there is none."""
    root: RootSource | None = None
    """The guest's root file system, with a program that runs as it is; None: the initrd."""
    ring0: str = ""
    """Path of the program in `root` that runs in ring 0; empty: the first one."""
    start: Start | None = None
    """How the program of `root` is started; None until `root` has been made."""
    build: BuildSpec | None = None
    """How `program` is built; None if it already exists or needs no build system."""
    suite: SuiteSpec | None = None
    python: PythonSpec | None = None
    """The script that the interpreter runs, until it is added to `files`."""
    command: tuple[str, ...] = ()
    """Arguments that precede `args`; the command line does not override them."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    """Working directory in the guest; empty: `/`, or that of the image."""
    entrypoint: str = ""
    """Path in the guest of a program that init starts instead; it executes the application."""
    ports: tuple[PortForward, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    disks: tuple[Disk, ...] = ()
    memory: int = 256 << 20
    cpus: int = 1
    kernel_options: Mapping[str, str] = field(default_factory=dict)
    kernel_version: str = ""
    """The kernel's patch series, such as 7.3; empty: of what the distribution has."""
    profile: str = ""
    """A profile in kernel/config, such as `debug`; empty: none."""
    imports: tuple[str, ...] = ()
    """C prototypes of the kernel functions that it calls."""
    kernel_sources: tuple[Path, ...] = ()
    """C files with functions of the application that are kernel code."""
    with_: tuple[AppSpec, ...] = ()
    """Further applications that are linked into the same kernel."""
    counting: bool = False
    """Whether its code counts the executions of each branch (pgo/)."""
    pgo: Path | None = None
    """A file of such counts, with which it and the kernel are compiled."""

    @property
    def rewriting(self) -> Level | None:
        """The level of the calls that replace `syscall` instructions; None: not replaced."""
        return self.level if self.rewrite_syscalls else None


@dataclass(frozen=True, slots=True)
class SyscallCounts:
    """Numbers of `syscall` instructions, by how each was replaced, or kept.

    `direct` of the replaced ones call the fast entry of their system call.
    """

    in_place: int
    stub: int
    kept: int
    direct: int = 0


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """Facts about a partially linked application, read from its ELF file.

    They are the sizes of the merged `.ukl.*` sections, the symbols that stay undefined, and
    what became of its `syscall` instructions (None: they were not changed).
    """

    text_size: int
    rodata_size: int
    data_size: int
    bss_size: int
    tls_size: int
    tls_align: int
    imports: tuple[str, ...]
    weak_undefined: tuple[str, ...]
    ifuncs: int
    syscalls: SyscallCounts | None = None
    functions: tuple[str, ...] = ()
    """The kernel functions that it calls."""


@dataclass(frozen=True, slots=True)
class AppObject:
    """A partially linked application: one relocatable object and its facts.

    `path` is the `.o` that CONFIG_UKL_APP names; `user` is the normal static executable made
    from the same object. `variables` are the kernel variables that it reads because kernel
    functions are compiled into it. `side` is the object with its own kernel code, for one kernel.
    """

    name: str
    path: Path
    user: Path
    facts: ObjectFacts
    key: str
    variables: tuple[str, ...] = ()
    side: Path | None = None


@dataclass(frozen=True, slots=True)
class KernelSource:
    """An unpacked, unpatched kernel tree and where it came from.

    `key` names its content if it is in the cache; a user's tree has no key.
    """

    directory: Path
    version: str
    origin: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """The kernel to build: source, patch series, configuration.

    `patched` False leaves the source unpatched: neither the series nor its options are applied,
    the rest of the configuration is.
    """

    source: KernelSource
    series: Path
    fragments: tuple[Path, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    compiler: str = "gcc"
    patched: bool = True
    pgo: Path | None = None
    """Directory with branch counts for the compiler, in files named like the objects."""


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """Compiled kernel objects in the cache, ready for the final link.

    `data_limit` is the number of bytes available for the application's data with this kernel,
    from its link base to the end of .bss.
    """

    key: str
    source: Path
    directory: Path
    version: str
    data_limit: int


@dataclass(frozen=True, slots=True)
class LinkedApp:
    """A further application in an image: its marker file and its normal executable."""

    name: str
    marker: Path
    user: Path


@dataclass(frozen=True, slots=True)
class Image:
    """A bootable kernel, with or without applications.

    `marker` is the small file whose execve() starts the application `name`; it contains the
    kernel's build id. It is None if no application is linked in. `relocatable` says whether the
    decompressor may move the kernel to another address.
    """

    name: str
    directory: Path
    vmlinux: Path
    bzimage: Path
    system_map: Path
    marker: Path | None
    build_id: bytes
    key: str
    others: tuple[LinkedApp, ...] = ()
    relocatable: bool = True


class Accelerator(StrEnum):
    """How QEMU runs guest code; KVM is used only if a tiny guest booted with it."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class HostCaps:
    """The capabilities of the host, found by trying."""

    accelerator: Accelerator
    qemu: str | None
    qemu_version: tuple[int, ...] | None
    cpus: int
    notes: tuple[str, ...] = ()


class NetworkKind(StrEnum):
    """What a guest's second interface is connected to."""

    NONE = "none"
    SHARED = "network"
    TAP = "tap"
    BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class Network:
    """A guest's second interface: a network of guests, a tap device or a bridge, by its name.

    `address` is like `10.77.0.5/24`, or `dhcp`; if empty, a free one is chosen. `mac` is the
    interface's, `cache` the directory whose guests share a network of this name. `descriptor` is
    an open tap device, if the caller has one.
    """

    kind: NetworkKind
    name: str = ""
    address: str = ""
    mac: str = ""
    cache: Path = Path()
    descriptor: int | None = None


NO_NETWORK = Network(NetworkKind.NONE)

DHCP = "dhcp"
"""The address of a guest that requests one from its network."""

AUTOMATIC = ""
"""The address of a guest that gets one when it is registered."""

SUBNET = "10.77.0.0/24"
"""Default addresses of a network of guests. Networks share no frames, so all may use it."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace by QEMU's emulator, which logs each block of code once, when it translates it.

    It logs code in `ranges` of addresses (first, last) into `file`.
    """

    file: Path
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Counting:
    """A plugin of QEMU's emulator that writes its counts into `file` (bench/counting.py)."""

    plugin: Path
    file: Path


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine to start: everything that QEMU's argument vector depends on.

    `stop_on_crash` stops it at a kernel panic or reset, so that its memory can be examined.
    `paused` delays its start until a command of QEMU's monitor. `trace` needs emulation.
    `firmware` replaces QEMU's own firmware.
    """

    kernel: Path
    initrd: Path
    cmdline: str
    memory: int
    cpus: int
    accelerator: Accelerator
    ports: tuple[PortForward, ...] = ()
    volumes: tuple[Volume, ...] = ()
    disks: tuple[Disk, ...] = ()
    network: Network = NO_NETWORK
    icount: bool = False
    interactive: bool = False
    stop_on_crash: bool = False
    paused: bool = False
    trace: Trace | Counting | None = None
    firmware: Path | None = None


class Restart(StrEnum):
    """When a guest in the background is restarted."""

    NO = "no"
    ON_FAILURE = "on-failure"
    """If its program failed, or the guest was lost."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Limits of a guest's console log: N files, including the current one, of `size` bytes."""

    size: int = 16 << 20
    files: int = 3


LOG_FILES_MAX = 100

LOG_LIMITS = LogLimits()
"""The default."""


@dataclass(frozen=True, slots=True)
class Guest:
    """How a guest runs, apart from its application.

    `init` is process 1: ukl's init (`ukl`), or the program itself (`app`). `shell` starts a shell
    on the console, `companion` another program next to the application. With `start` False the
    application is not started. `uid` and `gid` are the application's. `timeout` is in seconds.
    `append` is added to the kernel's command line. With `icount` the guest's clock counts
    instructions. `verbose` shows the kernel's messages. `network` is the second interface, `log`
    limits the console log (None: unlimited).
    """

    mode: Mode = Mode.UNIKERNEL
    init: Literal["ukl", "app"] = "ukl"
    shell: bool = False
    companion: tuple[str, ...] = ()
    start: bool = True
    uid: int = 0
    gid: int = 0
    timeout: float | None = None
    append: tuple[str, ...] = ()
    icount: bool = False
    verbose: bool = False
    network: Network = NO_NETWORK
    log: LogLimits | None = None

    @property
    def is_process(self) -> bool:
        """Whether the program runs as a normal process."""
        return self.mode is Mode.PROCESS


class Outcome(StrEnum):
    """How a run ended, according to the status channel alone."""

    EXITED = "exited"
    SIGNALED = "signaled"
    PANICKED = "panicked"
    TIMEOUT = "timeout"
    LOST = "lost"
    STOPPED = "stopped"
    FAILED = "failed"
    """The guest's init failed, usually to execute the program."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run. `status` is the exit status, or the signal's number.

    `started` is the guest's clock, in seconds, when the program was started.
    """

    outcome: Outcome
    status: int | None
    console: Path
    seconds: float
    detail: str = ""
    started: float | None = None
