# SPDX-License-Identifier: GPL-2.0
"""A compose file: what it means, what is wrong with it, the order, and when one is ready."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import TOP, Cli
from ukl.base.errors import InputError
from ukl.base.model import (
    LOG_LIMITS,
    NO_NETWORK,
    LogLimits,
    Mode,
    NetworkKind,
    Outcome,
    Protocol,
    Restart,
    RunResult,
)
from ukl.compose import life, ready
from ukl.settings import compose
from ukl.settings.project import Condition, Project, ordered
from ukl.vm import keeper, registry, status
from ukl.vm.registry import Given, Life, Member, Record, Registry, State

TWO = """
name = "shop"

[services.web]
target = "./web.c"
args = ["-x", "two words"]
env = { DB = "db" }
ports = ["8080:80", "5353:53/udp"]
volumes = ["data:/data:ro"]
cpus = 2
depends_on = ["db"]

[services.db]
target = "tcp-echo"
network = "back"
address = "10.77.0.9"
mode = "process"
restart = "on-failure"
ready = { command = ["true"], timeout = 5 }
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "web.c").touch()
    return tmp_path


def loaded(directory: Path, text: str) -> Project:
    path = directory / compose.FILENAME
    path.write_text(text)
    return compose.load(path)


def test_services_in_the_order_of_their_start(here: Path) -> None:
    project = loaded(here, TWO)
    assert project.name == "shop"
    db, web = project.services
    assert (db.name, db.guest, web.name, web.guest) == ("db", "shop-db", "web", "shop-web")
    assert web.depends_on == {"db": Condition.READY}
    assert (web.network.kind, web.network.name) == (NetworkKind.SHARED, "shop")
    assert (db.network.name, db.network.address) == ("back", "10.77.0.9/24")
    assert (db.mode, db.restart) == (Mode.PROCESS, Restart.ON_FAILURE)
    assert (db.ready.command, db.ready.ports, db.ready.timeout) == (("true",), (), 5.0)
    # Whoever says nothing is ready when somebody listens on what is forwarded.
    assert web.ready.ports == ((Protocol.TCP, 80), (Protocol.UDP, 53))
    assert web.spec.args == ("-x", "two words")
    assert web.spec.volumes[0].source == here / "data"
    assert web.spec.cpus == 2


def test_the_same_guest_by_ukl_run(here: Path) -> None:
    db, web = loaded(here, TWO).services
    assert compose.command(web) == (
        "ukl run -d --name shop-web --network shop --env DB=db --publish 8080:80 "
        f"--publish 5353:53/udp --volume {here}/data:/data:ro --cpus 2 {here}/web.c "
        "-- -x 'two words'"
    )
    assert compose.command(db) == (
        "ukl run -d --name shop-db --network back --ip 10.77.0.9/24 --mode process "
        "--restart on-failure tcp-echo"
    )


def test_another_word_is_another_guest(here: Path) -> None:
    one = loaded(here, TWO).services[1].config
    assert loaded(here, TWO).services[1].config == one
    assert loaded(here, TWO.replace('"db" }', '"other" }')).services[1].config != one


def test_how_much_of_the_console_is_kept(here: Path) -> None:
    [some] = loaded(here, '[services.a]\ntarget = "hello"\nlog_size = "1M"\n').services
    assert some.log == LogLimits(size=1 << 20, files=LOG_LIMITS.files)
    assert "--log-size 1M hello" in compose.command(some)
    [plain] = loaded(here, '[services.a]\ntarget = "hello"\n').services
    assert plain.log == LOG_LIMITS
    assert "--log" not in compose.command(plain)


