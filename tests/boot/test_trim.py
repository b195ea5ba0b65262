# SPDX-License-Identifier: GPL-2.0
"""What of the base configuration a program's work uses, seen from outside; nothing is built."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

import pytest

from tests.boot.harness import Built, Lab
from tests.conftest import TOP
from ukl.base.model import AppSpec
from ukl.flow import trimming, workload
from ukl.flow.bootable import link_map, linked
from ukl.flow.workload import Bench
from ukl.kernel import kconfig
from ukl.settings import manifest
from ukl.trim import linkmap
from ukl.trim.decide import Seen, Why
from ukl.trim.reach import holds

PYTHON = shlex.quote(sys.executable)
ECHO = f"cd {shlex.quote(str(TOP))} && {PYTHON} -m tests.boot.echo_client $PORT"


@pytest.fixture
def bench(lab: Lab) -> Bench:
    return Bench(lab.context)


def misread(lab: Lab, spec: AppSpec, other: AppSpec) -> list[str]:
    """Return the objects of one kernel of which the Makefiles, as read, say wrongly whether
    the other kernel has them, too."""
    made = linked(spec, lab.context)
    kernel = made.kernel
    smaller = linked(other, lab.context).kernel
    with link_map(made, lab.context).open() as stream:
        names = {piece.object for piece in linkmap.parse(stream).pieces}
    objects = {name for name in names if name[0] not in "./"}  # not the application's
    config = kconfig.read((smaller.directory / "objects/.config").read_text())
    read = trimming.makefiles(kernel.source)
    built = {name for name in objects if (smaller.directory / "objects" / name).exists()}
    said = {name for name in objects if any(holds(each, config) for each in read.conditions(name))}
    assert 500 < len(built) < len(objects) - 100
    return sorted(built ^ said)


@pytest.mark.timeout(1800)  # it may be the first that builds the second kernel
def test_the_makefiles_are_read_rightly(lab: Lab, hello: Built) -> None:
    spec = manifest.resolve("hello")
    assert misread(lab, spec, replace(spec, profile="tiny")) == []


@pytest.mark.timeout(900)
def test_hello_uses_next_to_nothing(bench: Bench, hello: Built) -> None:
    spec = manifest.resolve("hello")
    report = trimming.trim(spec, workload.chosen(spec, None, bench), bench, builds=0)
    assert not report.proved
    kept = {each.option: each for each in report.proposal.kept}
    gone = {each.option: each for each in report.proposal.gone}
    # Interrupts, timers and the set-up of interfaces run through all of these, for nobody.
    assert {"NET", "INET", "IPV6", "UNIX", "BLOCK", "EXT4_FS", "IO_URING", "9P_FS"} <= set(gone)
    assert gone["IO_URING"].seen is Seen.BOOT
    assert gone["EXT4_FS"].size > 100_000
    assert gone["SECCOMP_FILTER"].seen is Seen.FOLLOWS
    assert kept["TTY"].why is Why.NEEDED
    assert kept["VMAP_STACK"].why is Why.PROTECTION
    assert kept["KVM_GUEST"].why is Why.MACHINE
    assert report.options["NET"] == "n"
    assert hello.image.bzimage.stat().st_size == report.before.bzimage


@pytest.mark.timeout(900)
def test_an_echo_server_uses_what_its_client_makes_it_use(bench: Bench, echo: Built) -> None:
    spec = manifest.resolve("tcp-echo")
    report = trimming.trim(spec, workload.chosen(spec, f"{ECHO} 3 3 100", bench), bench, builds=0)
    kept = {each.option: each for each in report.proposal.kept}
    for option in ("EPOLL", "SIGNALFD", "IPV6"):  # it listens on both protocols
        assert kept[option].why is Why.REACHED, option
    for option in ("NET", "INET", "VIRTIO_NET"):  # whatever was seen: its ports are forwarded
        assert kept[option].why is Why.NEEDED, option
    gone = report.proposal.names
    assert {"EXT4_FS", "IO_URING", "UNIX", "PACKET", "AIO", "INOTIFY_USER"} <= gone
    assert not {"TTY", "PROC_FS", "VIRTIO_CONSOLE"} & gone
