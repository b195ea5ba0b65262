# SPDX-License-Identifier: GPL-2.0
"""The final link's pure parts: checks, marker, build id, captured command."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ukl.base.errors import InputError, UklError
from ukl.base.model import AppObject, KernelBuild, ObjectFacts, Returns
from ukl.host.exec import CommandFailed
from ukl.kernel import link, make_args, symbols

KERNEL = {"__ukl_text_start": (0xFFFFFFFF82000000, "T"), "printk": (1, "T"), "helper": (2, "t")}
BUILD = KernelBuild("key", Path("/tree"), Path("/objects"), "6.12.117", 28 << 20)


def facts(weak: tuple[str, ...] = (), bss: int = 0) -> ObjectFacts:
    return ObjectFacts(
        text_size=1,
        rodata_size=10,
        data_size=20,
        bss_size=bss,
        tls_size=5,
        tls_align=8,
        imports=("ukl_syscall",),
        weak_undefined=weak,
        ifuncs=0,
    )


def test_an_ordinary_application_passes() -> None:
    link.check("app", facts(weak=("__gmon_start__", "helper")), BUILD, KERNEL)


def test_too_much_data_is_refused_with_both_numbers() -> None:
    with pytest.raises(InputError) as caught:
        link.check("app", facts(bss=30 << 20), BUILD, KERNEL)
    assert str((30 << 20) + 35) in caught.value.message
    assert str(28 << 20) in caught.value.message
    assert "PHYSICAL_START" in (caught.value.remedy or "")


def test_a_weak_name_that_the_kernel_has_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="printk"):
        link.check("app", facts(weak=("printk", "__gmon_start__")), BUILD, KERNEL)


def test_a_kernel_without_ukl_takes_no_application() -> None:
    with pytest.raises(InputError, match="CONFIG_UKL"):
        link.check("app", facts(), BUILD, {})


def test_the_marker_has_64_bytes_in_their_places() -> None:
    found = symbols.marker("tcp-echo", bytes(range(20)))
    assert len(found) == 64
    assert found[:8] == b"\x7fUKL\x01\0\0\0"
    assert found[8:40] == b"tcp-echo" + bytes(24)
    assert found[40:60] == bytes(range(20))
    assert found[60:] == bytes(4)


def test_a_marker_says_how_exceptions_return() -> None:
    plain = symbols.marker("tcp-echo", bytes(20))
    assert symbols.with_flags(plain, Returns.IRET) == plain
    assert symbols.with_flags(plain, Returns.RET) == plain[:60] + b"\1\0\0\0"


@pytest.mark.parametrize("name", ["", "x" * 32])
def test_a_name_that_does_not_fit_has_no_marker(name: str) -> None:
    with pytest.raises(UklError):
        symbols.marker(name, bytes(20))


def test_the_build_id_is_found_behind_other_notes(tmp_path: Path) -> None:
    xen = struct.pack("<III4sQ", 4, 8, 18, b"Xen\0", 0x1000)
    gnu = struct.pack("<III4s20s", 4, 20, 3, b"GNU\0", b"i" * 20)
    header = b"\177ELF\2\1" + bytes(26) + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, 1, 0, 0, 0)
    notes = xen + gnu
    table = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    (tmp_path / "vmlinux").write_bytes(header + table + notes)
    assert symbols.build_id(tmp_path / "vmlinux") == b"i" * 20
    (tmp_path / "vmlinux").write_bytes(header + table + xen + bytes(len(gnu)))
    with pytest.raises(UklError, match="no build id"):
        symbols.build_id(tmp_path / "vmlinux")


def test_the_room_for_data_ends_where_displacements_do(tmp_path: Path) -> None:
    (tmp_path / "System.map").write_text("ffffffff82000000 T __ukl_text_start\n")
    assert symbols.data_limit(tmp_path / "System.map") == 0x2000000 - 0x400000
    (tmp_path / "System.map").write_text("ffffffff82000000 T _stext\n")
    assert symbols.data_limit(tmp_path / "System.map") == 0


def test_the_link_command_is_read_from_kbuild() -> None:
    text = (
        'savedcmd_vmlinux := /src/scripts/link-vmlinux.sh "ld" "-m elf_x86_64 -z x" "-z y";'
        "  make -f /src/arch/x86/Makefile.postlink vmlinux\n\nsource_vmlinux := x\n"
    )
    first, behind = make_args.parse_link_command(text)
    assert first == ["/src/scripts/link-vmlinux.sh", "ld", "-m elf_x86_64 -z x", "-z y"]
    assert behind == ["make", "-f", "/src/arch/x86/Makefile.postlink", "vmlinux"]
    assert make_args.parse_link_command(text.partition(";")[0] + "; true\n")[1] == []
    with pytest.raises(UklError):
        make_args.parse_link_command("savedcmd_vmlinux := ld -o vmlinux\n")


def test_the_commands_of_a_kernel_with_an_unstripped_vmlinux_are_read() -> None:
    text = (
        "savedcmd_vmlinux.unstripped := /src/scripts/link-vmlinux.sh "
        '"ld" "-m elf_x86_64 -z x" "-z y" "vmlinux.unstripped"; true\n'
    )
    first, behind = make_args.parse_link_command(text, "vmlinux.unstripped")
    assert first[1:] == ["ld", "-m elf_x86_64 -z x", "-z y", "vmlinux.unstripped"]
    assert behind == []
    with pytest.raises(UklError):
        make_args.parse_link_command(text)
    strip = (
        "savedcmd_vmlinux := objcopy --set-section-flags '.rel*'=noload "
        "vmlinux.unstripped vmlinux; objcopy --remove-section='!.rel*.dyn' vmlinux\n"
    )
    assert make_args.parse_strip_commands(strip) == [
        ["objcopy", "--set-section-flags", ".rel*=noload", "vmlinux.unstripped", "vmlinux"],
        ["objcopy", "--remove-section=!.rel*.dyn", "vmlinux"],
    ]
    with pytest.raises(UklError):
        make_args.parse_strip_commands("savedcmd_vmlinux := cp vmlinux.unstripped vmlinux\n")
    recipe = make_args.LinkRecipe("/src", "/old", {}, first, [], [["objcopy", "/old/vmlinux"]])
    moved = recipe.for_directory(Path("/tree"), Path("/new")).commands()
    assert moved == [["/tree/scripts/link-vmlinux.sh", *first[1:]], ["objcopy", "/new/vmlinux"]]


def test_the_applications_replace_earlier_ones() -> None:
    before = "CONFIG_UKL=y\nCONFIG_UKL_APP=/old.o\nCONFIG_UKL_APP_NAME=old\nCONFIG_NET=y\n"
    kept = "CONFIG_UKL=y\nCONFIG_NET=y\n"
    one = link.set_applications(before, [([Path("/a/b.o")], "b")])
    assert one == kept + "CONFIG_UKL_APP=/a/b.o\nCONFIG_UKL_APP_NAME=b\n"
    others = [([Path("/a/b.o")], "b"), ([Path("/c.o"), Path("/d.o")], "c")]
    two = link.set_applications(before, others)
    assert two == kept + "CONFIG_UKL_APP=/a/b.o /c.o:/d.o\nCONFIG_UKL_APP_NAME=b c\n"
    with pytest.raises(InputError, match="white space"):
        link.set_applications(before, [([Path("/a b/c.o")], "b")])


def app(name: str, bss: int = 0) -> AppObject:
    return AppObject(name, Path(f"/{name}.o"), Path(f"/{name}"), facts(bss=bss), name)


def test_several_applications_share_the_room_for_data() -> None:
    link.check_all([app("a", 10 << 20), app("b", 10 << 20)], BUILD, KERNEL)
    with pytest.raises(InputError, match=r"a 15.0 MiB, b 15.0 MiB") as caught:
        link.check_all([app("a", 15 << 20), app("b", 15 << 20)], BUILD, KERNEL)
    assert "PHYSICAL_START" in (caught.value.remedy or "")


def test_two_applications_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="named `a`"):
        link.check_all([app("a"), app("b"), app("a")], BUILD, KERNEL)


LD = """\
  LD      .tmp_vmlinux1
