# SPDX-License-Identifier: GPL-2.0
"""A smaller kernel: from what ran to options, what depends on what, and few builds."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import Cli
from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Disk, PortForward, Tune
from ukl.base.progress import Progress
from ukl.flow import trimming, watch, workload
from ukl.flow.context import Context
from ukl.host.store import Store, jsonable
from ukl.kernel.kconfig import Request
from ukl.kernel.kconfig_why import Definitions
from ukl.trim import decide, linkmap, reach, rules
from ukl.trim.decide import Facts, Gone, Kept, Proposal, Seen, Why, Wishes
from ukl.trim.kbuild import Kbuild
from ukl.trim.reach import Code, Functions, Ran
from ukl.trim.rules import Kind
from ukl.trim.search import Search

# --- Makefiles ------------------------------------------------------------------------------

TREE = {
    "Kbuild": "obj-y += kernel/ fs/\nobj-$(CONFIG_NET) += net/\n",
    "kernel/Makefile": "obj-y := fork.o \\\n\texit.o # panic.o\nobj-$(CONFIG_FUTEX) += futex/\n",
    "kernel/futex/Makefile": "obj-y += core.o\n",
    "fs/Makefile": """
obj-$(CONFIG_EXT4_FS) += ext4/
ifeq ($(CONFIG_BLOCK),y)
obj-y += buffer.o
else
obj-y += no-block.o
endif
ifdef CONFIG_PROC_FS
ifneq ($(CONFIG_SYSCTL),)
obj-y += proc.o
endif
endif
obj-$(CONFIG_AIO)$(CONFIG_BLOCK) += both.o
obj-$(CONFIG_A) += shared.o
obj-$(CONFIG_B) += shared.o
""",
    "fs/ext4/Makefile": """
obj-$(CONFIG_EXT4_FS) += ext4.o
ext4-y := balloc.o inode.o $(ext4-more)
ext4-$(CONFIG_EXT4_FS_POSIX_ACL) += acl.o
obj-$(CONFIG_KUNIT) += deep/test.o
all:
\tobj-y += recipe.o
""",
    "net/Makefile": "obj-y := socket.o\nobj-$(CONFIG_INET) += ipv4/\n",
    "net/ipv4/Makefile": "obj-y := tcp.o\nobj-$(CONFIG_SYN_COOKIES) += syncookies.o\n",
    "arch/x86/Kbuild": "obj-y += net/\n",
    "arch/x86/Makefile": "drivers-$(CONFIG_PCI) += arch/x86/pci/\n",
    "arch/x86/pci/Makefile": "obj-y := common.o\n",
}


def conditions(path: str) -> set[frozenset[str]]:
    return set(Kbuild(TREE.get).conditions(path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("kernel/fork.o", [[]]),
        ("kernel/exit.o", [[]]),
        ("kernel/panic.o", [[]]),  # of which nothing is said
        ("kernel/futex/core.o", [["FUTEX"]]),
        ("fs/ext4/balloc.o", [["EXT4_FS"]]),
        ("fs/ext4/acl.o", [["EXT4_FS", "EXT4_FS_POSIX_ACL"]]),
        ("fs/ext4/deep/test.o", [["EXT4_FS", "KUNIT"]]),
        ("fs/ext4/recipe.o", [[]]),
        ("fs/buffer.o", [["BLOCK"]]),
        ("fs/no-block.o", [[]]),
        ("fs/proc.o", [["PROC_FS", "SYSCTL"]]),
        ("fs/both.o", [["AIO", "BLOCK"]]),
        ("fs/shared.o", [["A"], ["B"]]),
        ("net/ipv4/syncookies.o", [["NET", "INET", "SYN_COOKIES"]]),
        ("arch/x86/pci/common.o", [["PCI"]]),
    ],
)
def test_for_which_options_an_object_is_built(path: str, expected: list[list[str]]) -> None:
    assert conditions(path) == {frozenset(options) for options in expected}


# --- the map and the log --------------------------------------------------------------------

MAP = """
Memory Configuration
 .text          0x0000000000001000       0x20 kernel/fork.o
                0x0000000000001000                fork
 *fill*         0x0000000000001020        0x10 cccccccc
 .text.unlikely
                0x0000000000001030       0x10 net/built-in.a(net/socket.o)
 .text          0x0000000000001040        0x0 fs/empty.o
 .text          0x0000000000001040        0x8 lib/lib.a(memcpy.o)
 .noinstr.text  0x0000000000001048        0x8 kernel/fork.o
 .data          0x0000000000002000       0x20 kernel/fork.o
 .text          0x0000000000000000       0x20 discarded.o
