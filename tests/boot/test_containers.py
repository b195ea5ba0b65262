# SPDX-License-Identifier: GPL-2.0
"""Container images: what the image says is so in the guest, and who of it is in ring 0."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.boot.harness import Built, Lab, Ran, mode_of
from tests.conftest import OPTIONAL
from tests.containers import Member, directory, file, hard, layout, symlink, whiteout
from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Code, Guest, Outcome, Volume
from ukl.base.root import RootKind, RootSource
from ukl.flow.bootable import bootable
from ukl.vm.launch import Options

pytestmark = pytest.mark.skipif(
    shutil.which("sqfstar") is None, reason=f"{OPTIONAL} no squashfs-tools on this machine"
)

SHELL = Path("/bin/busybox")
APPLETS = ("cat", "id", "kill", "ls", "mount", "pwd", "sh", "sleep", "stat", "su", "env", "touch")

SOURCE = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	unsigned long cs;
	char exe[256] = "";

	asm volatile("mov %%cs, %0" : "=r" (cs));
	readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	printf("%s at CPL %lu uid %d exe %s\n", argv[0], cs & 3, getuid(), exe);
	for (int i = 1; i < argc; i++)
		printf("argument %s\n", argv[i]);
#ifdef LIBRARY
	printf("library %s\n", dlopen(LIBRARY, RTLD_NOW) ? "loaded" : dlerror());
#endif
	return getenv("STATUS") ? atoi(getenv("STATUS")) : 0;
}
"""

SCRIPT = """\
#!/bin/sh -e
level in-script
exec "$@"
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the program, static and dynamic."""
    made = tmp_path_factory.mktemp("containers")
    (made / "level.c").write_text(SOURCE)
    for name, words in (("level", ("-static",)), ("dynamic", ('-DLIBRARY="libm.so.6"',))):
        argv = ["gcc", "-O2", "-w", *words, str(made / "level.c"), "-o", str(made / name)]
        subprocess.run(argv, check=True)
    return made


def base(programs: Path) -> list[Member]:
    """A small user space."""
    return [
        directory("etc"),
        file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n"),
        file("etc/group", "root:x:0:\nweb:x:34:\nssl:x:101:web\n"),
        file("bin/busybox", SHELL.read_bytes(), 0o755),
        *(symlink(f"bin/{applet}", "busybox") for applet in APPLETS),
        file("usr/bin/level", (programs / "level").read_bytes(), 0o755),
        file("start.sh", SCRIPT, 0o755),
        directory("home/web", 0o700, uid=33, gid=34),
        directory("tmp", 0o1777),
    ]


class Images:
    """Makes images and boots them."""

    def __init__(self, lab: Lab, programs: Path, top: Path) -> None:
        self.lab = lab
        self.base = base(programs)
        self.top = top
        self.count = 0

    def built(self, *upper: Member, user: bool = False, **config: Any) -> Built:
        settings = {key: config.pop(key) for key in ("args", "ring0", "code") if key in config}
        self.count += 1
        path = layout(self.top / str(self.count), self.base, upper, **config)
        source = RootSource(RootKind.OCI, str(path))
        spec = AppSpec("image", path, self.top, root=source, **settings)
        made = bootable(spec, self.lab.context, Guest(mode=mode_of(user)))
        return Built(made.spec, made.image, made.initrd)

    def run(self, *upper: Member, user: bool = False, **config: Any) -> Ran:
        built = self.built(*upper, user=user, **config)
        return self.lab.run(built, options=Options(Guest(mode=mode_of(user))))


@pytest.fixture
def images(lab: Lab, programs: Path, tmp_path: Path) -> Images:
    return Images(lab, programs, tmp_path)


@pytest.mark.parametrize("user", [False, True])
def test_a_program(images: Images, user: bool) -> None:
    ran = images.run(user=user, Entrypoint=["level", "a"], Cmd=["b c"], Env=["STATUS=7"])
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 7), ran.text
    assert ran.lines[-3:] == [
        f"level at CPL {3 * user} uid 0 exe /usr/bin/level",
        "argument a",
        "argument b c",
    ]


@pytest.mark.parametrize("user", [False, True])
def test_a_script_and_all_that_it_executes(images: Images, user: bool) -> None:
    ran = images.run(user=user, Entrypoint=["/start.sh"], Cmd=["level", "x"])
    assert ran.result.status == 0, ran.text
    for name in ("in-script", "x"):
        assert f"argument {name}" in ran.lines
    assert ran.text.count(f"level at CPL {3 * user} ") == 2, ran.text


def test_one_program_alone_in_ring_0(images: Images, programs: Path) -> None:
    other = file("usr/bin/other", (programs / "level").read_bytes(), 0o755)
    link = symlink("usr/bin/renamed", "other")
    ran = images.run(
        other,
        link,
        Entrypoint=["/start.sh"],
        Cmd=["sh", "-c", "level; other y; renamed z"],
        ring0="/usr/bin/renamed",
    )
    assert ran.result.status == 0, ran.text
    assert ran.text.count("level at CPL 3 ") == 2, ran.text
    assert "other at CPL 0 uid 0 exe /usr/bin/.other.ring0" in ran.lines
    assert "renamed at CPL 0 uid 0 exe /usr/bin/.other.ring0" in ran.lines


