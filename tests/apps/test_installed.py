# SPDX-License-Identifier: GPL-2.0
"""The suites of the recipes, against the programs of Debian's binary packages, as they are.

The packages are unpacked into the cache; nothing is installed. Each suite runs against the program
in ring 0 and as a normal process, and no test may differ.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab, mode_of
from tests.conftest import OPTIONAL
from ukl.base.model import AppSpec, Code, Disk, Guest, Mode, Outcome, SuiteSpec
from ukl.flow import compare
from ukl.flow.bootable import bootable, prepared
from ukl.recipe import build as recipe_build
from ukl.recipe import newest
from ukl.settings import manifest
from ukl.vm.launch import Options

LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Server:
    """A program of Debian: its packages, and where it is. `files` are further files of these,
    path in the guest -> path in the packages; `args` follow those of the recipe. With `quick`
    only that part of the recipe's suite runs."""

    packages: tuple[str, ...]
    program: str
    files: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    quick: bool = False


POSTGRES = "usr/lib/postgresql/15"

SERVERS = {
    "redis": Server(
        ("redis-server", "redis-tools", "libjemalloc2", "liblzf1"), "usr/bin/redis-server"
    ),
    "memcached": Server(("memcached",), "usr/bin/memcached"),
    "nginx": Server(
        ("nginx", "nginx-common"),
        "usr/sbin/nginx",
        {"/var/lib/nginx": "var/lib/nginx"},
        ("-g", "pcre_jit on;"),
    ),
    "sqlite": Server(("sqlite3",), "usr/bin/sqlite3"),
    "postgres": Server(
        (
            *("postgresql-15", "libpq5", "libllvm14", "libz3-4", "libedit2", "libbsd0", "libmd0"),
            *("libicu72", "libxml2", "libldap-2.5-0", "libsasl2-2", "libgssapi-krb5-2"),
            *("libkrb5-3", "libk5crypto3", "libkrb5support0", "libkeyutils1", "tzdata"),
        ),
        f"{POSTGRES}/bin/postgres",
        {
            "/bin/initdb": f"{POSTGRES}/bin/initdb",
            f"/{POSTGRES}/lib": f"{POSTGRES}/lib",
            "/usr/share/postgresql/15": "usr/share/postgresql/15",
            "/usr/share/zoneinfo": "usr/share/zoneinfo",
        },
        # LLVM compiles what is not trivial.
        ("-c", "jit_above_cost=1000"),
        quick=True,
    ),
}


def unpacked(lab: Lab, name: str, packages: tuple[str, ...]) -> Path:
    """Return a directory with the files of Debian packages; skips where they cannot be had."""
    if shutil.which("apt-get") is None:
        pytest.skip(f"{OPTIONAL} not a Debian system")
    top = lab.store.own("debian-packages") / name
    if not top.is_dir():
        made = top.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for package in packages:
            got = subprocess.run(
                ["apt-get", "-q", "download", package], cwd=made, capture_output=True, check=False
            )
            if got.returncode != 0:
                pytest.skip(f"{OPTIONAL} {package} could not be downloaded")
        for file in sorted(made.glob("*.deb")):
            subprocess.run(["dpkg", "-x", file, made], check=True)
            file.unlink()
        made.rename(top)
    return top


def libraries(top: Path) -> dict[str, Path]:
    """Return the shared objects of unpacked packages: path in the guest -> file.

    Each is there once, by its shortest name, which is the one that others ask for.
    """
    found: dict[Path, Path] = {}
    for file in sorted((top / LIBRARIES).glob("lib*.so.*"), key=lambda each: len(each.name)):
        found.setdefault(file.resolve(), file)
    return {f"/{LIBRARIES}/{file.name}": file for file in found.values()}


def installed(lab: Lab, spec: AppSpec, server: Server, version: str = "") -> AppSpec:
    """Return the recipe with the packages' program in the place of its own.

    `version` is that of the first package; empty: the newest one.
    """
    assert spec.suite is not None
    first, *others = server.packages
    packages = (f"{first}={version}" if version else first, *others)
    top = unpacked(lab, f"{spec.name}-{version}" if version else spec.name, packages)
    more = {guest: top / path for guest, path in server.files.items()}
    return replace(
        spec,
        build=None,
        program=top / server.program,
        files={**libraries(top), **spec.files, **spec.suite.files, **more},
        args=(*spec.args, *server.args),
        code=Code.JIT,
    )


