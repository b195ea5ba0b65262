# SPDX-License-Identifier: GPL-2.0
"""Compiling and linking with a kernel tree in miniature, real make, gcc and ld."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import eventually_of
from ukl.base.errors import InputError, UklError
from ukl.base.model import AppObject, KernelSource, KernelSpec, ObjectFacts
from ukl.base.progress import Progress, Stage
from ukl.host.exec import recording
from ukl.host.store import Store, digest
from ukl.kernel import build, link, symbols

TOP = Path(__file__).resolve().parents[2]
TOY = TOP / "tests/data/toykernel"
FLAGS = ["-O1", "-ffreestanding", "-mcmodel=kernel", "-fno-pic", "-fcf-protection=none", "-g0"]
FACTS = ObjectFacts(0, 0, 0, 0, 0, 1, (), (), 0)

MakeApp = Callable[..., AppObject]


@pytest.fixture
def spec(tmp_path: Path) -> KernelSpec:
    """Return what to build: the toy tree, a series without patches, one fragment."""
    shutil.copytree(TOY, tmp_path / "toy")
    (tmp_path / "kernel/6.12").mkdir(parents=True)
    (tmp_path / "kernel/6.12/series").write_text("# no patches\n")
    (tmp_path / "toy.config").write_text("CONFIG_UKL=y\n")
    source = KernelSource(tmp_path / "toy", "6.12.999", "toy")
    return KernelSpec(source, tmp_path / "kernel/6.12/series", (tmp_path / "toy.config",))


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    """Return a function that compiles C into an application object."""

    def make(code: str, name: str = "app", facts: ObjectFacts = FACTS) -> AppObject:
        path = tmp_path / f"app-{name}-{digest(code)}.o"
        argv = ["gcc", *FLAGS, "-x", "c", "-c", "-o", str(path), "-"]
        subprocess.run(argv, input=code.encode(), check=True)
        return AppObject(name, path, path, facts, digest(code))

    return make


def fingerprint(directory: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of everything below a directory."""
    found = {}
    for path in directory.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(directory))] = (status.st_size, status.st_mtime_ns)
    return found


def left_over(root: Path) -> list[Path]:
    """Return half-made things in a cache."""
    return [*root.glob("*/.*"), *root.glob("tree/*/.*")]


# --- build -------------------------------------------------------------------


def test_objects_are_built_once(spec: KernelSpec, store: Store, progress: Progress) -> None:
    built = build.build(spec, store, progress)
    assert built.version == "6.12.999"
    assert built.data_limit == 0x801000 - symbols.DATA_BASE
    made = (built.directory / "manifest.json").stat().st_mtime_ns
    assert build.build(spec, store, progress) == built
    assert (built.directory / "manifest.json").stat().st_mtime_ns == made


def test_progress_counts_what_make_will_compile(
    spec: KernelSpec, store: Store, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(Stage, "update", lambda self, *numbers: seen.append(numbers))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    build.build(spec, store, progress)
    # Never 100 % before the end: make does not say everything beforehand.
    assert [each[:2] for each in seen] == [(1, 3), (2, 3), (3, None)]
    assert seen[0][2].startswith("about ")


def test_a_busy_machine_is_said_once(
    spec: KernelSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    seen = []
    monkeypatch.setattr(Stage, "update", lambda self, *numbers: seen.append(numbers[2]))
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 1.0, 1.0))
    build.build(spec, store, Progress(stream), jobs=2)
    assert stream.getvalue().count("this machine is busy: the load is 9.0 on 2 processors") == 1
    assert not any("left" in note for note in seen)


def test_an_estimate_that_grows_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now, seen = io.StringIO(), [0.0], []
    monkeypatch.setattr(Stage, "update", lambda self, *numbers: seen.append(numbers[2]))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(stream).stage("kernel objects") as stage:
        counter = build._Counter(stage, 2)
        counter.total = 100
        for second in [*range(1, 41), 80, 120, 160]:
            now[0] = float(second)
            counter("  CC      a.o")
    assert seen[39] == "about 60 s left"
    assert seen[-1] == ""
    assert stream.getvalue().count("this machine is busy") == 1


