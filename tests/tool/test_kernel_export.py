# SPDX-License-Identifier: GPL-2.0
"""From the development tree to the stored series and back to mails, with real git."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Cli
from ukl.base.errors import InputError, UklError
from ukl.kernel import export, import_series, series

TOY = Path(__file__).resolve().parents[1] / "data/toykernel"


def git(tree: Path, *words: str) -> str:
    identity = ["-c", "user.name=Zoë Müller", "-c", "user.email=z@example.org"]
    done = subprocess.run(
        ["git", "-C", tree, *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(tree: Path, subject: str, body: str, **files: str) -> None:
    for name, text in files.items():
        path = tree / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", subject, "-m", body)


@pytest.fixture
def development(tmp_path: Path) -> Path:
    """Return a git tree: three patches on `base`, the third changes what the first brings."""
    tree = Path(shutil.copytree(TOY, tmp_path / "dev"))
    git(tree, "init", "-q", "-b", "main")
    commit(tree, "base", "")
    git(tree, "tag", "base")
    entry = "".join(f"line {number}\n" for number in range(30))
    (tree / "arch/x86/ukl").mkdir()
    (tree / "arch/x86/ukl/run.sh").write_text("#!/bin/sh\n")
    (tree / "arch/x86/ukl/run.sh").chmod(0o755)
    main = (tree / "init/main.c").read_text()
    commit(
        tree,
        "x86/ukl: Add the entry, with naïve words in its long subject that goes on and on",
        "Context.\n\nSolution: é.",
        arch__x86__ukl__entry_dot_S=entry,
        init__main_dot_c=main + "int one;\n",
    )
    commit(tree, "x86/ukl: Add a file alone", "", arch__x86__ukl__alone_dot_c="no newline")
    commit(
        tree,
        "x86/ukl: Change both",
        "Body.",
        arch__x86__ukl__entry_dot_S=entry.replace("line 15\n", "line fifteen\nand more\n"),
        init__main_dot_c=main + "int two;\n",
    )
    return tree


def room(tmp_path: Path, name: str) -> Path:
    """Return an empty kernel/6.12 with a cover letter."""
    directory = tmp_path / name / "kernel/6.12"
    directory.mkdir(parents=True)
    (directory / "cover.toml").write_text(
        'author = "A B <a@example.org>"\ndate = "Sat, 1 Nov 2025 10:00:00 +0100"\n'
        'subject = "The whole"\ntext = """\nWhat it is.\n"""\n'
    )
    return directory


def stored(directory: Path) -> dict[str, bytes]:
    top = directory.parent
    return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


def test_import_keeps_new_files_apart_from_changes(development: Path, tmp_path: Path) -> None:
    into = room(tmp_path, "a")
    assert import_series.write(import_series.read_git(development), into) == []
    loaded = series.load(into / "series")
    assert [len(entry.overlay) for entry in loaded.entries] == [2, 1, 0]
    assert loaded.touched() == {"init/main.c"}
    overlay = into.parent / "overlay/arch/x86/ukl"
    assert "line fifteen" in (overlay / "entry.S").read_text()
    assert (overlay / "run.sh").stat().st_mode & 0o100
    first = loaded.patch_path(loaded.entries[0]).read_text()
    assert "new file" not in first
    assert "Zoë" not in first.partition("\n\n")[0]  # a header is ASCII


def test_export_gives_the_commits_again(development: Path, tmp_path: Path) -> None:
    into = room(tmp_path, "a")
    import_series.write(import_series.read_git(development), into)
    files = export.export(into / "series", tmp_path / "out")
    assert [file.name[:5] for file in files] == ["0000-", "0001-", "0002-", "0003-"]

    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(development), str(other))
    git(other, "reset", "-q", "--hard", "base")
    git(other, "am", "-q", *map(str, files[1:]))
    form = "--format=%T %an %ae %at %s%n%b"  # trees, not commits: the committer's time differs
    assert git(other, "log", form, "base..HEAD") == git(development, "log", form, "base..HEAD")

    again = room(tmp_path, "b")
    git(other, "tag", "-f", "base", git(development, "rev-parse", "base"))
    import_series.write(import_series.read_git(other), again)
    assert stored(again) == stored(into)


def test_the_diffstat_is_gits(development: Path, tmp_path: Path) -> None:
    into = room(tmp_path, "a")
    import_series.write(import_series.read_git(development), into)
    files = export.export(into / "series", tmp_path / "out")
    commits = git(development, "rev-list", "--reverse", "base..HEAD").split()
    for file, commit_name in zip(files[1:], commits, strict=True):
        between = file.read_text().partition("\n---\n")[2].partition("\ndiff --git")[0]
        stat = git(development, "show", "--format=", "--stat", "--summary", commit_name)
        assert between.strip() == stat


def test_the_cover_letter_lists_and_applies_nothing(development: Path, tmp_path: Path) -> None:
    into = room(tmp_path, "a")
    import_series.write(import_series.read_git(development), into)
    cover = export.export(into / "series", tmp_path / "out")[0].read_text()
    assert "Subject: [PATCH 0/3] The whole" in cover
    assert "x86/ukl: Change both" in cover
    assert "4 files changed" in cover
    assert "\n---\n" not in cover


def test_files_that_git_does_not_have_are_reported_and_stay(
    development: Path, tmp_path: Path
) -> None:
    into = room(tmp_path, "a")
    mine = into.parent / "overlay/scripts/mine.c"
    mine.parent.mkdir(parents=True)
    mine.write_text("int mine;\n")
    assert import_series.write(import_series.read_git(development), into) == [mine]
    assert mine.read_text() == "int mine;\n"


def test_an_overlay_edited_by_hand_is_noticed(development: Path, tmp_path: Path) -> None:
    into = room(tmp_path, "a")
    imported = import_series.read_git(development)
    import_series.write(imported, into)
    assert import_series.differing(imported, into) == []
    entry = into.parent / "overlay/arch/x86/ukl/entry.S"
    entry.write_text(entry.read_text().replace("line fifteen", "line XV"))
    assert import_series.differing(imported, into) == ["arch/x86/ukl/entry.S"]
    with pytest.raises(UklError, match=r"hunk 1 of 1 of arch/x86/ukl/entry\.S"):
        export.export(into / "series", tmp_path / "out")


def test_the_command_names_the_files(cli: Cli, tmp_path: Path) -> None:
    files = json.loads(cli("kernel", "export", "--json").stdout)["files"]
    assert files
    assert [name for name in files if not (tmp_path / name).is_file()] == []


def test_export_leaves_foreign_patches_alone(development: Path, tmp_path: Path) -> None:
    into = room(tmp_path, "a")
    import_series.write(import_series.read_git(development), into)
    export.export(into / "series", tmp_path / "out")
    export.export(into / "series", tmp_path / "out")  # over its own is fine
    (tmp_path / "out/0007-mine.patch").write_text("my only copy\n")
    with pytest.raises(UklError, match="other patches"):
        export.export(into / "series", tmp_path / "out")
    assert (tmp_path / "out/0007-mine.patch").read_text() == "my only copy\n"


def test_a_history_that_is_no_series_is_refused(development: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no commit"):
        import_series.read_git(development, "HEAD")
    with pytest.raises(InputError, match="git rev-list failed"):
        import_series.read_git(tmp_path)
    git(development, "rm", "-q", "arch/x86/ukl/alone.c")
    commit(development, "Remove it again", "")
    with pytest.raises(InputError, match=r"deletes arch/x86/ukl/alone\.c"):
        import_series.read_git(development)


def test_the_command_reports(
    development: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = room(tmp_path, "a")
    assert import_series.main([str(development), "--into", str(into)]) == 0
    assert "3 patches, 3 new files" in capsys.readouterr().out
    assert import_series.main([str(tmp_path), "--into", str(into)]) == 4
    assert "git rev-list failed" in capsys.readouterr().err
