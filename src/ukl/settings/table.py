# SPDX-License-Identifier: GPL-2.0
"""The table of settings: one row for each setting of a guest.

A row defines the key of `ukl.toml` and `compose.toml`, its schema and remedy, the option of each
verb that takes it, with help, completion and man page, and a line of the documentation's tables.
`AppSpec` has a field of the same name; a test compares both. To add a setting, write a row here
and a field in `AppSpec`, and use the field.

Imports must be fast, because shells load this module to complete a word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ukl.base.model import (
    AppSpec,
    Code,
    Level,
    Returns,
    Tune,
)
from ukl.settings import values
from ukl.settings.runs import GUEST
from ukl.settings.setting import (
    EVERY,
    KERNELS,
    MAKES,
    TEXT_OR_NUMBER,
    Form,
    Option,
    Setting,
    Verb,
    concatenated,
    text,
    updated,
)
from ukl.settings.volumes import merged, parse_disk, parse_volume, write_disk, write_volume

APPLICATION: tuple[Setting, ...] = (
    Setting(
        "name",
        "app.name",
        Form.TEXT,
        "Name of the application.",
        '"tcp-echo"',
        more="letters, digits, `.`, `_`, `-`; at most 31",
        parse=text(values.parse_name),
        default="the directory's name",
    ),
    Setting(
        "sources",
        "app.sources",
        Form.LIST,
        "C, C++ or assembly files.",
        '["main.c"]',
        parse=values.host_file,
        merge=concatenated,
        default="none; `objects` can replace them",
    ),
    Setting(
        "program",
        "app.program",
        Form.TEXT,
        "An executable that ukl-cc linked, instead of `sources`.",
        '"./server"',
        parse=values.host_file,
    ),
    Setting(
        "args",
        "app.args",
        Form.LIST,
        "Arguments of the program, without its name.",
        '["-p", "5555"]',
        option=Option(
            (),
            frozenset({Verb.RUN, Verb.PACKAGE, Verb.TRIM}),
            "[-- ARGS]...",
            "Arguments of the program, instead of the manifest's.",
        ),
        compose=True,
    ),
    Setting(
        "env",
        "app.env",
        Form.TABLE,
        "Environment variables of the program.",
        '{ KEY = "value" }',
        names=text(values.parse_variable),
        merge=updated,
        option=Option(
            ("--env", "-e"),
            MAKES,
            "KEY=VALUE",
            "Set an environment variable (repeatable).",
            values.parse_env,
        ),
        compose=True,
    ),
    Setting(
        "workdir",
        "app.workdir",
        Form.TEXT,
        "Working directory of the program.",
        '"/srv"',
        more="an absolute path in the guest. It is made if it is missing, but not in a "
        "container image",
        parse=text(values.parse_guest_path),
        option=Option(("--workdir",), MAKES, "PATH"),
        compose=True,
        default="`/`, or that of the container image",
    ),
    Setting(
        "entrypoint",
        "app.entrypoint",
        Form.TEXT,
        "Program in the guest that makes preparations and then executes the application.",
        '"/bin/start"',
        more="an absolute path. It runs as root in normal userspace instead of the application. "
        "Its arguments are the application's path and `args`; it must execute the application",
        parse=text(values.parse_guest_path),
    ),
    Setting(
        "cflags",
        "compile.cflags",
        Form.LIST,
        "Compiler options, after those of `ukl`.",
        '["-O2", "-DNDEBUG"]',
        merge=concatenated,
    ),
    Setting(
        "libraries",
        "link.libraries",
        Form.LIST,
        "Libraries to link with.",
        '["m", "event"]',
        more='`"m"` is `-lm`; ukl links static archives',
        parse=text(values.parse_library),
        merge=concatenated,
    ),
    Setting(
        "objects",
        "link.objects",
        Form.LIST,
        "Object files and archives to link with.",
        '["util.o", "libextra.a"]',
        parse=values.host_file,
        merge=concatenated,
    ),
    Setting(
        "rewrite_syscalls",
        "link.rewrite_syscalls",
        Form.FLAG,
        "Replace `syscall` instructions by calls, where possible.",
        "false",
    ),
    Setting(
        "level",
        "link.level",
        Form.CHOICE,
        "How the application calls the kernel.",
        '"base"',
        more='`"fast"`: without the work on entry and exit for tracers, filters, signals and the '
        'scheduler, unless one of them needs it; `"base"`: with all of it '
        "([fast calls](kernel-abi.md#fast-calls))",
        choices=Level,
        option=Option(("--level",), MAKES),
        compose=True,
    ),
    Setting(
        "lto",
        "link.lto",
        Form.FLAG,
        "Compile imported kernel functions into the application (clang).",
        "true",
        more="where possible ([how](../howto/kernel-functions.md#compile-them-into-the-program))",
        option=Option(("--lto",), MAKES),
        compose=True,
    ),
    Setting(
        "ports",
        "run.ports",
        Form.LIST,
        "Host ports that are forwarded to the guest.",
        '["5555:5555"]',
        more='`"HOST:GUEST"` or `"ADDRESS:HOST:GUEST"`, for UDP followed by `/udp`; the default '
        "address is 127.0.0.1",
        parse=text(values.parse_port),
        accepts=TEXT_OR_NUMBER,
        write=values.write_port,
        option=Option(
            ("--publish", "-p"),
            frozenset({Verb.RUN}),
            "[ADDR:]HOST:GUEST[/udp]",
            "Forward a port (repeatable; replaces the manifest's ports).",
        ),
        compose=True,
    ),
    Setting(
        "volumes",
        "run.volumes",
        Form.LIST,
        "Host directories that the guest mounts.",
        '["data:/data", "conf:/etc/app:ro"]',
        more='`"DIR:/path"`, with `:ro` for read-only or `:shared` for several guests '
        "([more](volumes.md))",
        parse=parse_volume,
        write=write_volume,
        merge=merged,
        option=Option(
            ("--volume", "-v"),
            frozenset({Verb.RUN}),
            "DIR:/PATH[:ro|:shared]",
            "Mount a host directory in the guest (repeatable).",
        ),
        compose=True,
    ),
    Setting(
        "disks",
        "run.disks",
        Form.LIST,
        "ext4 disk images that the guest mounts.",
        '["data.img:/data,size=1G"]',
        more='`"FILE[:/path][,size=1G]"`; the default path is `/data`; a missing file is created',
        parse=parse_disk,
        write=write_disk,
        merge=merged,
        option=Option(
            ("--disk",),
            frozenset({Verb.RUN}),
            "FILE[:/PATH][,size=SIZE]",
            "Mount an ext4 disk image; create it if missing (repeatable; default path: /data).",
        ),
        compose=True,
    ),
    Setting(
        "memory",
        "run.memory",
        Form.TEXT,
        "Memory of the guest.",
        '"256M"',
        more="at least 64M; 11M with the profile `tiny`",
        parse=text(values.parse_memory),
        accepts=TEXT_OR_NUMBER,
        write=values.write_size,
        option=Option(("--memory", "-m"), EVERY, "SIZE", "Memory of the guest, like 256M."),
        compose=True,
    ),
    Setting(
        "cpus",
        "run.cpus",
        Form.NUMBER,
        "Processors of the guest.",
        "2",
        bounds=(1, values.CPUS_MAX),
        option=Option(("--cpus",), EVERY, "N", old=("--smp",)),
        compose=True,
    ),
    Setting(
        "returns",
        "run.returns",
        Form.CHOICE,
        "How interrupts and exceptions return to the application.",
        '"iret"',
        more='`"ret"`: by POPF and RET, which use 16 bytes below the red zone; `"iret"`: by IRET '
        "([more](kernel-abi.md#returns))",
        choices=Returns,
        option=Option(("--returns",), MAKES),
        compose=True,
    ),
    Setting(
        "code",
        "run.code",
        Form.CHOICE,
        "What the application may execute beyond its own text.",
        '"none"',
        more='`"files"`: shared objects and other files that root alone can write; `"jit"`: also '
        'memory that it has written; `"wx"`: also while that is writable. A program that runs '
        "as it is has at least `files`",
        choices=Code,
        option=Option(("--code",), MAKES),
        compose=True,
    ),
    Setting(
        "page_size",
        "run.page_size",
        Form.TEXT,
        "Use pages of this size for anonymous memory, where they fit.",
        '"64K"',
        more='`"16K"` to `"512K"`, `"1M"`, `"2M"`; for all programs in the guest. There are fewer '
        "page faults on first access, and more memory is in use",
        parse=text(values.parse_page_size),
        write=values.write_size,
        option=Option(
            ("--page-size",),
            EVERY,
            "SIZE",
            "Use pages of this size for anonymous memory, where they fit, like 64K.",
        ),
        compose=True,
        default="4 KiB, and 2 MiB where a program requests it (madvise; not with "
        "the profile `tiny`)",
    ),
    Setting(
        "tune",
        "run.tune",
        Form.CHOICE,
        "What the guest is tuned for.",
        '"server"',
        more='`"server"`: [fewer exits](bench.md#tune) of the virtual machine, for a program that '
        "waits for events and sends small packets",
        choices=Tune,
        option=Option(("--tune",), EVERY),
        compose=True,
    ),
    Setting(
        "timezone",
        "run.timezone",
        Form.TEXT,
        "Time zone of the guest.",
        '"Europe/Berlin"',
        more='a name of the time zone database, or `"host"`. It is `/etc/localtime` in the guest. '
        "The zone that the variable `TZ` names is in the guest as well, and others are not",
        parse=text(values.parse_timezone),
        option=Option(
            ("--timezone",),
            MAKES,
            "ZONE|host",
            "Time zone of the guest, like Europe/Berlin, or this machine's.",
        ),
        compose=True,
        default="UTC",
    ),
    Setting(
        "sysctl",
        "run.sysctl",
        Form.TABLE,
        "Parameters of the guest's kernel, as those of sysctl(8).",
        '{ "vm.overcommit_memory" = 1 }',
        names=text(values.parse_sysctl_name),
        parse=lambda value, directory: values.parse_sysctl_value(value),
        accepts=(str, int),
        more="They are set before the first process starts; an unknown name is a message of the "
        "kernel (`ukl --verbose run`)",
        merge=updated,
        option=Option(
            ("--sysctl",),
            MAKES,
            "NAME=VALUE",
            "Set a parameter of the guest's kernel (repeatable).",
            values.parse_sysctl,
        ),
        compose=True,
    ),
    Setting(
        "populate",
        "run.populate",
        Form.FLAG,
        "Populate memory when it is mapped, and lock it.",
        "true",
        more="First of all the program, as a unikernel or a normal process, calls "
        "`mlockall(MCL_CURRENT | MCL_FUTURE)`. Its memory, including threads' stacks, is not "
        "swapped, and the first access to a page does not fault, unless the main stack grows. "
        "`madvise(MADV_DONTNEED)` fails with EINVAL, and the program cannot map more than the "
        "available memory: a reservation of more than twice the guest's memory fails with ENOMEM, "
        "also with MAP_NORESERVE. It needs CAP_IPC_LOCK or a sufficient RLIMIT_MEMLOCK; otherwise "
        "it writes a line to stderr and exits with status 126. Children of `fork()` have no locked "
        "memory",
        option=Option(("--populate",), EVERY),
        compose=True,
    ),
    Setting(
        "userspace",
        "run.userspace",
        Form.FLAG,
        "Include busybox and the program's normal executable in the guest.",
        "false",
        more="`false`: busybox and `/user/NAME` are absent and take no memory; `ukl exec` and "
        "`ukl shell` find no programs. Options that need them (`--shell`, `--mode process`, "
        "`dhcp`) include them",
        option=Option(("--userspace",), EVERY),
        compose=True,
        default="`true`; `false` with the profile `tiny`",
    ),
    Setting(
        "files",
        "run.files",
        Form.TABLE,
        "Host files and directories that are copied into the guest.",
        '{ "/etc/app.conf" = "app.conf" }',
        more="absolute path in the guest = file or directory on the host",
        names=text(values.parse_guest_path),
        parse=values.host_path,
        merge=updated,
        option=Option(
            ("--with-file",),
            MAKES,
            "[GUEST=]PATH",
            "Copy a file or directory into the guest (repeatable).",
            values.parse_file,
        ),
    ),
    Setting(
        "with_",
        "kernel.with",
        Form.LIST,
        "Further applications in the same kernel.",
        '["../other", "hello"]',
        more="examples, directories or files, as for TARGET; executing `/ukl/NAME` starts one",
        merge=concatenated,
        option=Option(
            ("--with",),
            MAKES,
            "TARGET",
            "Link a further application into the same kernel (repeatable).",
            complete="targets",
        ),
        compose=True,
    ),
    Setting(
        "kernel_version",
        "kernel.version",
        Form.TEXT,
        "The kernel, by the name of its patch series: `6.12` or `7.3`.",
        '"7.3"',
        more="its source is fetched from the suite of Debian that has it "
        "([how](../howto/choose-kernel.md))",
        parse=text(values.parse_series),
        option=Option(
            ("--kernel",),
            KERNELS,
            "SERIES",
            "The kernel, by the name of its patch series, such as 7.3.",
            complete="series",
        ),
        compose=True,
        default="what the distribution has",
    ),
    Setting(
        "profile",
        "kernel.profile",
        Form.TEXT,
        "Kernel profile: `debug`, `dwarf` (debug information), `tiny` (small), `trusted` "
        "(unprotected).",
        '"debug"',
        option=Option(("--profile",), KERNELS, "NAME", complete="profiles"),
        compose=True,
        default="none",
    ),
    Setting(
        "pgo",
        "kernel.pgo",
        Form.TEXT,
        "Optimize kernel and application with the branch counts of a training run.",
        '"app.pgo"',
        more="a file that `ukl build --pgo` wrote ([how](../howto/pgo.md))",
        parse=values.host_path,
        option=Option(
            ("--pgo",),
            KERNELS,
            "FILE",
            "Optimize kernel and application with the branch counts of a training run; `ukl build` "
            "creates a missing file.",
            values.parse_path,
        ),
        compose=True,
    ),
    Setting(
        "imports",
        "kernel.imports",
        Form.LIST,
        "C prototypes of the kernel functions that the sources call.",
        '["unsigned long ktime_get_ns(void)"]',
        more="`ukl-imports.h` declares them as `kernel_NAME` "
        "([more](../howto/kernel-functions.md))",
        parse=text(values.parse_prototype),
    ),
    Setting(
        "kernel_sources",
        "kernel.sources",
        Form.LIST,
        "C files with functions of the application that are kernel code.",
        '["fastpath.c"]',
        more="`fastpath.h` declares to `sources` of [app] what they export "
        "([how](../howto/kernel-side.md))",
        parse=values.host_file,
        merge=concatenated,
    ),
    Setting(
        "kernel_options",
        "kernel.options",
        Form.TABLE,
        "Options of the kernel's configuration.",
        '{ TMPFS = "y" }',
        more='`"y"`, `"m"`, `"n"`, a number or a string; `true` is `"y"`, `false` is `"n"`; '
        "`CONFIG_` is optional",
        names=text(values.parse_option_name),
        parse=lambda value, directory: values.parse_option_value(value),
        accepts=(str, int, bool),
        merge=updated,
        option=Option(
            ("--set",),
            KERNELS,
            "CONFIG_X=VALUE",
            "Set a kernel option (repeatable).",
            values.parse_option,
        ),
    ),
)
"""The keys of `ukl.toml` about an application and its guest; the fields of AppSpec."""

ROWS = {row.name: row for row in (*APPLICATION, *GUEST)}

Overrides = Mapping[str, Any]
"""Settings of a command line or a compose file: name of a row -> value. Others are unset."""

TABLES: Mapping[str, str] = {
    "app": "The program, and how it is started.",
    "compile": "How `sources` are compiled.",
    "link": "What is linked with them.",
    "run": "The virtual machine.",
    "kernel": "The kernel that the program is linked into.",
}
"""The tables of `ukl.toml` that consist of rows."""

OLD_KEYS: Mapping[str, str] = {"kernel.applications": "kernel.with"}
"""Renamed keys of `ukl.toml`: old -> new. Old keys still work, with a notice."""

OLD_SERVICE_KEYS: Mapping[str, str] = {"applications": "with"}
"""The same for a service of `compose.toml`."""


def overridden(spec: AppSpec, overrides: Overrides) -> AppSpec:
    """Return the specification with overrides applied. Pure."""
    changes = {
        name: ROWS[name].merge(getattr(spec, name), value)
        for name, value in overrides.items()
        if hasattr(spec, name)
    }
    if "pgo" in overrides:  # one file has the counts of all applications in a kernel
        applications = changes.get("with_", spec.with_)
        changes["with_"] = tuple(replace(each, pgo=overrides["pgo"]) for each in applications)
    return replace(spec, **changes)


def toml(settings: Overrides) -> str:
    """Return settings as the text of a ukl.toml, which has paths of this machine as they are."""
    found: dict[str, list[str]] = {name: [] for name in TABLES}
    for row in APPLICATION:
        value = settings.get(row.name)
        if isinstance(value, Mapping) and value:
            found[row.key] = [f"{_quoted(key)} = {_quoted(str(value[key]))}" for key in value]
        elif value:
            found[row.key.partition(".")[0]].append(f"{row.word} = {_toml(row, value)}")
    return "\n".join(
        f"[{name}]\n" + "".join(f"{line}\n" for line in lines)
        for name, lines in sorted(found.items())
        if lines
    )


def _toml(row: Setting, value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_quoted(row.write(each)) for each in value)}]"
    if row.form in {Form.FLAG, Form.NUMBER}:
        return str(value).lower()
    return _quoted(row.write(value))


def _quoted(text: str) -> str:
    """Return a TOML string, whose escapes are those of JSON, and one more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
