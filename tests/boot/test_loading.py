# SPDX-License-Identifier: GPL-2.0
"""A program that is linked into the kernel loads shared objects, and makes code, if it may."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import AppSpec, Code, Guest, Outcome
from ukl.settings import manifest
from ukl.vm.launch import Options

GCONV = Path("/usr/lib/x86_64-linux-gnu/gconv")
COMPAT = Path("/lib/x86_64-linux-gnu/libnss_compat.so.2")

PLUGIN = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int plug(int x)
{
	unsigned long cs;
	char *text = malloc(32);

	asm volatile("mov %%cs, %0" : "=r" (cs));
	snprintf(text, 32, "plug-in at CPL %lu: %.0f", cs & 3, cbrt(x));
	puts(text);
	fflush(stdout);
	free(text);
	return 0;
}
"""

SOURCE = r"""
#include <dlfcn.h>
#include <iconv.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static void load(void)
{
	void *plugin = dlopen("/plugins/plug.so", RTLD_NOW);
	int (*plug)(int) = plugin ? (int (*)(int))dlsym(plugin, "plug") : NULL;

	if (!plug) {
		printf("dlopen: %s\n", dlerror());
		return;
	}
	printf("returned %d\n", plug(27));
	printf("closed %d\n", dlclose(plugin));
}

static void convert(void)
{
	char in[] = "\xe2\x82\xac", out[8] = "", *from = in, *to = out;
	size_t left = 3, room = sizeof(out);
	iconv_t euro = iconv_open("ISO-8859-15", "UTF-8");

	if (euro == (iconv_t)-1) {
		perror("iconv_open");
		return;
	}
	left = iconv(euro, &from, &left, &to, &room);
	printf("converted %zu: %02x\n", left, out[0] & 0xff);
}

static void look_up(void)
{
	struct passwd *found = getpwnam("root");

	printf("home %s\n", found ? found->pw_dir : "unknown");
}

static void generate(void)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(at, code, sizeof(code));
	if (mprotect(at, 4096, PROT_READ | PROT_EXEC))
		perror("mprotect");
	else
		printf("made code: %d\n", ((int (*)(void))at)());
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	for (; *++argv;) {
		if (!strcmp(*argv, "load"))
			load();
		else if (!strcmp(*argv, "convert"))
			convert();
		else if (!strcmp(*argv, "look-up"))
			look_up();
		else
			generate();
	}
	return 3;
}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> AppSpec:
    """The program and its files; what the shared objects among them need comes by itself."""
    top = tmp_path_factory.mktemp("loading")
    (top / "loading.c").write_text(SOURCE)
    (top / "plug.c").write_text(PLUGIN)
    (top / "nsswitch.conf").write_text("passwd: compat\n")
    (top / "plugins").mkdir()
    words = ["-shared", "-fPIC", "plug.c", "-o", "plugins/plug.so", "-lm"]
    subprocess.run(["gcc", *words], check=True, cwd=top)
    files = {
        "/plugins": top / "plugins",
        "/etc/nsswitch.conf": top / "nsswitch.conf",
        **{f"{GCONV}/{file.name}": file for file in GCONV.glob("gconv-modules*")},
        f"{GCONV}/ISO8859-15.so": GCONV / "ISO8859-15.so",
        str(COMPAT): COMPAT,
    }
    return replace(manifest.load(top / "loading.c"), files=files, code=Code.FILES)


@pytest.fixture(scope="module")
def built(lab: Lab, spec: AppSpec) -> Built:
    return lab.build(spec)


@pytest.mark.parametrize("user", [False, True], ids=["unikernel", "process"])
def test_shared_objects(lab: Lab, built: Built, user: bool) -> None:
    options = Options(Guest(mode=mode_of(user)))
    ran = lab.run(built, "look-up", "convert", "load", options=options)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 3), ran.text
    assert ran.lines[-5:] == [
        "home /root",
        "converted 0: a4",
        f"plug-in at CPL {3 * user}: 3",
        "returned 0",
        "closed 0",
    ]


def test_made_code_has_to_be_allowed(lab: Lab, spec: AppSpec, built: Built) -> None:
    assert "mprotect: Permission denied" in lab.run(built, "generate").lines
    allowed = lab.build(replace(spec, name="generating", code=Code.JIT))
    assert "made code: 42" in lab.run(allowed, "generate").lines


def test_shared_objects_have_to_be_allowed(lab: Lab, spec: AppSpec) -> None:
    without = lab.build(replace(spec, name="without", code=Code.NONE))
    ran = lab.run(without, "load")
    assert ran.result.outcome is not Outcome.EXITED or "returned" not in ran.text, ran.text
