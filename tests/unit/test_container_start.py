# SPDX-License-Identifier: GPL-2.0
"""What an image says about its program, and what is started of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from typing import Any

import pytest

from tests.containers import Member, elf, file, merged, program, symlink
from ukl.base.errors import InputError
from ukl.base.model import PortForward, Protocol
from ukl.base.root import Start
from ukl.container import config as configs
from ukl.container import users
from ukl.container.config import Config
from ukl.container.starting import PATH, Root, Wanted, start

LOADER = "/lib64/ld-linux-x86-64.so.2"
FILES = (
    program("lib64/ld-linux-x86-64.so.2"),
    program("usr/bin/dash", LOADER),
    symlink("bin", "usr/bin"),
    symlink("usr/bin/sh", "dash"),
    program("usr/bin/env", LOADER),
    program("usr/sbin/server"),
    file("entry.sh", '#!/bin/sh -e x\nexec "$@"\n', 0o755),
    file("plain", "x"),
)
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\nodd\n"
GROUP = "root:x:0:\nweb:x:34:\nssl:x:101:other,web\nadm:x:4:web\n"


def image(*more: Member, **config: Any) -> Root:
    texts = {users.PASSWD: PASSWD, users.GROUP: GROUP}
    return Root("oci:img", merged(FILES, more), Config(**config), texts)


def started(root: Root, *args: str, **more: Any) -> Start:
    return start(root, Wanted(args, **more))


# --- the configuration --------------------------------------------------------------------


def parse(config: Any = None, **more: Any) -> Config:
    data = {"os": "linux", "architecture": "amd64", "config": config, **more}
    return configs.parse(json.loads(json.dumps(data)), "img")


def test_everything_of_a_configuration() -> None:
    found = parse(
        {
            "Entrypoint": ["/entry.sh"],
            "Cmd": ["server", "-x"],
            "Env": ["A=1", "B=x=y", "EMPTY="],
            "WorkingDir": "/srv",
            "User": "web:ssl",
            "ExposedPorts": {"6379/tcp": {}, "80": {}, "53/udp": {}, "9000-9001/tcp": {}},
            "Volumes": {"/data": {}, "/a": {}},
            "StopSignal": "SIGQUIT",
        },
        rootfs={"diff_ids": ["sha256:1"]},
    )
    assert found == Config(
        entrypoint=("/entry.sh",),
        command=("server", "-x"),
        env={"A": "1", "B": "x=y", "EMPTY": ""},
        directory="/srv",
        user="web:ssl",
        ports=(
            PortForward(8053, 53, protocol=Protocol.UDP),
            PortForward(6379, 6379),
            PortForward(8080, 80),
            PortForward(9000, 9000),
            PortForward(9001, 9001),
        ),
        volumes=("/a", "/data"),
        stop_signal=signal.SIGQUIT,
        diff_ids=("sha256:1",),
    )


def test_an_empty_configuration() -> None:
    assert parse(None) == Config()
    assert parse({"Cmd": None, "Env": None, "ExposedPorts": None, "WorkingDir": ""}) == Config()


@pytest.mark.parametrize(
    "config",
    [
        {"Entrypoint": "/bin/sh"},
        {"Cmd": [1]},
        {"Env": ["=x"]},
        {"WorkingDir": "relative"},
        {"WorkingDir": "/a/../.."},
        {"User": 7},
        {"ExposedPorts": {"http": {}}},
        {"ExposedPorts": {"0": {}}},
        {"ExposedPorts": {"9-8": {}}},
        {"ExposedPorts": {"70000": {}}},
        {"ExposedPorts": 3},
        {"StopSignal": "SIGNOTHING"},
        {"Volumes": {"data": {}}},
        [1],
        "x",
    ],
    ids=str,
)
def test_a_malformed_configuration(config: Any) -> None:
    with pytest.raises(InputError, match="malformed") as caught:
        parse(config)
    assert caught.value.where == "img"


@pytest.mark.parametrize(
    ("architecture", "system", "said"),
    [("arm64", "linux", "linux on arm64"), ("amd64", "windows", "windows on amd64"), ("", "", "")],
)
def test_another_architecture(architecture: str, system: str, said: str) -> None:
    with pytest.raises(InputError, match=f"an image for {said}"):
        parse(architecture=architecture, os=system)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("INT", 2),
        ("3", 3),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMIN", signal.SIGRTMIN),
    ],
)
def test_stop_signals(text: str, number: int) -> None:
    assert configs.parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "99", "SIGINT+1", "SIGRTMIN+x", "SIGRTMIN+99", "term"])
def test_no_stop_signals(text: str) -> None:
    with pytest.raises(ValueError, match=r"signal|invalid literal"):
        configs.parse_signal(text)


# --- users ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", users.User(0, 0, (), "/root")),
        ("web", users.User(33, 34, (4, 101), "/var/www")),
        ("33", users.User(33, 34, (4, 101), "/var/www")),
        ("1234", users.User(1234, 0, (), "/")),
        ("web:ssl", users.User(33, 101, (), "/var/www")),
        ("1234:5678", users.User(1234, 5678, (), "/")),
    ],
)
def test_users(text: str, user: users.User) -> None:
    assert users.find(text, PASSWD, GROUP, "img") == user


@pytest.mark.parametrize("text", ["nobody", "web:none", "-1", "99999999999", "²"])
def test_unknown_users(text: str) -> None:
    with pytest.raises(InputError, match="the image has no"):
        users.find(text, PASSWD, GROUP, "img")


# --- what is started --------------------------------------------------------------------------


def test_a_program() -> None:
    found = started(
        image(
            entrypoint=("server",),
            command=("-a", "b"),
            env={"A": "1"},
            directory="/srv",
            user="web",
            stop_signal=3,
        ),
        env={"B": "2"},
    )
    assert found == Start(
        path="/usr/sbin/server",
        argv=("server", "-a", "b"),
        env={"PATH": PATH, "HOME": "/var/www", "A": "1", "B": "2"},
        directory="/srv",
        uid=33,
        gid=34,
        groups=(4, 101),
        stop_signal=3,
        program="/usr/sbin/server",
    )


def test_arguments_replace_the_command_alone() -> None:
    assert started(image(entrypoint=("server",), command=("a",)), "b").argv == ("server", "b")
    assert started(image(command=("none",)), "/usr/bin/env").path == "/usr/bin/env"


def test_the_environment_says_where_programs_are() -> None:
    found = started(image(command=("server",), env={"PATH": "/none:/usr/sbin", "HOME": "/h"}))
    assert found.env == {"PATH": "/none:/usr/sbin", "HOME": "/h"}
    assert started(image(command=("sbin/server",), directory="/usr")).path == "/usr/sbin/server"


def test_a_script_has_its_interpreter_in_ring_0() -> None:
    found = started(image(entrypoint=("/entry.sh",), command=("server",)))
    assert found.path == "/entry.sh"
    assert found.argv == ("/entry.sh", "server")
    assert found.program == "/bin/sh"
    assert found.interpreter == ("/bin/sh", "-e x", "/entry.sh")


def test_an_interpreter_that_is_a_script() -> None:
    root = image(file("outer", "#!/entry.sh  -o\n", 0o755), command=("/outer", "a"))
    assert started(root).interpreter == ("/bin/sh", "-e x", "/entry.sh", "-o", "/outer")
    loop = image(file("loop", "#!/loop\n", 0o755), command=("/loop",))
    with pytest.raises(InputError, match="too many interpreters"):
        started(loop)


def test_as_a_normal_process_nothing_is_in_ring_0() -> None:
    root = image(program("mine", uid=1000), command=("/mine",))
    found = started(root, process=True)
    assert (found.path, found.program, found.interpreter) == ("/mine", "", ())


def test_another_program_in_ring_0() -> None:
    found = started(image(command=("/entry.sh", "server")), ring0="/bin/env")
    assert (found.path, found.interpreter) == ("/entry.sh", ())
    assert (found.program, found.aside) == ("/usr/bin/env", "/usr/bin/.env.ring0")


def wrong(more: Iterable[Member], said: str, *args: str, **given: Any) -> InputError:
    with pytest.raises(InputError, match=said) as caught:
        started(image(*more, **given), *args)
    assert caught.value.remedy
    assert str(caught.value.where).startswith("oci:img")
    return caught.value


def test_what_cannot_be_started() -> None:
    wrong([], "neither an entry point nor a command")
    wrong([], "neither an entry point nor a command", entrypoint=("",))
    wrong([], "no such program in the root file system: none", "none")
    wrong([], "no such program in the root file system: /none", "/none")
    wrong([], "this file is not executable", "/plain")
    wrong([], "this file is not executable", "/usr")
    wrong([file("text", "echo\n", 0o755)], "neither an ELF program nor a script", "/text")
    wrong([file("s", "#!/bin/none\n", 0o755)], "its interpreter /bin/none is not in the root", "/s")
    wrong([program("p", "/lib/ld-musl-x86_64.so.1")], "interpreter /lib/ld-musl-x86_64", "/p")
    wrong([file("p", elf(machine=183), 0o755)], r"another architecture \(aarch64\)", "/p")
    wrong([], "the image has no user none", "server", user="none")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"mode": 0o4755}, "a set-user-ID or set-group-ID program cannot run in ring 0"),
        ({"mode": 0o2755}, "a set-user-ID or set-group-ID program cannot run in ring 0"),
        ({"mode": 0o775}, "must not be writable by group or others"),
        ({"uid": 1000}, "must be owned by root; this one is by user 1000"),
    ],
    ids=str,
)
def test_whom_the_kernel_would_refuse(more: dict[str, Any], said: str) -> None:
    assert "--mode process" in str(wrong([program("p", **more)], said, "/p").remedy)
    with pytest.raises(InputError, match=said):
        started(image(program("p", **more)), "server", ring0="/p")


def test_whom_ring0_cannot_name() -> None:
    for path, said in (
        ("/none", "no such program in the root"),
        ("/plain", "no such program in the root"),
        ("/entry.sh", "a script cannot run in ring 0, but its interpreter can"),
    ):
        with pytest.raises(InputError, match=said):
            started(image(), "server", ring0=path)