def test_no_network(here: Path) -> None:
    [only] = loaded(here, '[services.a]\ntarget = "hello"\nnetwork = false\n').services
    assert only.network is NO_NETWORK
    assert only.guest == f"{here.name}-a"


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("[services.a]\ntarget = 5\n", 2, "`target` in [services.a]", 'target = "redis"'),
        ('[services.a]\ntarget = "hello"\nprots = ["1:1"]\n', 3, "did you mean `ports`?", "known"),
        ('[services.a]\ntarget = "hello"\nports = ["x"]\n', 3, "not a port", "8080|5555:5555"),
        (
            '[services.a]\ntarget = "hello"\ndepends_on = ["b"]\n',
            3,
            "there is no service b",
            "the services are: a",
        ),
        (
            '[services.a]\ntarget = "hello"\ndepends_on = { a = "happy" }\n',
            3,
            "`a` in [services.a.depends_on]|`depends_on` in [services.a]",
            "started",
        ),
        ('[services.a]\ntarget = "hallo"\n', 2, "did you mean `hello`?|no such file", ""),
        ('[services.a]\ntarget = "hello"\nrestart = "often"\n', 3, "`restart`", "on-failure"),
        ('[services.a]\ntarget = "hello"\nlog_size = "1K"\n', 3, "not a log size", "16M"),
        ("services = {}\n", 1, "`services`", "write a table"),
        ("[services\n", 1, "not valid TOML", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    here: Path, text: str, line: int, message: str, remedy: str
) -> None:
    with pytest.raises(InputError) as caught:
        loaded(here, text)
    error = caught.value
    assert str(error.where) in {f"{here / compose.FILENAME}:{line}", str(here / "hallo")}
    assert any(each in error.message for each in message.split("|")), error.message
    assert any(each in (error.remedy or "") for each in remedy.split("|")), error.remedy


def test_a_cycle() -> None:
    with pytest.raises(InputError, match=r"cycle: a -> b -> a|cycle: b -> a -> b"):
        ordered({"a": ["b"], "b": ["a"]}, Path("x"))


def test_chosen_services_bring_what_they_need(here: Path) -> None:
    project = loaded(here, TWO + '[services.other]\ntarget = "hello"\n')
    assert [each.name for each in project.chosen(["web"])] == ["db", "web"]
    assert {each.name for each in project.chosen([])} == {"db", "web", "other"}
    with pytest.raises(InputError, match="no service wbe"):
        project.chosen(["wbe"])


def test_where_the_file_is(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    with pytest.raises(InputError, match="no such compose file"):
        compose.find(None)
    (here / compose.FILENAME).touch()
    assert compose.find(None) == compose.find(str(here)) == here / compose.FILENAME
    assert compose.find("redis-replica") == TOP / "examples" / "redis-replica" / compose.FILENAME


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob(f"*/{compose.FILENAME}")), ids=str)
def test_examples(path: Path) -> None:
    assert len(compose.load(path).services) > 1


