# SPDX-License-Identifier: GPL-2.0
"""manifest.py: what is right is read, what is wrong is named with file, line, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukl.base.errors import ExitCode, InputError
from ukl.base.model import Disk, Level, PortForward, Protocol, Returns, Volume
from ukl.settings import explain, manifest, values

FULL = """\
[app]
name = "server"
sources = ["main.c", "lib/util.c"]
args = ["-p", "5555"]
env = { MODE = "fast" }

[compile]
cflags = ["-O2"]

[link]
libraries = ["m", "event"]
objects = ["extra.o"]
level = "fast"

[run]
ports = ["5555:80", "0.0.0.0:8080:80", "53:53/udp"]
volumes = ["data:/data", "/etc:/conf:ro"]
disks = ["db.img:/db,size=64M"]
memory = "1G"
cpus = 2
returns = "ret"
files = { "/etc/server.conf" = "server.conf" }

[kernel]
profile = "debug"
options = { TMPFS = true, CONFIG_NR_CPUS = 4, CONFIG_X = "m" }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "lib").mkdir(parents=True)
    for name in ("main.c", "lib/util.c", "extra.o", "server.conf"):
        (directory / name).touch()
    return directory


def load(project: Path, text: str) -> InputError:
    """Load a manifest that must be wrong and return the error."""
    (project / "ukl.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        manifest.load(project)
    assert caught.value.code == ExitCode.BAD_INPUT
    assert caught.value.remedy
    return caught.value


def test_everything_is_read(project: Path) -> None:
    (project / "ukl.toml").write_text(FULL)
    spec = manifest.load(project)
    assert spec == manifest.load(project / "ukl.toml")
    assert spec.name == "server"
    assert spec.origin == project / "ukl.toml"
    assert spec.sources == (project / "main.c", project / "lib/util.c")
    assert spec.args == ("-p", "5555")
    assert spec.env == {"MODE": "fast"}
    assert spec.cflags == ("-O2",)
    assert (spec.level, spec.returns) == (Level.FAST, Returns.RET)
    assert spec.libraries == ("m", "event")
    assert spec.objects == (project / "extra.o",)
    assert spec.ports == (
        PortForward(5555, 80),
        PortForward(8080, 80, "0.0.0.0"),
        PortForward(53, 53, protocol=Protocol.UDP),
    )
    assert spec.volumes == (Volume(project / "data", "/data"), Volume(Path("/etc"), "/conf", True))
    assert spec.disks == (Disk(project / "db.img", "/db", 64 << 20),)
    assert spec.memory == 1 << 30
    assert spec.cpus == 2
    assert spec.files == {"/etc/server.conf": project / "server.conf"}
    assert spec.kernel_options == {"CONFIG_TMPFS": "y", "CONFIG_NR_CPUS": "4", "CONFIG_X": "m"}
    assert spec.profile == "debug"


def test_name_is_that_of_the_directory(project: Path) -> None:
    (project / "ukl.toml").write_text('[app]\nsources = ["main.c"]\n')
    assert manifest.load(project).name == "project"


def test_a_single_c_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my server.c").touch()
    monkeypatch.chdir(tmp_path)
    spec = manifest.resolve("my server.c")
    assert spec.name == "my-server"
    assert spec.sources == (tmp_path / "my server.c",)
    assert spec.memory == 256 << 20


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[app]\nsourcs = ["main.c"]\n', 2, ["unknown key `sourcs` in [app]", "`sources`"]),
        ('[ap]\nsources = ["main.c"]\n', 1, ["unknown table `ap`", "`app`"]),
        ('[app]\nsources = ["main.c", "x.c"]\n', 2, ["`sources`", "'x.c'", "does not exist"]),
        ('[app]\nsources = ["lib"]\n', 2, ["'lib'", "is a directory"]),
        ('[app]\nsources = "main.c"\n', 2, ["must be a list, not 'main.c'"]),
        ("[app]\nsources = [1]\n", 2, ["must be a string, not 1"]),
        ("app = 1\n", 1, ["must be a table, not 1"]),
        ('[app]\nname = "a b"\n', 2, ["'a b' is not a valid name"]),
        (f'[app]\nname = "{"x" * 32}"\n', 2, ["at most 31"]),
        ('[app]\nsources = ["main.c"]\nenv = { A = 1 }\n', 3, ["`A` in [app.env]", "string"]),
        ('[app]\nentrypoint = "start.sh"\n', 2, ["'start.sh' is not the absolute path"]),
        ('[app]\n[app.env]\n1X = "b"\n', 3, ["'1X=' does not set a variable"]),
        ('[link]\nlibraries = ["-lm"]\n', 2, ["'-lm' is not the name of a library"]),
        ("[run]\nmemory = 256\n", 2, ["'256' is not a memory size"]),
        ('[run]\nmemory = "1M"\n', 2, ["too little"]),
        ("[run]\ncpus = 0\n", 2, ["`cpus`", "1"]),
        ('[run]\ncpus = "2"\n', 2, ["must be a whole number"]),
        ('\n[run]\nports = ["80x"]\n', 3, ["'80x' is not a port"]),
        ('[run]\nports = ["0:70000"]\n', 2, ["not a port forward"]),
        ('[run]\nports = ["53:53/icmp"]\n', 2, ["neither tcp nor udp"]),
        ('[run]\nvolumes = ["data"]\n', 2, ["'data' is not a volume"]),
        ('[run]\ndisks = ["a.img:b"]\n', 2, ["'b' is not an absolute path"]),
        ('[run]\nfiles = { "etc/x" = "main.c" }\n', 2, ["absolute path"]),
        ('[run]\nfiles = { "/etc/x" = "absent" }\n', 2, ["'absent' does not exist"]),
        ('[kernel]\noptions = { "a b" = "y" }\n', 2, ["not the name of a kernel option"]),
        ("[app]\nsources = [\n", 2, ["not valid TOML"]),
        ("[app\n", 1, ["not valid TOML"]),
    ],
)
def test_what_is_wrong_is_named(project: Path, text: str, line: int, words: list[str]) -> None:
    error = load(project, text)
    assert error.where == f"{project}/ukl.toml:{line}"
    for word in words:
        assert word in error.message


