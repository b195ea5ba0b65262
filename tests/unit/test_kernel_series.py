# SPDX-License-Identifier: GPL-2.0
"""Series, mails and versions: text in, values out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukl.base.errors import InputError, UklError
from ukl.kernel import export, mail, series, versions
from ukl.kernel.mail import FileDiff, Mail
from ukl.kernel.series import Entry
from ukl.kernel.versions import Base

BASE = Base(Path("/k/6.12"), "6.12", "6.13", ("6.12.117",), None, (), None, {})


@pytest.mark.parametrize(
    ("version", "covered"),
    [
        ("6.12", True),
        ("6.12.0", True),
        ("6.12.117", True),
        ("6.12.117-ukl", True),
        ("6.11.11", False),
        ("6.12-rc7", False),
        ("6.13", False),
        ("6.13-rc1", False),
        ("6.8.12", False),
        ("7.0", False),
    ],
)
def test_a_series_covers_its_range_and_no_release_candidate(version: str, covered: bool) -> None:
    assert BASE.covers(version) is covered


def test_a_wrong_version_names_what_was_found_and_what_would_do() -> None:
    with pytest.raises(InputError) as caught:
        versions.base_for("6.8.12", (BASE,), "/src/linux")
    assert "6.8.12" in caught.value.message
    assert "6.12 <= version < 6.13" in caught.value.message
    assert "6.12.117" in (caught.value.remedy or "")
    assert caught.value.where == "/src/linux"


def test_our_own_base_files_are_complete() -> None:
    known = versions.bases()
    assert known
    for base in known:
        assert base.series.is_file()
        assert all(base.covers(version) for version in base.tested)
        assert all(
            base.covers(version) and len(value) == 64 for version, value in base.sha256.items()
        )
        assert base.download is None or base.download in base.sha256


def test_an_unknown_key_of_a_base_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('from = "6.12"\nbelow = "6.13"\nbellow = "6.14"\n')
    with pytest.raises(UklError, match="bellow"):
        versions.load(tmp_path / "base.toml")


def test_a_series_says_which_new_files_come_with_a_patch() -> None:
    text = "# comment\n0001-a.patch\n    + arch/x86/ukl/Kconfig\n\n0002-b.patch\n"
    parsed = series.parse(text, Path("/k/6.12/series"))
    assert parsed.entries == (
        Entry("0001-a.patch", ("arch/x86/ukl/Kconfig",)),
        Entry("0002-b.patch"),
    )
    assert series.parse(series.render(parsed.entries, "head"), parsed.file) == parsed


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("+ a.c\n", 1),
        ("a.patch\n+ ../escape\n", 2),
        ("a.patch\n+ /etc/passwd\n", 2),
        ("a.patch\n\na.patch\n", 3),
        ("sub/a.patch\n", 1),
        ("a.patch\nb.diff\n", 2),
    ],
)
def test_a_wrong_line_of_a_series_is_named(text: str, line: int) -> None:
    with pytest.raises(UklError) as caught:
        series.parse(text, Path("/k/series"))
    assert caught.value.where == f"/k/series:{line}"


DIFF = """\
diff --git a/init/main.c b/init/main.c
index 0123456789ab..ba9876543210 100644
--- a/init/main.c
+++ b/init/main.c
@@ -1,3 +1,3 @@
 a
-b
+c
 d
@@ -10 +10,2 @@ f
 x
+---
"""


@pytest.mark.parametrize("body", ["", "One line.", "Two\n\nparagraphs: with a -- dash and\n--- x"])
def test_a_mail_comes_back_as_it_was_written(body: str) -> None:
    one = Mail(
        "Zoë Q. Müller <z@example.org>",
        "Sat, 1 Nov 2025 10:00:00 +0100",
        "x86/ukl: Add naïve " + "long words " * 12 + "end",
        body,
        mail.split_diffs(DIFF),
    )
    text = mail.render(one, "PATCH 03/12", export.diffstat(one.diffs))
    assert mail.parse(text) == one
    assert mail.render(mail.parse(mail.render(one))) == mail.render(one)


def test_hunks_and_changes_are_counted() -> None:
    (diff,) = mail.split_diffs(DIFF)
    assert diff.path == "init/main.c"
    assert diff.hunks() == [1, 10]
    assert diff.changes() == (2, 1)


def test_a_new_file_is_written_as_git_does() -> None:
    assert mail.new_file("a/b.c", b"x\n").text == (
        "diff --git a/a/b.c b/a/b.c\nnew file mode 100644\n"
        "index 000000000000..587be6b4c3f9\n--- /dev/null\n+++ b/a/b.c\n@@ -0,0 +1 @@\n+x\n"
    )
    assert mail.new_file("e", b"", executable=True).text == (
        "diff --git a/e b/e\nnew file mode 100755\nindex 000000000000..e69de29bb2d1\n"
    )
    assert mail.new_file("n", b"a\nb").text.endswith("+a\n+b\n\\ No newline at end of file\n")


def test_a_diffstat_sums_and_names_new_files() -> None:
    diffs = [*mail.split_diffs(DIFF), mail.new_file("new.c", b"1\n2\n3\n")]
    assert export.diffstat(diffs) == (
        " init/main.c | 3 ++-\n"
        " new.c       | 3 +++\n"
        " 2 files changed, 5 insertions(+), 1 deletion(-)\n"
        " create mode 100644 new.c\n"
    )


def test_what_patch_says_becomes_file_and_hunk() -> None:
    diffs = (FileDiff("init/main.c", DIFF),)
    output = "patching file init/main.c\nHunk #2 FAILED at 10.\n1 out of 2 hunks FAILED\n"
    assert series.explain(diffs, output) == "hunk 2 of 2 of init/main.c (line 10)"
