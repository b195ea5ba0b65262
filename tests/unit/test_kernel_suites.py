# SPDX-License-Identifier: GPL-2.0
"""Where a kernel series' source is looked for, and what is said when it is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Cli
from ukl.base.errors import InputError, UklError
from ukl.base.progress import Progress
from ukl.flow import kernel
from ukl.flow.context import Context
from ukl.host.apt import read_targets
from ukl.host.store import Store
from ukl.kernel import source, suites, trial, versions
from ukl.kernel.suites import Archive, Index, MovedOn
from ukl.settings import table, values
from ukl.settings.setting import KERNELS

TARGETS = """\
Created-By: Packages
Origin: Debian
Label: Debian
Repo-URI: http://mirror.example/debian/
Sourcesentry: /etc/apt/sources.list.d/debian.sources:1

Created-By: Packages
Origin: Somebody
Label: Debian-Security
Repo-URI: http://else.example/
Sourcesentry: /etc/apt/sources.list.d/else.list:3
"""

MADISON = """\
linux-source-7.2 |   7.2.13-1 | http://deb.debian.org/debian sid/main amd64 Packages
linux-source-7.2 | 7.2.12-1~bpo13+1 | http://deb.debian.org/debian trixie-backports/main Packages
linux-source-7.10 | 7.10.4-1 | http://deb.debian.org/debian sid/main amd64 Packages
linux-source-7.10 | linux-source-7.10 | no package
linux-source | 7.10.4 | http://deb.debian.org/debian sid/main amd64 Packages
"""


def test_the_mirror_is_the_machines() -> None:
    default = Archive()
    assert suites.archive([]) == default
    assert suites.archive(read_targets(TARGETS)) == Archive(
        "http://mirror.example/debian/", default.security
    )


def test_suites_are_signed_by_debian() -> None:
    text = Archive("M", "S").sources(["sid", "trixie-security"], Path("/k.gpg"))
    assert text == (
        "deb [signed-by=/k.gpg] M sid main\ndeb [signed-by=/k.gpg] S trixie-security main\n"
    )


def test_the_newest_kernel_is_first() -> None:
    found = suites.read_packages(MADISON)
    assert list(found.items()) == [
        ("linux-source-7.10", "7.10.4-1"),
        ("linux-source-7.2", "7.2.13-1"),
    ]
    index = Index(("a", "b"), found, ())
    assert index.require(None) == "linux-source-7.10"
    assert index.require("linux-source-7.2") == "linux-source-7.2"
    with pytest.raises(MovedOn) as caught:
        index.require("linux-source-7.3")
    assert caught.value.message == (
        "linux-source-7.3 is not in a or b, which have linux-source-7.10 (7.10.4-1), "
        "linux-source-7.2 (7.2.13-1)"
    )
    with pytest.raises(MovedOn, match="is not in a, which has no kernel source"):
        Index(("a",), {}, ()).require(None)


def test_each_series_names_suites() -> None:
    for base in versions.bases():
        assert base.package == f"{suites.PREFIX}{base.name}"
        assert base.suites


def test_a_series_has_a_name() -> None:
    newest = versions.bases()[0]
    assert values.parse_series(newest.name) == newest.name
    assert versions.named(newest.name, versions.bases()) == newest
    with pytest.raises(ValueError, match="no patch series for Linux 7\\.3\\.4; the series are"):
        values.parse_series("7.3.4")
    with pytest.raises(InputError, match=r"no series for Linux 2\.4"):
        versions.named("2.4", versions.bases())


@pytest.fixture
def context(store: Store) -> Context:
    return Context(store, Progress.quiet())


def moved(*args: object, **more: object) -> None:
    raise MovedOn("linux-source-7.3", ("sid",), {"linux-source-7.4": "7.4.2-1"})


def test_it_is_said_whether_the_patches_apply_to_what_is_there(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def tried(want: str, context: Context, series: str) -> trial.Report:
        asked.append((want, series))
        patch = trial.Tried("0001", "x", trial.Verdict.BROKEN)
        return trial.Report("7.4.2", "", "series 7.3", False, (patch,))

    monkeypatch.setattr(source, "fetch", moved)
    monkeypatch.setattr(kernel, "tried", tried)
    with pytest.raises(MovedOn) as caught:
        kernel.fetched(replace(context, series="7.3"))
    assert asked == [("linux-source-7.4", "7.3")]
    assert caught.value.message.endswith(
        "which has linux-source-7.4 (7.4.2-1); series 7.3 on Linux 7.4.2: 1 patches, "
        "1 DO NOT APPLY (`ukl kernel try linux-source-7.4`)"
    )


def test_without_a_trial_it_is_still_said_what_is_there(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tried(*args: object) -> None:
        raise UklError("no network")

    monkeypatch.setattr(source, "fetch", moved)
    monkeypatch.setattr(kernel, "tried", tried)
    with pytest.raises(MovedOn, match=r"has linux-source-7\.4 \(7\.4\.2-1\)$"):
        kernel.fetched(context, "7.3")


def test_an_option_overrides_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []

    def package(base: versions.Base, *more: object) -> None:
        chosen.append(base.name)

    monkeypatch.setattr(source, "package", package)
    monkeypatch.setenv(source.SERIES, "6.12")
    source.fetch(None, store, Progress.quiet())
    source.fetch(None, store, Progress.quiet(), series="7.3")
    assert chosen == ["6.12", "7.3"]
    # The option of a verb that makes several guests is for all of them.
    kernel.fetched(Context(store, Progress.quiet(), series="7.3"), "6.12")
    assert chosen[-1] == "7.3"


@pytest.mark.process
def test_the_old_name_of_the_option(cli: Cli, tmp_path: Path) -> None:
    done = cli("kernel", "export", "--series", "6.12", "-o", str(tmp_path / "p"))
    assert done.returncode == 0, done.stderr
    assert "--series is now called --kernel" in done.stderr
    assert (tmp_path / "p/0000-cover-letter.patch").is_file()


def test_the_setting_is_of_every_verb_that_makes_a_guest() -> None:
    row = table.ROWS["kernel_version"]
    assert row.option is not None
    assert row.option.verbs == KERNELS
    assert row.compose