def built_tree(lab: Lab, spec: AppSpec) -> Path:
    """Return the built source of a recipe, in which its suite runs."""
    assert spec.build is not None
    return recipe_build.tree_of(prepared(spec, lab.context), spec.build)


def compared(lab: Lab, spec: AppSpec, suite: SuiteSpec, tree: Path, *, quick: bool = False) -> None:
    """Run a suite against a program in both modes; fail unless all passes in both."""
    made = bootable(spec, lab.context, Guest(mode=Mode.PROCESS))
    assert made.spec.executable
    runner = compare._Lab(made, suite, lab.context, quick=quick, watch=None)
    results = {
        mode: runner.runs(mode) if suite.runs else runner.commands(mode, tree) for mode in Mode
    }
    found = compare.Comparison(f"{spec.name} as it is", results)
    text = "\n".join(compare.table(found))
    print(text)
    assert found.is_good, text


def postgres(lab: Lab, spec: AppSpec, tree: Path, directory: Path) -> AppSpec:
    """Return PostgreSQL of the version that its tests are of, with their module.

    The tests compare messages, which change from one version to the next. No package has the
    module.
    """
    version = recipe_build.source_version(tree)["SOURCE_VERSION"]
    found = installed(lab, spec, SERVERS["postgres"], version)
    module = directory / "regress.so"
    archive = tree / "src/test/regress/libregress.a"
    words = ["-shared", "-o", str(module), "-Wl,--whole-archive", str(archive)]
    subprocess.run(["gcc", *words, "-Wl,--no-whole-archive"], check=True)
    assert found.program is not None
    # It finds its other files from its own path.
    own = {f"/{POSTGRES}/bin/postgres": found.program, f"/{POSTGRES}/lib/regress.so": module}
    return replace(found, files={**found.files, **own}, memory=2 << 30)


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", SERVERS)
def test_suite(lab: Lab, tmp_path: Path, name: str) -> None:
    spec = newest.named(manifest.resolve(name))
    suite = spec.suite
    assert suite is not None
    tree = built_tree(lab, spec)
    if name == "postgres":
        program = postgres(lab, spec, tree, tmp_path)
        modules = f"MODULES=/{POSTGRES}/lib"
        suite = replace(suite, quick=tuple(f"{modules} {each}" for each in suite.quick))
    else:
        program = installed(lab, spec, SERVERS[name])
    compared(lab, program, suite, tree, quick=SERVERS[name].quick)


QUERY = "SELECT sum(each::bigint * each % 7) FROM generate_series(1, 200000) each"


@pytest.mark.timeout(1800)
def test_postgres_compiles_queries(lab: Lab, tmp_path: Path, user: bool) -> None:
    """LLVM compiles them, and pgbench reads from four connections at once."""
    spec = newest.named(manifest.resolve("postgres"))
    tree = built_tree(lab, spec)
    bin_ = tree / "src/bin"
    program = postgres(lab, spec, tree, tmp_path)
    made = bootable(program, lab.context, Guest(mode=mode_of(user)))
    disks = (Disk(tmp_path / "disk.img", "/data"),)
    built = Built(replace(made.spec, disks=disks), made.image, made.initrd)

    async def host(*words: str | Path) -> str:
        argv = [str(word) for word in words]
        done = await asyncio.to_thread(
            subprocess.run, argv, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    async def whole() -> None:
        options = Options(Guest(mode=mode_of(user), timeout=1500))
        async with lab.boot(built, *program.args, guest_port=5432, options=options) as guest:
            await guest.says("ready to accept connections", 900)
            where = ("-h", "127.0.0.1", "-p", str(guest.port), "-U", "postgres")
            psql = (bin_ / "psql/psql", "-XAtq", *where, "postgres", "-c")
            assert await host(*psql, QUERY) == "400001\n"
            shown = await host(*psql, f"EXPLAIN (ANALYZE) {QUERY}")
            assert re.search(r"JIT:\n\s*Functions: \d+\n", shown), shown
            pgbench = (bin_ / "pgbench/pgbench", *where)
            await host(*pgbench, "-i", "-q", "postgres")
            shown = await host(*pgbench, "-n", "-S", "-c4", "-j2", "-t", "100", "postgres")
            assert "number of transactions actually processed: 400/400" in shown, shown
            assert "number of failed transactions: 0 " in shown, shown
            assert (await guest.stop()).result.outcome is Outcome.STOPPED

    asyncio.run(whole())