ld: /c/app.o: in function `serve':
server.c:(.ukl.text+0x12): undefined reference to `tls_open'
ld: server.c:(.ukl.text+0x20): undefined reference to `tls_open'
ld: /c/app.o: in function `stop':
server.c:(.ukl.text+0x42): undefined reference to `tls_close'
"""


def test_undefined_symbols_are_named_with_who_wants_them() -> None:
    assert link.undefined(LD.splitlines()) == [("tls_open", "serve"), ("tls_close", "stop")]
    error = link.explain("app", CommandFailed(["ld"], 1, LD))
    assert isinstance(error, InputError)
    assert "tls_open (in serve); tls_close (in stop)" in error.message


def test_another_linker_error_is_shown_without_warnings() -> None:
    output = "ld: warning: x has a LOAD segment\nld: section .a overlaps section .b\n"
    error = link.explain("app", CommandFailed(["ld"], 1, output))
    assert error.message == "the final link of app failed: section .a overlaps section .b"


@pytest.mark.parametrize(("magic", "byte", "moves"), [(b"HdrS", 1, True), (b"HdrS", 0, False)])
def test_whether_a_kernel_is_moved(tmp_path: Path, magic: bytes, byte: int, moves: bool) -> None:
    head = bytearray(0x300)
    head[0x202:0x206] = magic
    head[0x234] = byte
    (tmp_path / "bzImage").write_bytes(head)
    assert symbols.is_relocatable(tmp_path / "bzImage") is moves


def test_of_what_is_no_bzimage_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(b"toy")
    assert symbols.is_relocatable(tmp_path / "bzImage")