# --- readiness --------------------------------------------------------------------------

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0F02000A:1A0B 0202000A:D2AA 01 00000000:00000000 00:00000000 00000000     0        0 3
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000000000000:0051 00000000000000000000000000000000:0000 0A
"""


def test_who_listens() -> None:
    assert ready.listening(TCP, Protocol.TCP) == {0x18EB, 0x51}
    assert ready.listening(TCP, Protocol.UDP) == {0x18EB, 0x51, 0x1A0B}
    assert ready.listening("cat: no such file\n", Protocol.TCP) == set()


# --- the life of guests ------------------------------------------------------------------


@pytest.fixture
def guests(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "guests")


def record(name: str, **values: object) -> Record:
    base = Record(name=name, application="hello", keeper=registry.myself())
    return replace(base, **values)  # type: ignore[arg-type]


def test_members_have_the_names_of_their_services_too(guests: Registry) -> None:
    guests.claim(
        record(
            "shop-db", member=Member("shop", "db"), given=Given(network="n"), state=State.RUNNING
        ),
        automatic=False,
    )
    guests.claim(record("lone", given=Given(network="n")), automatic=False)
    said = status.hosts(guests.hosts("n")).decode().splitlines()
    assert said[1:-1] == ["host 10.77.0.2 shop-db", "host 10.77.0.2 db", "host 10.77.0.3 lone"]


def test_members_are_told_from_others(guests: Registry, here: Path) -> None:
    project = loaded(here, TWO)
    guests.claim(record("shop-db", member=Member("shop", "db")), automatic=False)
    guests.claim(record("shop-x"), automatic=False)
    assert [each.name for each in life.members(guests, project)] == ["shop-db"]
    assert [each.name for each in life.only(project, guests, ["web"])] == []
    with pytest.raises(InputError, match="no service x"):
        life.only(project, guests, ["x"])


def test_lines_of_several_consoles(guests: Registry, tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(b"one\ntw")
    each = record("shop-db", member=Member("", "db"), life=Life(console=console))
    seen: list[tuple[str, bytes]] = []
    follower = life.Follower(guests, lambda service, line: seen.append((service, line)))
    follower.look([each])
    with console.open("ab") as stream:
        stream.write(b"o\nthree")
    follower.look([each])
    assert seen == [("db", b"one"), ("db", b"two")]
    # The file is begun anew meanwhile.
    console.rename(console.with_name(f"{console.name}.1"))
    console.write_bytes(b"\nfour\nfi")
    follower.look([each])
    assert seen[2:] == [("db", b"three"), ("db", b"four")]
    follower.look([each], last=True)
    assert seen[4:] == [("db", b"fi")]


def result(outcome: Outcome, status: int | None = None) -> RunResult:
    return RunResult(outcome, status, Path(), 1.0)


@pytest.mark.parametrize(
    ("outcome", "status", "policies"),
    [
        (Outcome.EXITED, 0, {Restart.ALWAYS}),
        (Outcome.EXITED, 1, {Restart.ALWAYS, Restart.ON_FAILURE}),
        (Outcome.SIGNALED, 11, {Restart.ALWAYS, Restart.ON_FAILURE}),
        (Outcome.PANICKED, None, {Restart.ALWAYS, Restart.ON_FAILURE}),
        (Outcome.LOST, None, {Restart.ALWAYS, Restart.ON_FAILURE}),
        (Outcome.STOPPED, None, set()),
        (Outcome.TIMEOUT, None, set()),
    ],
)
def test_who_is_started_again(outcome: Outcome, status: int | None, policies: set[str]) -> None:
    found = {policy for policy in Restart if keeper.should_restart(policy, result(outcome, status))}
    assert found == policies


def test_pauses_grow_until_it_runs_well() -> None:
    waited: list[float] = []
    pause = keeper.Backoff()
    for lived in (1, 1, 1, 100, 1):
        pause.wait(lived, waited.append)
    assert waited == [0.5, 1, 2, 0.5, 1]


# --- the command line --------------------------------------------------------------------


def test_config(cli: Cli, here: Path) -> None:
    (here / compose.FILENAME).write_text(TWO)
    done = cli("compose", "-f", str(here), "config")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[::2] == ["# db", "# web, after db (ready)"]
    project = json.loads(cli("compose", "-f", str(here), "config", "--json").stdout)
    assert [each["name"] for each in project["services"]] == ["db", "web"]
    assert json.loads(cli("compose", "-f", str(here), "ps", "--json").stdout) == []
    assert json.loads(cli("compose", "-f", str(here), "down", "--json").stdout) == {"removed": []}
    wrong = cli("compose", "-f", str(here), "up", "nobody")
    assert wrong.returncode == 4
    assert "the services are: db, web" in wrong.stderr


def test_the_reference_has_each_key() -> None:
    text = (TOP / "docs" / "reference" / "compose-toml.md").read_text()
    documented = set(re.findall(r"(?m)^\| `(\w+)` \|", text))
    model = compose.MODEL
    service = compose._Service
    assert documented == {"name", "services"} | set(service.model_fields)
    assert set(model.model_fields) == {"name", "services"}
    [example] = re.findall(r"(?s)```toml\n(.*?)```", text)
    assert set(tomllib.loads(example)) <= {"name", "services"}


def test_what_an_editor_says(cli: Cli, here: Path) -> None:
    printed = json.loads(cli("schema", "--compose").stdout)
    jsonschema.Draft7Validator.check_schema(printed)
    checker = jsonschema.Draft7Validator(printed)
    for path in (TOP / "examples").glob(f"*/{compose.FILENAME}"):
        assert not list(checker.iter_errors(tomllib.loads(path.read_text())))
    assert not list(checker.iter_errors(tomllib.loads(TWO)))
    for wrong in (
        "services = {}",
        "[services.a]\nargs = []",
        '[services.a]\ntarget = "x"\nprots = []',
        '[services.a]\ntarget = "x"\ndepends_on = { b = "happy" }',
        '[services.a]\ntarget = "x"\nready = { port = 1 }',
    ):
        assert list(checker.iter_errors(tomllib.loads(wrong))), wrong
    keys = printed["properties"]["services"]["additionalProperties"]["properties"]
    assert all(key["description"] for key in keys.values())


def test_a_service_may_be_a_container_image(here: Path) -> None:
    text = '[services.a]\ntarget = "oci:img/../i:1"\nring0 = "/bin/x"\nargs = ["y"]\n'
    [only] = loaded(here, text).services
    assert only.target == f"oci:{here}/i:1"
    assert (only.spec.ring0, only.spec.args) == ("/bin/x", ("y",))
    assert " ".join(only.words).endswith(f" --ring0 /bin/x oci:{here}/i:1 -- y")
    [only] = loaded(here, '[services.a]\ntarget = "docker://redis:7"\n').services
    assert only.target == "docker://redis:7"