def test_options_and_sources_give_other_objects(
    spec: KernelSpec, store: Store, progress: Progress
) -> None:
    first = build.build(spec, store, progress)
    second = build.build(replace(spec, options={"NET": "y"}), store, progress)
    main = spec.source.directory / "init/main.c"
    main.write_text(main.read_text() + "int more;\n")
    third = build.build(spec, store, progress)
    assert len({first.key, second.key, third.key}) == 3


def test_an_unpatched_kernel_has_the_same_configuration_without_our_options(
    spec: KernelSpec, store: Store, progress: Progress
) -> None:
    asked = replace(spec, options={"NET": "y", "UKL_TEST": "n"}, patched=False)
    built = build.build(asked, store, progress)
    # The tree as it is, and nothing of ours in it.
    assert built.source == spec.source.directory
    assert [entry.kind for entry in store.info()] == ["kernel"]
    config = (built.directory / "objects/.config").read_text()
    assert "CONFIG_NET=y" in config
    assert "CONFIG_UKL=y" not in config
    image = link.link(built, None, store, progress)
    assert image.marker is None
    assert image.bzimage.is_file()
    # It is another kernel than the patched one, and made once.
    assert build.build(replace(spec, options={"NET": "y"}), store, progress).key != built.key
    assert build.build(asked, store, progress) == built


def test_a_lost_option_is_an_error_that_says_why(
    spec: KernelSpec, store: Store, progress: Progress
) -> None:
    options = {"INET": "y", "NOWHERE": "y"}
    with pytest.raises(InputError) as caught:
        build.build(replace(spec, options=options), store, progress)
    assert "CONFIG_INET=y" in caught.value.message
    assert "depends on NET (NET=n)" in caught.value.message
    assert "no such option" in caught.value.message
    assert [entry.kind for entry in store.info()] == ["tree"]
    assert not left_over(store.root)


def test_a_configuration_alone_is_written_where_asked(
    spec: KernelSpec, store: Store, progress: Progress, tmp_path: Path
) -> None:
    file = build.config(spec, store, progress, tmp_path / "out")
    assert "CONFIG_UKL=y" in file.read_text()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".config"]


@pytest.mark.parametrize("name", ["with space", "with:colon"])
def test_a_cache_in_which_kbuild_cannot_work_is_refused_at_once(
    spec: KernelSpec, tmp_path: Path, progress: Progress, name: str
) -> None:
    with pytest.raises(InputError) as caught:
        build.build(spec, Store(tmp_path / name), progress)
    assert "--cache-dir" in (caught.value.remedy or "")
    assert not (tmp_path / name / "tree").exists()


def test_a_compiler_error_is_shown_with_the_log(
    spec: KernelSpec, store: Store, progress: Progress
) -> None:
    (spec.source.directory / "init/main.c").write_text("int broken(void) { return nothing; }\n")
    with pytest.raises(UklError) as caught:
        build.build(spec, store, progress)
    assert "init/main.c:1:" in caught.value.message
    assert "nothing" in caught.value.message
    assert caught.value.log is not None
    assert "CC      init/main.o" in caught.value.log.read_text()
    assert not left_over(store.root)


