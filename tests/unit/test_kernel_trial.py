# SPDX-License-Identifier: GPL-2.0
"""What patch(1) says about a series on another kernel, and how it is told."""

from __future__ import annotations

from dataclasses import replace

from ukl.kernel import mail, trial
from ukl.kernel.trial import Report, Tried, Verdict

DIFF = """\
diff --git a/fs/exec.c b/fs/exec.c
index 0123456789ab..ba9876543210 100644
--- a/fs/exec.c
+++ b/fs/exec.c
@@ -68,3 +68,4 @@
 a
+b
 c
 d
@@ -1541,3 +1542,4 @@ static void free_bprm(struct linux_binprm *bprm)
 e
+f
 g
 h
"""
[EXEC] = mail.split_diffs(DIFF)


def test_a_diff_that_fits() -> None:
    assert trial.exact("checking file fs/exec.c\n").verdict is Verdict.CLEAN
    said = (
        "checking file fs/exec.c\n"
        "Hunk #1 succeeded at 70 (offset 2 lines).\n"
        "Hunk #2 succeeded at 1530 (offset -11 lines).\n"
    )
    assert trial.exact(said) == trial._Outcome(Verdict.MOVED, 11)
    one = "Hunk #1 succeeded at 70 (offset 1 line).\n"
    assert trial.exact(one).lines == 1


def test_a_diff_that_needs_fuzz() -> None:
    said = (
        "Hunk #1 succeeded at 70 (offset 2 lines).\n"
        "Hunk #2 succeeded at 1530 with fuzz 1 (offset -11 lines).\n"
    )
    found = trial.fuzzy(EXEC, said)
    assert found.verdict is Verdict.FUZZY
    assert found.problems == (
        "hunk 2 of 2 of fs/exec.c (line 1541, in static void free_bprm"
        "(struct linux_binprm *bprm)): its context has changed",
    )


def test_a_diff_that_does_not_fit() -> None:
    said = (
        "patching file fs/exec.c\nHunk #1 FAILED at 68.\n"
        "Hunk #2 succeeded at 1530 (offset -11 lines).\n1 out of 2 hunks FAILED\n"
    )
    assert trial.broken(EXEC, said) == ("hunk 1 of 2 of fs/exec.c (line 68)",)
    there = (
        "patching file fs/exec.c\n"
        "Reversed (or previously applied) patch detected!  Skipping patch.\n"
        "2 out of 2 hunks ignored\n"
    )
    assert trial.broken(EXEC, there) == ("fs/exec.c: seems to have this change already",)
    assert trial.broken(EXEC, "patch: nonsense\n") == ("fs/exec.c: patch: nonsense",)


def test_a_report() -> None:
    patches = (
        Tried("1.patch", "one: A", Verdict.CLEAN),
        Tried("2.patch", "two: B", Verdict.MOVED, 7),
    )
    good = Report("6.12.200", "/src", "series 6.12", True, patches)
    assert good.is_good
    assert good.text() == [
        " 1 clean            one: A",
        " 2 moved 7 lines    two: B",
        "series 6.12 on Linux 6.12.200: 2 patches, all apply",
    ]
    worse = Tried("3.patch", "three: C", Verdict.FUZZY, 0, ("hunk 1 of 1 of x.c (line 3)",))
    bad = replace(good, version="6.13", covered=False, patches=(*patches, worse))
    assert not bad.is_good
    assert bad.text()[2:] == [
        " 3 FUZZY            three: C",
        "     hunk 1 of 1 of x.c (line 3)",
        "series 6.12 on Linux 6.13: 3 patches, 1 DO NOT APPLY",
        "(the series is not for 6.13: see base.toml)",
    ]