"""


def test_which_object_is_at_an_address() -> None:
    found = linkmap.parse(MAP.splitlines(keepends=True))
    at = {address: found.find(address) for address in (0xFFF, 0x101F, 0x1020, 0x1035, 0x1040)}
    assert {address: piece and piece.object for address, piece in at.items()} == {
        0xFFF: None,
        0x101F: "kernel/fork.o",
        0x1020: None,  # filled up
        0x1035: "net/socket.o",
        0x1040: "lib/memcpy.o",
    }
    assert [piece.size for piece in found.pieces] == [0x20, 0x10, 8, 8]


def test_blocks_of_the_emulators_log() -> None:
    log = b"""----------------
IN:
0x00001000:  ba 20 10 00 00           movl     $0x1020, %edx
0x00001005:  c3                       retq

----------------
IN: fork
0x00001002:  c3                       retq
----------------
IN:
0x00001000:  c3                       retq
"""
    assert list(watch.blocks(log.splitlines())) == [0x1000, 0x1002]


def test_what_an_idle_kernel_does_says_nothing_about_the_program() -> None:
    pieces = (
        linkmap.Piece(0x1000, 0x100, "a.o"),
        linkmap.Piece(0x1100, 0x100, "b.o"),
        linkmap.Piece(0x1200, 0x100, "c.o"),
        linkmap.Piece(0x1300, 0x100, "d.o"),
    )
    functions = Functions([("one", 0x1000), ("two", 0x1080), ("tick", 0x1100), ("probe", 0x1200)])
    found = reach.ran(
        boot=[0x1000, 0x1100, 0x1204],
        # In `tick` another block than the idle kernel, and that is nothing of the program's.
        work=[0x1110, 0x1004, 0x1084, 0x5000],
        idle=[0x1104, 0x1000],
        linkmap=linkmap.LinkMap(pieces),
        functions=functions,
    )
    assert found == Ran(
        work={"a.o": "two"},
        idle={"b.o": "tick"},
        boot={"a.o": "one", "b.o": "tick", "c.o": "probe"},
    )


# --- what is kept whatever was seen -----------------------------------------------------------


def spec(**values: object) -> AppSpec:
    base = {"name": "a", "origin": Path("/a/ukl.toml"), "directory": Path("/a"), "sources": ()}
    return AppSpec(**{**base, **values})  # type: ignore[arg-type]


def test_rules() -> None:
    plain = spec()
    assert rules.rule("UKL_TEST", plain) == (Kind.TOOL, "the unikernel")
    assert rules.rule("UKL_SHORTCUT", plain) is None
    for protection in ("STRICT_KERNEL_RWX", "MITIGATION_ITS", "RANDOMIZE_BASE", "FORTIFY_SOURCE"):
        found = rules.rule(protection, plain)
        assert found is not None
        assert found[0] is Kind.PROTECTION
    assert rules.rule("NET", plain) is None
    assert rules.rule("NET", spec(ports=(PortForward(1, 2),))) == (Kind.TOOL, "ports are forwarded")
    assert rules.rule("EXT4_FS", plain) is None
    disk = Disk(Path("/d"), "/data", 1 << 30)
    assert rules.rule("EXT4_FS", spec(disks=(disk,))) == (Kind.TOOL, "disks")
    assert rules.rule("SMP", plain) is None
    assert rules.rule("SMP", spec(cpus=2)) == (Kind.TOOL, "2 processors")
    assert rules.rule("UKL_HELD_KICKS", plain) is None
    assert rules.rule("UKL_HELD_KICKS", spec(tune=Tune.SERVER)) == (Kind.TOOL, 'tune = "server"')


def test_rules_name_options_that_are_asked_for() -> None:
    """A rule for an option that no fragment has protects nothing."""
    text = "".join(
        file.read_text() for file in resources.path("kernel/config").glob("[bgt]*.config")
    )
    for names in (*rules._BY_NAME, *rules._PORTS, *rules._VOLUMES, *rules._DISKS):
        assert f"CONFIG_{names}=y\n" in text, names


# --- decisions ----------------------------------------------------------------------------------

KCONFIG = """
config NET
        bool "Networking"
        select NLATTR