def test_what_is_one_of_a_few_words(project: Path) -> None:
    for text in ('[link]\nlevel = "quick"\n', '[run]\nreturns = "jmp"\n', "[link]\nlevel = 1\n"):
        assert "write it like" in (load(project, text).remedy or "")


def test_parameters_of_the_kernel(project: Path) -> None:
    text = 'sources = ["main.c"]\n[run]\nsysctl = { "vm.x" = 1, "net.a/b" = "1 2" }\n'
    (project / "main.c").touch()
    (project / "ukl.toml").write_text(f"[app]\n{text}")
    assert manifest.load(project).sysctl == {"vm.x": "1", "net.a/b": "1 2"}
    for wrong in ("{ x = 1 }", '{ "vm.x" = "\'\\"" }', '{ "vm.x y" = 1 }'):
        assert "vm.overcommit_memory" in str(load(project, f"[run]\nsysctl = {wrong}\n").remedy)


def test_unknown_key_lists_the_known_ones(project: Path) -> None:
    assert load(project, "[run]\nzzz = 1\n").remedy == (
        "known here: ports, volumes, disks, memory, cpus, returns, code, page_size, tune, "
        "timezone, sysctl, populate, userspace, files"
    )


def test_nothing_to_build(project: Path) -> None:
    assert "nothing to build" in load(project, "").message


def test_not_text(project: Path) -> None:
    (project / "ukl.toml").write_bytes(b"[app]\nname = '\xff'\n")
    with pytest.raises(InputError, match="UTF-8"):
        manifest.load(project)


