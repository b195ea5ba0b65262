# SPDX-License-Identifier: GPL-2.0
"""Parses the arguments of a compiler driver and changes them. Pure.

Sources of the option lists: "Option Summary" of the GCC manual, and `clang --help`.
Imports only what imports nothing: it runs at every compilation.
"""

from ukl.base.cflags import CANARY, KERNEL_MODEL, NO_LTO, NO_RED_ZONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WITH_VALUE = frozenset(
    "-o -I -L -D -U -B -T -u -z -e -l -x -A -MF -MT -MQ -include -imacros -isystem -idirafter "
    "-iprefix -iquote -isysroot -iwithprefix -iwithprefixbefore -imultilib -imultiarch "
    "-aux-info -Xlinker -Xassembler -Xpreprocessor -Xclang -Xarch_host -wrapper --param "
    "-dumpbase -dumpdir -dumpbase-ext --sysroot -target --target -arch -mllvm "
    "-include-pch -cxx-isystem -ivfsoverlay -iwithsysroot -gcc-toolchain -resource-dir "
    "--output --include-directory -rpath -Tbss -Tdata -Ttext -h -fplugin -G "
    "-working-directory".split()
)
"""Options whose value may be the next word."""

_QUERIES = frozenset(
    "--version --help --target-help -dumpmachine -dumpversion -dumpfullversion -dumpspecs "
    "-cc1 -cc1as -m32 -mx32 -m16".split()
)
"""Queries, and options for code of another processor mode: the wrapper changes nothing."""

_NO_LINK = frozenset("-c -S -E -M -MM -fsyntax-only --compile --assemble --preprocess".split())

_PIC = {
    "-fPIC": True,
    "-fpic": True,
    "-fno-pic": False,
    "-fno-PIC": False,
    "-fPIE": False,
    "-fpie": False,
    "-fno-pie": False,
    "-fno-PIE": False,
}
"""The last of these decides whether the code is for a shared object."""

_SHARED = frozenset(
    "-shared --shared -Wl,-shared -Wl,-Bshareable -r -Wl,-r --relocatable -Wl,--relocatable "
    "-Wl,-i -dynamiclib".split()
)
"""Links whose result is not a program."""

_DROPPED = frozenset(
    "-pie --pie -Wl,-pie -Wl,--pie -static-pie --static-pie -fwhole-program-vtables "
    "-fsplit-lto-unit -fno-split-lto-unit".split()
)
"""Options that make another kind of program, or require LTO."""

_SOURCES = frozenset(
    "c cc cp cpp cxx c++ C CPP CC i ii s S sx m mm M mi mii f for ftn f90 f95 f03 f08 F FOR "
    "F90 d ads adb go ll bc h hh hpp hxx H".split()
)
_HEADERS = frozenset("h hh hpp hxx h++ H tcc".split())


class Invocation:
    """What a compiler is asked to do."""

    __slots__ = ("headers", "language", "links", "objects", "pic", "program", "query", "sources")

    def __init__(self) -> None:
        self.query = False
        """Whether it only prints information, or makes code that the wrapper leaves alone."""
        self.links = True
        self.program = True
        self.pic = False
        self.sources = False
        self.objects = False
        self.headers = True
        self.language = ""

    def file(self, word: str) -> None:
        """Add an input."""
        suffix = word.rpartition(".")[2] if "." in word else ""
        if self.language or word == "-" or suffix in _SOURCES:
            self.sources = True
            is_header = self.language.endswith("-header") or suffix in _HEADERS
            self.headers = self.headers and is_header
        else:
            self.objects = True

    def option(self, word: str) -> None:
        """Add an option whose value, if it has one, is in the same word."""
        if word in _NO_LINK:
            self.links = False
        elif word in _SHARED:
            self.program = False
        elif word in _PIC:
            self.pic = _PIC[word]
        elif word.startswith("-l"):
            self.objects = True
        elif word.startswith("-x"):
            self.language = "" if word == "-xnone" else word[2:]
        elif word in _QUERIES or word.startswith(("-print-", "--print-", "--help=")):
            self.query = True
        elif word.startswith("--target="):
            self.query = self.query or not word.startswith("--target=x86_64")

    def pair(self, word: str, value: str) -> None:
        """Add an option whose value is the next word."""
        if word == "-x":
            self.language = "" if value == "none" else value
        elif word == "-l":
            self.objects = True
        elif word == "-Xlinker" and value in {"-shared", "-Bshareable", "-r"}:
            self.program = False
        elif word in {"-target", "--target"} and not value.startswith("x86_64"):
            self.query = True


def parse(words: "Sequence[str]") -> Invocation:
    """Parse the arguments, with response files expanded."""
    invocation = Invocation()
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word in _WITH_VALUE:
            invocation.pair(word, words[position] if position < len(words) else "")
            position += 1
        elif word[:1] != "-" or word == "-":
            invocation.file(word)
        else:
            invocation.option(word)
    if invocation.sources and invocation.headers and not invocation.objects:
        invocation.links = False  # a precompiled header
    if not invocation.sources and not invocation.objects:
        invocation.query = True  # `gcc -v`
    return invocation


def dropped(word: str) -> bool:
    """Whether an argument is removed."""
    return word in _DROPPED or word.startswith("-flto")


def plan(
    words: "Sequence[str]",
    *,
    clang: bool,
    linkers: str,
    read: "Callable[[str], str | None]",
    more: "Sequence[str]" = (),
) -> "tuple[list[str], bool]":
    """Return the compiler's arguments, and whether it will link a program.

    `linkers` is the directory where the compiler finds the linker wrapper; `read` returns
    the text of a response file, or None if the file does not exist. `more` are options to
    add when something is compiled or linked.
    """
    full = expand(words, read)
    invocation = parse(full)
    if invocation.query:
        return list(words), False
    kept = [word for word in full if not dropped(word)]
    # Keep a response file unless an option in it is removed: the command line may be too long.
    result = kept if len(kept) != len(full) else list(words)
    if invocation.sources or not clang:
        # clang warns about compile options when it only links.
        result += [*NO_RED_ZONE, *CANARY, *NO_LTO, *more]
        if not invocation.pic and (invocation.program or not invocation.links):
            result += KERNEL_MODEL
    if not (invocation.links and invocation.program):
        return result, False
    # -B comes first: an earlier -B of the caller would find another linker.
    # With -static, clang does not make a PIE, and warns about an unused -no-pie.
    return [f"-B{linkers}/", *result, *(() if clang else ("-no-pie",)), "-static"], True


def expand(words: "Sequence[str]", read: "Callable[[str], str | None]") -> "list[str]":
    """Return the arguments with response files (`@FILE`) replaced by their contents."""
    if not any(word[:1] == "@" for word in words):
        return list(words)
    result: list[str] = []
    for word in words:
        text = read(word[1:]) if word[:1] == "@" else None
        if text is None:
            result.append(word)
        else:
            result += expand(split(text), read)
    return result


def split(text: str) -> "list[str]":
    """Return the words of a response file, as libiberty's buildargv() does."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    escaped = False
    for char in text:
        if escaped:
            word, escaped = (word or "") + char, False
        elif char == "\\" and quote != "'":
            word, escaped = word or "", True
        elif quote:
            if char == quote:
                quote = ""
            else:
                word = (word or "") + char
        elif char in "'\"":
            word, quote = word or "", char
        elif char.isspace():
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + char
    return words if word is None else [*words, word]
