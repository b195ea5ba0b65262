# SPDX-License-Identifier: GPL-2.0
"""The kernel's configuration: requests, and why one was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TOP
from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import KernelSource
from ukl.kernel import PROFILES, compare, default_spec, kconfig
from ukl.kernel.build import requests
from ukl.kernel.kconfig import Request
from ukl.kernel.kconfig_why import Definitions

KCONFIG = """
config NET
        bool "Networking"
        select NLATTR
        help
          Text that says
            depends on NOTHING
          and ends here.

if NET

config INET
        bool "TCP/IP"
        depends on MMU && \\
                (PROC || SYSFS)

menu "Deeper"
        depends on INET

config TCP_FAST
        bool "Fast"

endmenu
endif

config NLATTR
        bool

config START
        hex "Where" if EXPERT || DUMP
        default 0x10

choice
        prompt "One of"

config ONE
        bool "one"

config TWO
        bool "two"

endchoice
"""


def lost(tmp_path: Path, request: str, config: dict[str, str]) -> list[kconfig.Lost]:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    asked = kconfig.merge(kconfig.parse_fragment(request, "f"))
    return kconfig.find_lost(
        asked, {f"CONFIG_{name}": value for name, value in config.items()}, tmp_path
    )


@pytest.mark.parametrize(
    ("request_line", "config", "reason"),
    [
        ("CONFIG_GONE=y", {}, "this kernel has no such option"),
        ("CONFIG_TCP_FAST=y", {"NET": "y"}, "depends on NET && INET (INET=n)"),
        ("CONFIG_INET=y", {}, "depends on NET && (MMU && "),
        ("# CONFIG_NLATTR is not set", {"NLATTR": "y", "NET": "y"}, "selected by NET"),
        ("CONFIG_START=0x40", {"START": "0x10"}, "only if EXPERT || DUMP"),
        ("CONFIG_TWO=y", {"ONE": "y"}, "another member of its choice"),
        ("CONFIG_NLATTR=y", {}, "it has no prompt"),
    ],
)
def test_a_lost_option_is_explained(
    tmp_path: Path, request_line: str, config: dict[str, str], reason: str
) -> None:
    (found,) = lost(tmp_path, request_line, config)
    assert reason in found.reason
    assert found.request.where == "f:1"


def test_why_an_option_may_be_off() -> None:
    found = Definitions()
    found.add("Kconfig", 'if NET\nsource "net/$(SRCARCH)/Kconfig"\nendif\n')
    found.add("net/x86/Kconfig", "config A\n\tbool 'a'\n\tdepends on B\n")
    found.add("Kconfig.c", "config C\n\tbool\n\tselect A\n\timply D\n")
    found.add("Kconfig.d", "config D\n\tbool\n\tdefault y if E\n")
    assert found.influences("A") == {"B", "C", "NET"}
    assert found.influences("D") == {"C", "E"}
    assert found.selectors("A", {"CONFIG_C": "y"}) == ["C"]
    assert found.selectors("A", {}) == []


def test_what_survived_is_not_lost(tmp_path: Path) -> None:
    asked = 'CONFIG_NET=y\n# CONFIG_INET is not set\nCONFIG_START=0x010\nCONFIG_NAME="a"\n'
    assert not lost(tmp_path, asked, {"NET": "y", "START": "0x10", "NAME": '"a"'})


def test_the_last_word_on_an_option_counts() -> None:
    asked = kconfig.parse_fragment("CONFIG_A=y\n# CONFIG_A is not set\n", "f")
    assert kconfig.merge(asked)["CONFIG_A"] == Request("CONFIG_A", "n", "f:2")


@pytest.mark.parametrize("line", ["CONFIG_A = y", "A=y", "config a", "CONFIG_A"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(InputError) as caught:
        kconfig.parse_fragment(f"# fine\n{line}\n", "base.config")
    assert caught.value.where == "base.config:2"


def test_options_of_a_manifest_are_written_as_kconfig_does() -> None:
    options = {"NET": "y", "CONFIG_NR": "0x40", "LOCALVERSION": "-mine", "USB": "n"}
    assert [request.line() for request in kconfig.parse_options(options, "m")] == [
        "CONFIG_NET=y",
        "CONFIG_NR=0x40",
        'CONFIG_LOCALVERSION="-mine"',
        "# CONFIG_USB is not set",
    ]


@pytest.mark.parametrize("options", [{"A B": "y"}, {"A": "m"}, {"A": "x\nCONFIG_B=y"}, {"": "y"}])
def test_an_option_that_cannot_be_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(InputError):
        kconfig.parse_options(options, "ukl.toml")


def test_every_option_of_our_fragments_has_a_reason_above_and_comes_once() -> None:
    seen: dict[str, str] = {}
    for fragment in sorted(resources.path("kernel/config").glob("*.config")):
        reason = False  # a comment is the reason of all options up to the next blank line
        for number, line in enumerate(fragment.read_text().splitlines(), 1):
            where = f"{fragment.name}:{number}"
            if found := kconfig.parse_fragment(line, where):
                name = found[0].name
                # A profile is there to say something else.
                again = name in seen and (
                    fragment.stem not in PROFILES or seen[name].startswith(fragment.name)
                )
                assert not again, f"{where} repeats {seen[name]}"
                seen[name] = where
                assert reason, f"{where}: no comment above"
            else:
                reason = line.startswith("#") and len(line) > 2
    assert "CONFIG_UKL" in seen


def test_the_documentation_names_what_the_profile_trusted_leaves_out() -> None:
    text = (TOP / "docs/security.md").read_text()
    fragment = resources.path("kernel/config/trusted.config")
    off = [
        each.name.removeprefix("CONFIG_")
        for each in kconfig.parse_fragment(fragment.read_text(), fragment.name)
        if each.value == "n"
    ]
    assert "CPU_MITIGATIONS" in off
    rest = "all other `MITIGATION_` options"
    missing = [name for name in off if f"`{name}`" not in text and "MITIGATION_" not in name]
    assert not missing
    assert rest in text


def test_a_profile_is_added_last_and_only_where_it_is_asked_for(tmp_path: Path) -> None:
    source = KernelSource(tmp_path, "6.12.117", "a test")
    plain = [file.name for file in default_spec(source).fragments]
    assert "base.config" in plain
    assert "debug.config" not in plain
    debug = default_spec(source, {"PREEMPT": "n"}, "debug")
    assert [file.name for file in debug.fragments] == [*plain, "debug.config"]
    asked = requests(debug)
    assert asked["CONFIG_PREEMPT_NONE"].value == "n"  # base.config says y
    assert asked["CONFIG_PREEMPT"].value == "n"  # options have the last word
    with pytest.raises(InputError, match="no kernel profile `bedug`"):
        default_spec(source, {}, "bedug")


def test_what_a_series_has_otherwise_comes_behind_what_all_have(tmp_path: Path) -> None:
    spec = default_spec(KernelSource(tmp_path, "7.3.4", "a test"), {}, "debug")
    found = [f"{file.parents[1].name}/{file.name}" for file in spec.fragments]
    assert found.index("7.3/base.config") == found.index("kernel/base.config") + 1
    assert found[-2:] == ["kernel/debug.config", "7.3/debug.config"]
    assert requests(spec)["CONFIG_PREEMPT_NONE"].value == "n"


def test_an_option_of_the_series_is_not_compared(tmp_path: Path) -> None:
    spec = default_spec(KernelSource(tmp_path, "6.12.117", "a test"))
    plan = compare.Plan((), {"KPROBES": "y"}, {})
    unpatched = compare.asked_of(spec, plan, patched=False)
    patched = compare.asked_of(spec, plan, patched=True)
    # What the unpatched tree does not know would be missed in its configuration.
    assert not [name for name in unpatched if name.startswith("CONFIG_UKL")]
    assert patched.pop("CONFIG_UKL").value == "n"
    assert patched == unpatched
    assert unpatched["CONFIG_KPROBES"].value == "y"