def test_a_user_and_a_directory(images: Images) -> None:
    text = (
        "id; pwd; env; echo >/dev/stdout to-stdout; touch /home/web/x; touch /root-s || echo no\n"
    )
    ran = images.run(
        file("who.sh", f"#!/bin/sh\n{text}exec level\n", 0o755),
        Cmd=["/who.sh"],
        User="web",
        WorkingDir="/made/for/it",
        Volumes={"/made/too": {}},
    )
    assert ran.result.status == 0, ran.text
    assert "uid=33(web) gid=34(web) groups=34(web),101(ssl)" in ran.lines
    assert {"/made/for/it", "HOME=/home/web", "to-stdout", "no"} <= set(ran.lines), ran.text
    assert "level at CPL 0 uid 33 exe /usr/bin/level" in ran.lines


def test_the_file_system_is_that_of_the_image(images: Images) -> None:
    show = """#!/bin/sh
stat -c '%n %a %u:%g %h' /usr/bin/level /again /home/web /etc/owned
cat /etc/hosts; cat /etc/resolv.conf; ls /gone /root.image /init 2>&1; ls /dev/null /proc/self/stat
echo changed >/etc/owned && cat /etc/owned; mount; ls /ukl
"""
    ran = images.run(
        file("show.sh", show, 0o755),
        file("gone/x"),
        hard("again", "gone/x"),
        file("etc/owned", "x", 0o640, uid=5, gid=70000),
        symlink("etc/resolv.conf", "../run/none/resolv.conf"),
        ("dev/sda", None, {"type": tarfile.BLKTYPE, "devmajor": 8, "mode": 0o660}),
        Cmd=["/show.sh"],
    )
    assert "/etc/owned 640 5:70000 1" in ran.lines, ran.text
    assert "/again 644 0:0 2" in ran.lines
    assert "/home/web 700 33:34 2" in ran.lines
    assert "127.0.0.1 localhost" in ran.lines
    assert "nameserver 10.0.2.3" in ran.lines
    assert "changed" in ran.lines
    assert any(line.startswith("overlay on / type overlay (rw") for line in ran.lines)
    assert "ls: /root.image: No such file or directory" in ran.lines
    assert "image" in ran.lines


def test_what_a_layer_deleted_is_not_there(lab: Lab, images: Images) -> None:
    ran = images.run(
        whiteout("home/web"), file("l.sh", "#!/bin/sh\nls /home\n", 0o755), Cmd=["/l.sh"]
    )
    assert "web" not in ran.lines


def test_the_stop_signal_of_the_image(lab: Lab, images: Images) -> None:
    script = "#!/bin/sh\ntrap 'echo quit; exit 5' QUIT\necho ready\nwhile :; do sleep 0.1; done\n"
    built = images.built(
        file("serve.sh", script, 0o755), Entrypoint=["/serve.sh"], StopSignal="SIGQUIT"
    )

    async def stopped() -> Ran:
        async with lab.boot(built) as guest:
            await guest.says("ready")
            return await guest.stop()

    ran = asyncio.run(stopped())
    assert "quit" in ran.lines, ran.text


@pytest.mark.parametrize("user", [False, True])
def test_shared_objects_of_the_image(images: Images, programs: Path, user: bool) -> None:
    libraries = "/lib/x86_64-linux-gnu"
    members = [
        file(f"{libraries}/{name}", Path(libraries, name).read_bytes(), 0o755)
        for name in ("libc.so.6", "libm.so.6")
    ]
    loader = "/lib64/ld-linux-x86-64.so.2"
    ran = images.run(
        *members,
        file(loader, Path(loader).read_bytes(), 0o755),
        file("bin/dynamic", (programs / "dynamic").read_bytes(), 0o755),
        Cmd=["dynamic"],
        user=user,
        code=Code.FILES,
    )
    assert f"dynamic at CPL {3 * user} uid 0 exe /bin/dynamic" in ran.lines, ran.text
    assert "library loaded" in ran.lines


def test_a_library_that_is_not_roots_is_not_executed(images: Images, programs: Path) -> None:
    libraries = "/lib/x86_64-linux-gnu"
    loader = "/lib64/ld-linux-x86-64.so.2"
    ran = images.run(
        file(f"{libraries}/libc.so.6", Path(libraries, "libc.so.6").read_bytes(), 0o755),
        file(f"{libraries}/libm.so.6", Path(libraries, "libm.so.6").read_bytes(), uid=33),
        file(loader, Path(loader).read_bytes(), 0o755),
        file("bin/dynamic", (programs / "dynamic").read_bytes(), 0o755),
        Cmd=["dynamic"],
    )
    assert "dynamic at CPL 0" in ran.text, ran.text
    assert "library loaded" not in ran.text


def test_a_volume_in_the_image(lab: Lab, images: Images, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    script = "#!/bin/sh\necho kept >/var/data/x\n"
    built = images.built(file("w.sh", script, 0o755), Cmd=["/w.sh"])
    spec = replace(built.spec, volumes=(Volume(shared, "/var/data"),))
    assert lab.run(replace(built, spec=spec)).result.status == 0
    assert (shared / "x").read_text() == "kept\n"


def test_two_guests_of_an_image(lab: Lab, images: Images) -> None:
    built = images.built(file("s.sh", "#!/bin/sh\necho up\nsleep 1000\n", 0o755), Cmd=["/s.sh"])

    async def both() -> None:
        async with lab.boot(built) as one, lab.boot(built) as two:
            await one.says("up")
            await two.says("up")

    asyncio.run(both())


def test_what_cannot_run_is_said_before_a_boot(images: Images) -> None:
    with pytest.raises(InputError, match="set-user-ID"):
        images.run(file("p", Path("/bin/busybox").read_bytes(), 0o4755), Cmd=["/p"])
    with pytest.raises(InputError, match="neither an entry point nor a command"):
        images.run()