def test_no_manifest_no_file_wrong_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no ukl\.toml"):
        manifest.load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        manifest.load(tmp_path / "absent.c")
    (tmp_path / "main.rs").touch()
    with pytest.raises(InputError, match=r"neither a ukl\.toml nor a C file"):
        manifest.load(tmp_path / "main.rs")


class TestResolve:
    def test_every_example_loads(self) -> None:
        assert {"hello", "tcp-echo"} <= set(manifest.example_names())
        for name in manifest.example_names():
            assert manifest.resolve(name).name == name

    def test_a_word_is_an_example_and_a_path_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "hello").mkdir()
        (tmp_path / "hello" / "own.c").touch()
        (tmp_path / "hello" / "ukl.toml").write_text('[app]\nsources = ["own.c"]\n')
        monkeypatch.chdir(tmp_path)
        assert manifest.resolve("hello").sources[0].name == "hello.c"
        assert manifest.resolve("./hello").sources[0].name == "own.c"

    def test_a_near_miss_is_suggested(self) -> None:
        with pytest.raises(InputError, match="did you mean `tcp-echo`"):
            manifest.resolve("tcpecho")


def test_memory_and_ports_and_env() -> None:
    assert values.parse_memory("256M") == 256 << 20
    assert values.parse_memory("2GiB") == 2 << 30
    assert values.parse_port("1:2") == PortForward(1, 2)
    assert values.parse_port("80") == PortForward(80, 80)
    assert values.parse_port("10.0.0.1:1:2") == PortForward(1, 2, "10.0.0.1")
    assert values.parse_env("A=b=c") == ("A", "b=c")
    for bad in ("1:2:3", "x", "999.0.0.1:1:2", "-1:2", ""):
        with pytest.raises(ValueError, match="port"):
            values.parse_port(bad)


def test_find_line_heeds_tables() -> None:
    text = '[a]\nx = 1\n\n[b]\nx = 2\n[c.d]\n"y" = 3\n'
    assert explain.find_line(text, ["a", "x"]) == 2
    assert explain.find_line(text, ["b", "x"]) == 5
    assert explain.find_line(text, ["c", "d", "y"]) == 7
    assert explain.find_line(text, ["b", "absent"]) == 4
    assert explain.find_line(text, ["absent"]) is None


def test_find_line_reads_quoted_keys() -> None:
    text = '[run]\nenv."A.B" = 1\n\'x.y\'.z = 2\n[files."/etc/a.conf"]\n"/b=c" = 3\n'
    assert explain.find_line(text, ["run", "env", "A.B"]) == 2
    assert explain.find_line(text, ["run", "x.y", "z"]) == 3
    assert explain.find_line(text, ["files", "/etc/a.conf", "/b=c"]) == 5


def test_a_path_may_begin_with_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert values.host_file("~/file", Path("/nowhere")) == tmp_path / "file"
    with pytest.raises(ValueError, match="does not exist"):
        values.host_file("~nobody-at-all/file", tmp_path)


def test_applications_of_one_kernel(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.c").write_text("int main(void) { return 0; }\n")
        (tmp_path / name / "ukl.toml").write_text('[app]\nsources = ["main.c"]\n')
    with (tmp_path / "one" / "ukl.toml").open("a") as stream:
        stream.write('[kernel]\nwith = ["../two", "hello"]\n')
    spec = manifest.load(tmp_path / "one")
    assert [other.name for other in spec.with_] == ["two", "hello"]
    both = manifest.specified(str(tmp_path / "two"), {"with_": (str(tmp_path / "one"),)})
    assert [other.name for other in both.with_] == ["one"]


def test_applications_may_name_each_other(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.c").write_text("int main(void) { return 0; }\n")
        (tmp_path / name / "ukl.toml").write_text(
            f'[app]\nsources = ["main.c"]\n[kernel]\nwith = ["../{other}"]\n'
        )
    [two] = manifest.load(tmp_path / "one").with_
    assert (two.name, two.with_) == ("two", ())