@pytest.mark.skipif(shutil.which("ccache") is None, reason="optional: no ccache on this machine")
def test_objects_of_a_changed_tree_come_from_ccache(
    spec: KernelSpec,
    store: Store,
    progress: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hits() -> int:
        command = ["ccache", "--print-stats"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = dict(line.split("\t") for line in shown.splitlines())
        return int(rows["direct_cache_hit"]) + int(rows["preprocessed_cache_hit"])

    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    first = build.build(spec, store, progress)
    before = hits()
    (spec.source.directory / "Kconfig.more").write_text("# nothing\n")
    second = build.build(spec, store, progress)
    assert second.source != first.source
    assert hits() > before


def test_no_path_shows_in_the_objects(
    spec: KernelSpec, tmp_path: Path, progress: Progress, make_app: MakeApp
) -> None:
    app = make_app("int ukl_app_start(void) { return 1; }")
    images = []
    for name in ("here", "some/where/else"):
        store = Store(tmp_path / name)
        images.append(link.link(build.build(spec, store, progress), app, store, progress))
    first, second = images
    assert first.vmlinux.read_bytes() == second.vmlinux.read_bytes()
    assert str(tmp_path).encode() not in first.vmlinux.read_bytes()
    assert first.bzimage.read_bytes() == second.bzimage.read_bytes()
    assert first.build_id == second.build_id


# --- link ----------------------------------------------------------------------


def test_an_image_holds_the_application_and_a_marker(
    spec: KernelSpec, store: Store, progress: Progress, make_app: MakeApp
) -> None:
    built = build.build(spec, store, progress)
    before = fingerprint(built.directory)
    image = link.link(built, make_app("int ukl_app_start(void) { return 1; }"), store, progress)
    assert "ukl_app_start" in symbols.read_map(image.system_map)
    assert image.bzimage.read_bytes().startswith(b"setup\n")
    assert image.marker is not None
    assert image.marker.read_bytes() == symbols.marker("app", image.build_id)
    assert len(image.build_id) == 20
    assert not (image.directory / "work").exists()
    assert fingerprint(built.directory) == before, "the link wrote into the cached objects"


def test_a_second_link_of_the_same_starts_nothing(
    spec: KernelSpec, store: Store, progress: Progress, make_app: MakeApp
) -> None:
    built = build.build(spec, store, progress)
    app = make_app("int ukl_app_start(void) { return 1; }")
    with recording() as first_time:
        first = link.link(built, app, store, progress)
    with recording() as second_time:
        assert link.link(built, app, store, progress) == first
    assert first_time.commands
    assert second_time.commands == []


def test_a_cache_that_was_moved_still_links(
    spec: KernelSpec, tmp_path: Path, progress: Progress, make_app: MakeApp
) -> None:
    first = build.build(spec, Store(tmp_path / "one"), progress)
    (tmp_path / "one").rename(tmp_path / "two")
    store = Store(tmp_path / "two")
    built = build.build(spec, store, progress)
    assert built.key == first.key
    image = link.link(built, make_app("int ukl_app_start(void) { return 1; }"), store, progress)
    assert image.vmlinux.is_file()
    assert not (tmp_path / "one").exists()


def test_a_changed_application_gives_another_image(
    spec: KernelSpec, store: Store, progress: Progress, make_app: MakeApp
) -> None:
    built = build.build(spec, store, progress)
    one = link.link(built, make_app("int ukl_app_start(void) { return 1; }"), store, progress)
    two = link.link(built, make_app("int ukl_app_start(void) { return 2; }"), store, progress)
    assert one.build_id != two.build_id


def test_without_an_application_it_is_the_plain_kernel(
    spec: KernelSpec, store: Store, progress: Progress
) -> None:
    built = build.build(spec, store, progress)
    image = link.link(built, None, store, progress)
    assert image.marker is None
    assert "ukl_app_start" not in symbols.read_map(image.system_map)
    assert image.bzimage.is_file()


def test_undefined_symbols_are_named_with_their_origin(
    spec: KernelSpec, store: Store, progress: Progress, make_app: MakeApp
) -> None:
    built = build.build(spec, store, progress)
    app = make_app(
        "extern int absent(void); static __attribute__((noinline)) int serve(void)"
        "{ return absent() + 1; } int ukl_app_start(void) { return serve(); }"
    )
    with pytest.raises(InputError, match=r"absent \(in serve\)"):
        link.link(built, app, store, progress)
    assert not left_over(store.root)


def test_data_without_room_is_refused_before_linking(
    spec: KernelSpec, store: Store, progress: Progress, make_app: MakeApp
) -> None:
    built = build.build(spec, store, progress)
    app = make_app("int ukl_app_start;", facts=replace(FACTS, bss_size=built.data_limit + 1))
    with pytest.raises(InputError, match=str(built.data_limit)):
        link.link(built, app, store, progress)


def test_a_weak_name_of_the_kernel_is_refused(
    spec: KernelSpec, store: Store, progress: Progress, make_app: MakeApp
) -> None:
    built = build.build(spec, store, progress)
    app = make_app("int ukl_app_start;", facts=replace(FACTS, weak_undefined=("kernel_only",)))
    with pytest.raises(InputError, match="kernel_only"):
        link.link(built, app, store, progress)


# --- two at once, Ctrl-C, full disk ------------------------------------------------


SCRIPT = """
import sys
import time
from pathlib import Path
from ukl.host.store import Store
from ukl.kernel import build, link
from ukl.base.model import AppObject, KernelSource, KernelSpec, ObjectFacts
from ukl.base.progress import Progress, Stage
toy, series, config, cache, app, name = sys.argv[1:7]
options = dict(word.split("=") for word in sys.argv[7:])
spec = KernelSpec(KernelSource(Path(toy), "6.12.999", "t"), Path(series), (Path(config),), options)
store = Store(Path(cache))
built = build.build(spec, store, Progress.quiet())
facts = ObjectFacts(0, 0, 0, 0, 0, 1, (), (), 0)
object = AppObject(name, Path(app), Path(app), facts, Path(app).name)
print(link.link(built, object, store, Progress.quiet()).vmlinux)
"""


def start(
    spec: KernelSpec, cache: Path, app: AppObject, *options: str, **env: str
) -> subprocess.Popen[str]:
    """Build and link in a process of its own."""
    paths = [spec.source.directory, spec.series, spec.fragments[0], cache, app.path, app.name]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, paths), *options],
        env={**os.environ, "PYTHONPATH": str(TOP / "src"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_at_once_build_once_and_get_the_same(
    spec: KernelSpec, tmp_path: Path, make_app: MakeApp
) -> None:
    app = make_app("int ukl_app_start(void) { return 1; }")
    other = make_app("int ukl_app_start(void) { return 3; }", name="other")
    cache = tmp_path / "cache"
    running = [start(spec, cache, which) for which in (app, app, other)]
    paths = []
    for process in running:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        paths.append(Path(out.strip()))
    assert paths[0] == paths[1] != paths[2]
    assert all(path.is_file() for path in paths)
    assert len(list((cache / "kernel").iterdir())) == 1
    assert not left_over(cache)


def test_ctrl_c_leaves_no_process_and_nothing_half_made(
    spec: KernelSpec, tmp_path: Path, make_app: MakeApp
) -> None:
    app = make_app("int ukl_app_start(void) { return 1; }")
    makefile = spec.source.directory / "Makefile"
    started = tmp_path / "started"
    makefile.write_text(makefile.read_text().replace("$(TOY_SIGNAL)", str(started)))
    cache = tmp_path / "cache"
    process = start(spec, cache, app, "TOY_SLOW=y")
    eventually_of(process, started.exists)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    # The objects stay, from which the next build goes on.
    assert [each.suffix for each in left_over(cache)] == [".objects"]
    assert list((cache / "kernel").iterdir()) == []
    assert list((cache / "tree").iterdir()) != []
    assert not [line for line in command_lines() if str(cache) in line]


def command_lines() -> list[str]:
    """Return the command lines of all processes."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            lines.append(file.read_text(errors="replace").replace("\0", " "))
    return lines


@pytest.mark.parametrize("size", ["16k", "40k", "80k", "120k"])  # the tree, the objects, the link
def test_a_full_disk_is_said_and_nothing_half_made_stays(
    spec: KernelSpec, tmp_path: Path, make_app: MakeApp, size: str
) -> None:
    app = make_app("int ukl_app_start(void) { return 1; }")
    small = tmp_path / "small"
    small.mkdir()
    process = start(spec, small / "cache", app)  # only to have the argument list
    process.kill()
    process.communicate()
    shutil.rmtree(small / "cache", ignore_errors=True)
    inside = f'mount -t tmpfs -o size={size} none "$0" && "$@"; s=$?; '
    inside += 'echo LEFT; find "$0" -name ".*.tmp"'
    argv = ["unshare", "-rm", "sh", "-c", f"{inside} >&2; exit $s", str(small)]
    assert isinstance(process.args, list)
    done = subprocess.run(
        [*argv, *process.args],
        env={**os.environ, "PYTHONPATH": str(TOP / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"cannot mount a small file system: {done.stderr.splitlines()[0]}")
    assert done.returncode != 0
    assert "no space left on the file system" in done.stderr
    assert done.stderr.partition("LEFT\n")[2] == ""