config NLATTR
        bool

if NET
source "net/Kconfig"
endif

config EXT4
        bool "ext4"
        select CRC

config CRC
        bool

config MENU
        bool "A menu"
        depends on NET

config TTY
        bool "Console"

config SEEN
        bool "Seen"
        depends on LATER

config LATER
        bool "Later"

config SELECTED
        bool "Selected"

config SELECTS
        bool "Selects"
        select SELECTED

config NR
        int "Number"
        default 4 if NET
        default 1

choice
        prompt "One of"

config ONE
        bool "one"

config TWO
        bool "two"
endchoice
"""

NET_KCONFIG = """
config INET
        bool "TCP/IP"
"""

ASKED = ("NET", "INET", "EXT4", "MENU", "TTY", "SEEN", "LATER", "SELECTED", "SELECTS", "ONE")

ON = {*ASKED, "NLATTR", "CRC"}

OBJECTS = {
    "net/socket.o": [["NET"]],
    "net/tcp.o": [["NET", "INET"]],
    "fs/ext4.o": [["EXT4"]],
    "lib/crc.o": [["CRC"]],
    "seen.o": [["SEEN"]],
    "later.o": [["LATER"]],
    "selected.o": [["SELECTED"]],
    "selects.o": [["SELECTS"]],
    "tty.o": [["TTY"]],
}


def definitions() -> Definitions:
    found = Definitions()
    found.add("Kconfig", KCONFIG)
    found.add("net/Kconfig", NET_KCONFIG)
    return found


def resolve(names: frozenset[str]) -> Mapping[str, str]:
    """What Kconfig makes of it: the dependencies above."""
    on = set(ASKED) - names
    if "SELECTS" in on:
        on.add("SELECTED")
    if "NET" in on:
        on.add("NLATTR")
    else:
        on -= {"INET", "MENU"}
    if "EXT4" in on:
        on.add("CRC")
    if "LATER" not in on:
        on -= {"SEEN"}
    number = {"CONFIG_NR": "4" if "NET" in on else "1"}
    return {f"CONFIG_{name}": "y" for name in on} | number


def facts(wishes: Wishes = Wishes(), app: AppSpec | None = None, **work: str) -> Facts:  # noqa: B008
    asked = {f"CONFIG_{name}": Request(f"CONFIG_{name}", "y", "f:1") for name in ASKED}
    asked["CONFIG_NR"] = Request("CONFIG_NR", "4", "f:2")
    asked["CONFIG_OFF"] = Request("CONFIG_OFF", "n", "f:3")
    objects = {name: frozenset(map(frozenset, each)) for name, each in OBJECTS.items()}
    return Facts(
        app or spec(),
        asked,
        {f"CONFIG_{name}": "y" for name in ON} | {"CONFIG_NR": "4"},
        Code(objects, dict.fromkeys(OBJECTS, 100)),
        Ran({name.replace("__", "/") + ".o": text for name, text in work.items()}, {}, {}),
        definitions(),
        wishes,
    )


def proposed(given: Facts) -> tuple[dict[str, Kept], dict[str, Gone]]:
    found = decide.consistent(decide.propose(given), given, resolve)
    kept = {each.option: each for each in found.kept}
    gone = {each.option: each for each in found.gone}
    assert set(kept) | set(gone) == set(ASKED)
    assert not set(kept) & set(gone)
    return kept, gone


def test_what_nothing_reached_goes() -> None:
    kept, gone = proposed(facts())
    assert {option: each.why for option, each in kept.items()} == {
        "TTY": Why.NEEDED,
        "ONE": Why.CHOICE,
    }
    assert gone["INET"] == Gone("INET", Seen.NEVER, "", 100)
    assert gone["NET"].size == 200
    assert gone["MENU"] == Gone("MENU", Seen.FOLLOWS, "NET")


def test_what_was_reached_keeps_what_it_depends_on() -> None:
    kept, gone = proposed(facts(seen="seen_read", net__tcp="tcp_sendmsg"))
    assert kept["SEEN"] == Kept("SEEN", Why.REACHED, "seen_read")
    assert kept["LATER"] == Kept("LATER", Why.NEEDED, "by SEEN")
    assert kept["INET"] == Kept("INET", Why.REACHED, "tcp_sendmsg")
    # The Makefiles say that tcp.o is in NET's directory.
    assert kept["NET"] == Kept("NET", Why.REACHED, "tcp_sendmsg")
    assert kept["MENU"].why is Why.UNSEEN
    assert set(gone) == {"EXT4", "SELECTS", "SELECTED"}


def test_what_is_selected_by_what_stays_stays() -> None:
    kept, _ = proposed(facts(selects="select_it"))
    assert kept["SELECTED"] == Kept("SELECTED", Why.NEEDED, "by SELECTS")


def test_who_selects_what_was_reached_stays() -> None:
    kept, _ = proposed(facts(lib__crc="crc32"))
    assert kept["EXT4"] == Kept("EXT4", Why.NEEDED, "by crc32(), which is reached")


def test_a_number_that_cannot_be_is_what_it_becomes() -> None:
    found = decide.consistent(decide.propose(facts()), facts(), resolve)
    assert found.values == (("NR", "1"),)
    smaller = trimming.without(spec(kernel_options={"CONFIG_IPV6": "n"}), found)
    assert smaller.kernel_options["NR"] == "1"
    assert smaller.kernel_options["EXT4"] == "n"
    assert smaller.kernel_options["IPV6"] == "n"


def test_classes_of_what_was_seen() -> None:
    given = facts()
    ran = Ran({}, {"later.o": "later_tick"}, {"fs/ext4.o": "ext4_init", "later.o": "later_init"})
    found = decide.propose(
        Facts(given.spec, given.asked, given.config, given.code, ran, given.definitions)
    )
    seen = {each.option: (each.seen, each.text) for each in found.gone}
    assert seen["EXT4"] == (Seen.BOOT, "ext4_init")
    assert seen["LATER"] == (Seen.IDLE, "later_tick")
    # The surest first, the largest of those first.
    names = [each.option for each in found.gone]
    assert names.index("NET") < names.index("INET") < names.index("EXT4") < names.index("LATER")


def test_wishes() -> None:
    asked = facts(app=spec(kernel_options={"CONFIG_EXT4": "y"}))
    assert proposed(asked)[0]["EXT4"] == Kept("EXT4", Why.ASKED, "by the manifest")
    kept, _ = proposed(facts(Wishes(keep=frozenset({"EXT4"}))))
    assert kept["EXT4"] == Kept("EXT4", Why.ASKED, "by --keep")
    _, gone = proposed(facts(Wishes(drop=frozenset({"NET"})), net__tcp="tcp_sendmsg"))
    assert gone["NET"].seen is Seen.REQUESTED
    assert gone["INET"] == Gone("INET", Seen.REQUESTED, "with NET", 100)
    with pytest.raises(InputError, match="EXT3"):
        decide.check(facts(Wishes(keep=frozenset({"EXT3"}))))


def test_protections_are_given_up_only_if_somebody_says_so() -> None:
    asked = {"CONFIG_VMAP_STACK": Request("CONFIG_VMAP_STACK", "y", "f:1")}
    given = facts()
    for wishes, option in ((Wishes(), None), (Wishes(frozenset({Kind.PROTECTION})), "VMAP_STACK")):
        one = Facts(given.spec, asked, {}, given.code, given.ran, given.definitions, wishes)
        assert decide.propose(one).names == ({option} if option else set())


def test_a_part_of_a_proposal() -> None:
    given = facts()
    first = decide.propose(given)
    leading = decide.leading(first, decide.consistent(first, given, resolve))
    assert "MENU" not in leading.names
    part = decide.consistent(
        decide.restricted(leading, frozenset({"EXT4"}), "tried"), given, resolve
    )
    assert part.names == {"EXT4"}
    kept = {each.option: each.why for each in part.kept}
    assert kept["NET"] is Why.FAILED
    assert kept["MENU"] is Why.UNSEEN


# --- trials ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed", "builds", "good", "most"),
    [
        ("", 6, "abcdefgh", 1),
        ("h", 9, "abcdefg", 7),
        ("a", 9, "bcdefgh", 8),
        ("ch", 12, "abdefg", 12),
        ("h", 2, "abcd", 2),
        ("abcdefgh", 30, "", 15),
        ("a", 1, "", 1),
        ("a", 0, "", 0),
    ],
)
def test_search(needed: str, builds: int, good: str, most: int) -> None:
    tried: list[str] = []

    def attempt(options: frozenset[str]) -> bool:
        tried.append("".join(sorted(options)))
        return not options & set(needed)

    search = Search(attempt, builds)
    assert search.run("abcdefgh") == set(good)
    assert len(tried) <= most
    assert len(set(tried)) == len(tried)
    assert not good or good in tried  # as a whole
    assert set(search.culprits) <= set(needed)


def test_nothing_to_search() -> None:
    assert Search(lambda options: pytest.fail("tried"), 5).run([]) == frozenset()


# --- the workload and the report ----------------------------------------------------------------


def test_a_server_needs_somebody_who_uses_it(tmp_path: Path) -> None:
    bench = workload.Bench(Context(Store(tmp_path), Progress.quiet()))
    served = spec(ports=(PortForward(80, 80),))
    with pytest.raises(InputError) as caught:
        workload.chosen(served, None, bench)
    assert "--workload" in str(caught.value.remedy)
    assert isinstance(workload.chosen(served, "true", bench), workload.Command)
    assert isinstance(workload.chosen(spec(), None, bench), workload.OwnRun)


def test_what_is_wrong_is_said_before_anything_is_built(cli: Cli, tmp_path: Path) -> None:
    cache = ("--cache-dir", str(tmp_path / "cache"), "kernel", "trim")
    served = cli(*cache, "tcp-echo")
    assert served.returncode == 4
    assert "--workload" in served.stderr
    lost = cli(*cache, "-o", str(tmp_path / "no" / "file"), "hello")
    assert lost.returncode == 4
    assert str(tmp_path / "no") in lost.stderr
    assert not (tmp_path / "cache").exists()


def test_the_report_is_a_part_of_a_manifest() -> None:
    proposal = Proposal(
        (Kept("INET", Why.REACHED, "tcp_sendmsg"), Kept("TTY", Why.NEEDED, "the console")),
        (Gone("EXT4_FS", Seen.BOOT, "ext4_init_fs", 1000),),
    )
    sizes = trimming.Sizes(1000, 500, 2000, 30)
    report = trimming.Report(
        name="a",
        profile="tiny",
        workload="`true`",
        proposal=proposal,
        proved=True,
        trials=(trimming.Trial(("EXT4_FS",), True, "status 0", None),),
        before=sizes,
        after=trimming.Sizes(900, 400, 1900, 29),
        options={"EXT4_FS": "n", "NAME": '"x"'},
    )
    text = "\n".join(trimming.table(report))
    assert "INET                             reached      tcp_sendmsg()" in text
    assert "TTY                              needed       the console" in text
    assert "ran only while the kernel booted: ext4_init_fs" in text
    assert "bzImage              1000          900" in text
    assert json.loads(json.dumps(jsonable(report)))["proposal"]["gone"][0]["option"] == "EXT4_FS"
    block = tomllib.loads("\n".join(trimming.manifest_block(report)))
    assert block == {
        "kernel": {"profile": "tiny", "options": {"EXT4_FS": "n", "NAME": '"x"'}},
    }
