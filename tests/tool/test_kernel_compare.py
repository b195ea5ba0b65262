# SPDX-License-Identifier: GPL-2.0
"""Comparing object code: what differs is found, by name, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.host.exec import run
from ukl.kernel import compare

CODE = """
extern int other(int);
static int table[] = { 1, 2, 3 };
static __attribute__((noinline)) int first(int x) { return other(x) + GROWN; }
static __attribute__((noinline)) int second(int x)
{
	static int calls;
	return first(x) * 3 + calls++;
}
int third(int x)
{
	switch (x) {
	case 0: return second(1);
	case 1: return second(7);
	case 2: return other(4);
	case 3: return table[x] + 9;
	case 4: return first(3);
	}
	return table[x & 1]++;
}
int (*pointer)(int) = second;
const char text[] = TEXT;
extern int say(const char *);
int fourth(void) { return say(SAID); }
asm(".section __bug_table, \\"aw\\"\\n.long 1b - ., 2f - .\\n.word " LINE ", 0\\n.previous\\n"
    ".text\\n1: nop\\n2: nop\\n");
asm(".section .initcall4.init, \\"a\\"\\n.long 0\\n"
    "__initcall__kmod_a__7_" LINE "_start4: .long fourth - .\\n"
    ".section .altinstr_replacement, \\"ax\\"\\ncall other\\n.text\\n");
"""


def read(
    directory: Path,
    *,
    grown: str = "1",
    text: str = '"same"',
    line: str = "10",
    said: str = "a word",
) -> dict[str, list[str]]:
    source, output = directory / "a.c", directory / "a.o"
    code = CODE.replace("1b - .", "third - .").replace("2f - .", "text - .")
    source.write_text(code)
    values = [f"-DGROWN={grown}", f"-DTEXT={text}", f'-DLINE="{line}"', f'-DSAID="{said}"']
    run(["gcc", "-O2", "-fno-pic", "-mcmodel=kernel", "-c", *values, source, "-o", output])
    return compare.read(output)


def places(old: dict[str, list[str]], new: dict[str, list[str]]) -> list[str]:
    return [found.place for found in compare.differences("a.o", old, new, {})]


def test_the_same_is_the_same_whatever_the_line(tmp_path: Path) -> None:
    old = read(tmp_path)
    assert {"first (.text)", "second (.text)", "third (.text)"} < set(old)
    assert any(name.startswith("__bug_table") for name in old)
    assert places(old, read(tmp_path, line="1234")) == []


def test_a_function_that_grows_is_the_only_difference(tmp_path: Path) -> None:
    new = read(tmp_path, grown="(x > 7 ? other(other(x) * x) : 12345678)")
    assert places(read(tmp_path), new) == ["first (.text)"]


def test_data_that_changes_is_found(tmp_path: Path) -> None:
    assert places(read(tmp_path), read(tmp_path, text='"else"')) == [".rodata"]


def test_a_string_is_part_of_the_function_that_refers_to_it(tmp_path: Path) -> None:
    old = read(tmp_path, said="../../../source/0f/linux/a.c")
    assert places(old, read(tmp_path, said="another")) == ["fourth (.text)"]
    # Where the tree is does not count.
    assert places(old, read(tmp_path, said="../../../tree/12/linux/a.c")) == []
    # What CONFIG_FORTIFY_SOURCE says of a copy, with the line
    field = read(tmp_path, said='field \\"p->a\\" at ../../../source/34/linux/a.c:5')
    moved = read(tmp_path, said='field \\"p->a\\" at ../../../tree/12/linux/a.c:17')
    assert places(field, moved) == []
    other = read(tmp_path, said='field \\"p->b\\" at ../../../tree/12/linux/a.c:17')
    assert places(field, other) != []


def test_a_string_that_has_a_label_is_compared_by_its_bytes(tmp_path: Path) -> None:
    def made(text: str) -> dict[str, list[str]]:
        (tmp_path / "b.s").write_text(
            '.section .rodata.str1.1, "aMS", @progbits, 1\n.LC0:\n.string "other"\n'
            f'.LC1:\n.string "{text}"\n.section __bug_table, "aw"\n.long .LC1 - .\n'
        )
        # As for objtool: labels stay in the symbol table.
        run(["as", "-L", tmp_path / "b.s", "-o", tmp_path / "b.o"])
        return compare.read(tmp_path / "b.o")

    assert places(made("one"), made("one")) == []
    assert places(made("one"), made("two")) == ["__bug_table"]


def test_what_is_justified_has_its_reason() -> None:
    old = {"f (.text)": ["ret"], "g (.text)": ["ret"]}
    new = {"f (.text)": ["nop", "ret"], "g (.text)": ["ret"], ".data": ["00"]}
    found = compare.differences("a.o", old, new, {"f (.text)": "meant"})
    assert [(each.place, each.why) for each in found] == [(".data", ""), ("f (.text)", "meant")]
    assert compare.Comparison(1, (found[1],), ()).is_good
    assert not compare.Comparison(1, tuple(found), ()).is_good
    assert not compare.Comparison(1, (), ("a.o: f",)).is_good


def test_a_plan_that_cannot_be_read_is_an_error_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / compare.FILENAME
    for content in ("objects = 3", "", 'objects = ["a.o"]\n[[difference]]\nobjects = ["a.o"]\n'):
        file.write_text(content)
        with pytest.raises(InputError) as caught:
            compare.load(file)
        assert caught.value.where == str(file)
    file.write_text(
        'objects = ["a.o"]\n[[difference]]\nobjects = ["a.o"]\nplaces = ["f"]\nwhy = "so"\n'
    )
    assert compare.load(file).justified == {"a.o": {"f": "so"}}
