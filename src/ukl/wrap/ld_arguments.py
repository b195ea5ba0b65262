# SPDX-License-Identifier: GPL-2.0
"""Parses the arguments of ld, and chooses those of the static and of the partial link. Pure.

Source of the option list: ld --help of binutils 2.40, and the manuals of gold and lld.
Runs at every link of a build: imports nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LONG_VALUE = frozenset(
    "Map Tbss Tdata Tldata-segment Trodata-segment Ttext Ttext-segment assert audit auxiliary "
    "build-id-hash compress-debug-sections defsym demangle-style dependency-file depaudit "
    "dynamic-linker dynamic-list dynamic-list-cpp-new entry error-handling-script "
    "exclude-libs export-dynamic-symbol export-dynamic-symbol-list filter fini format gpsize "
    "hash-style image-base init just-symbols library library-path max-cache-size oformat "
    "orphan-handling output package-metadata plugin plugin-opt require-defined "
    "retain-symbols-file rpath rpath-link script section-start soname sort-section "
    "spare-dynamic-tags split-by-file split-by-reloc stats-file sysroot target-system "
    "task-link trace-symbol undefined unresolved-symbols version-exports-section "
    "version-script wrap dT default-script mri-script architecture threads thread-count "
    "thinlto-cache-dir lto-O opt-remarks-filename icf".split()
)
_OPTIONAL_VALUE = frozenset("threads compress-debug-sections icf build-id".split())
"""Options whose value, if any, follows after `=`."""

_LONG_FLAG = frozenset(
    "Bdynamic Bshareable Bstatic Bsymbolic Bsymbolic-functions EB EL Qy "
    "accept-unknown-input-arch add-needed add-shlib-undefined allow-multiple-definition "
    "allow-shlib-undefined as-needed build-id call_shared check-sections color-diagnostics "
    "copy-dt-needed-entries cref ctf-variables demangle disable-new-dtags dn dy dp dc "
    "discard-all discard-locals discard-none eh-frame-hdr emit-relocs enable-new-dtags "
    "end-group error-rwx-segments error-unresolved-symbols export-dynamic fatal-warnings "
    "force-group-allocation gc-keep-exported gc-sections gnu-unique help i "
    "ignore-unresolved-symbol no-add-needed no-as-needed no-check-sections "
    "no-copy-dt-needed-entries no-demangle no-dynamic-linker no-eh-frame-hdr "
    "no-export-dynamic no-gc-sections no-gnu-unique no-keep-memory "
    "no-ld-generated-unwind-info no-pie no-relax no-undefined no-warn-execstack "
    "no-warn-mismatch no-warn-rwx-segments no-whole-archive noinhibit-exec non_shared "
    "nostdlib omagic pic-executable pie pop-state print-gc-sections print-map "
    "print-memory-usage push-state r relax relocatable shared start-group start-lib end-lib "
    "static stats strip-all strip-debug strip-discarded target-help trace traditional unique "
    "ur verbose version warn-common warn-execstack warn-once whole-archive "
    "warn-unresolved-symbols warn-section-align x s S X d d t v V g N n q E M".split()
)
_SHORT_VALUE = "AabcefFGhILlmOoPRTuYyz"

_OPEN = frozenset(("start-group", "("))
_CLOSE = frozenset(("end-group", ")"))
_NO_PROGRAM = frozenset(
    "r i relocatable ur shared Bshareable help version v V target-help print-sysroot".split()
)
"""Options of links whose result is not a program."""

_DYNAMIC = frozenset("Bdynamic call_shared dy fatal-warnings pie pic-executable".split())
"""Options that a static link does not allow, or that make its warnings fatal."""

_KEPT = frozenset(
    "start-group end-group ( ) whole-archive no-whole-archive push-state pop-state"
    " allow-multiple-definition start-lib end-lib L library-path u undefined require-defined"
    " wrap defsym m sysroot b format R just-symbols Y".split()
)
"""Options that also apply to the partial link; files and -l do, too."""

_CRT = {
    # Position-dependent: cannot run in the top 2 GiB.
    "crtbeginT.o": "crtbeginS.o",
    "crtbegin.o": "crtbeginS.o",
    "crtend.o": "crtendS.o",
    "Scrt1.o": "crt1.o",
    "rcrt1.o": "crt1.o",
    "gcrt1.o": "gcrt1.o",
}

DEFAULT_PROBES = (
    # autoconf; CMake's try_compile; meson's sanity check and its checks.
    "conftest",
    "cmTC_*",
    "sanitycheck*.exe",
    "*/meson-private/*",
    "conftst",  # ocaml
    "_configtest",  # distutils
    "*/.conf_check_*",  # waf
    "*/.sconf_temp/*",  # scons
    "*/ffconf.*",  # ffmpeg
    "*/config-temp/*",  # qemu
    "*/objs/autotest",  # nginx
    # gcc's default output: no build keeps a program by that name.
    "a.out",
    # cargo's build scripts run only during the build.
    "*/build_script_build-*",
    "*/build_script_main-*",
    "*/build-script-build",
    "/dev/null",
)
"""Programs linked only to test whether they link: no object is made.

Shell patterns for the output: those with a slash match the whole path, the others its
last part. UKL_WRAP_SKIP adds more, separated by colons; UKL_WRAP_ALL=1 disables all.
"""


class Argument:
    """One option of ld with its value, or one file (`name` is then empty)."""

    __slots__ = ("name", "value", "words")

    def __init__(self, name: str, value: str, words: "list[str]") -> None:
        self.name = name
        self.value = value
        self.words = words


def parse(argv: "Sequence[str]") -> "Iterator[Argument]":
    """Yield the options and files of ld's arguments, with response files expanded.

    `argv` does not include the program's name.
    """
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if word[:1] != "-" or word == "-":
            yield Argument("", word, [word])
            continue
        name, equals, value = word.lstrip("-").partition("=")
        is_long = name in _LONG_VALUE or name in _LONG_FLAG or word[:2] == "--"
        if not is_long and word[1] in _SHORT_VALUE:
            name, value, equals = word[1], word[2:], word[2:]
            needs = True
        else:
            needs = name in _LONG_VALUE and name not in _OPTIONAL_VALUE
        words = [word]
        if needs and not equals and position < len(argv):
            value = argv[position]
            words.append(value)
            position += 1
        yield Argument(name, value, words)


class Link:
    """A link, as ld's arguments describe it."""

    __slots__ = ("items", "output", "program", "static")

    def __init__(self, argv: "Sequence[str]") -> None:
        self.items = list(parse(argv))
        self.output = "a.out"
        self.program = True
        self.static = False
        files = False
        for item in self.items:
            if item.name in ("o", "output"):
                self.output = item.value
            elif item.name in _NO_PROGRAM:
                self.program = False
            elif item.name == "static":
                self.static = True
            files = files or not item.name
        self.program = self.program and files


def static_arguments(
    link: Link,
    exists: "Callable[[str], bool]",
    needed: "Callable[[str], Sequence[str]]" = lambda library: (),
) -> "list[str]":
    """Return the arguments of the normal link of a static program.

    Options that ask for shared objects in spite of -static are removed. A shared object
    is replaced by the archive beside it. After a library come those that its archive may
    refer to: `needed` returns them.
    """
    result: list[str] = []
    depth = 0
    loose = False
    end = None
    for item in link.items:
        depth += (item.name in _OPEN) - (item.name in _CLOSE)
        if item.name in _DYNAMIC:
            continue
        if item.name in {"l", "library"} and item.value == "c" and not depth:
            loose = True
        if item.name == "" and item.value.rpartition("/")[2].startswith("crtend"):
            end = len(result)
        result += _static_input(item, exists)
        result += [f"-l{name}" for name in needed(library_of(item))]
    if loose and end is not None:
        # With -nodefaultlibs (rustc) the list is for libc.so, which needs no other library.
        result[end:end] = ["--start-group", "-lgcc", "-lgcc_eh", "-lc", "--end-group"]
    return result


def _static_input(item: Argument, exists: "Callable[[str], bool]") -> "list[str]":
    if item.name == "" and (archive := archive_of(item.value)) and exists(archive):
        return [archive]
    if item.name in ("l", "library"):
        if item.value == "gcc_s":  # has no archive; these two hold the same code
            return ["-lgcc_eh", "-lgcc"]
        if item.value[:1] == ":" and (archive := archive_of(item.value[1:])):
            return [f"-l:{archive}"]
    return item.words


def library_of(item: Argument) -> str:
    """Return the name of the library that an argument of ld adds, or ""."""
    if item.name in ("l", "library"):
        return item.value
    name = item.value.rpartition("/")[2] if item.name == "" else ""
    if name[:3] != "lib" or not (name[-2:] == ".a" or archive_of(name)):
        return ""
    return name[3:].removesuffix(".a").partition(".so")[0]


def archive_of(path: str) -> "str | None":
    """Return the name of a shared object's archive: libz.so.1.2 -> libz.a."""
    directory, slash, name = path.rpartition("/")
    stem, dot, version = name.partition(".so")
    if not dot or (version and not version.replace(".", "").isdigit()):
        return None
    return f"{directory}{slash}{stem}.a"


def partial_inputs(
    link: Link, crt: str, exists: "Callable[[str], bool]"
) -> "tuple[list[str], list[str]]":
    """Return the inputs of the partial link, and the options that do not apply to it.

    `crt` is ukl's start file. The compiler's start files are replaced by their
    position-independent variants.
    """
    kept: list[str] = []
    left_out: list[str] = []
    has_crt = False
    for item in link.items:
        if item.name == "":
            directory, slash, name = item.value.rpartition("/")
            if name in _CRT:
                kept.append(f"{directory}{slash}{_CRT[name]}")
            else:
                kept += _static_input(item, exists)
            if name.startswith("crtbegin") and not has_crt:
                kept.append(crt)
                has_crt = True
        elif item.name in ("l", "library"):
            kept += _static_input(item, exists)
        elif item.name in _KEPT or (item.name == "z" and item.value == "muldefs"):
            kept += item.words
        elif item.name not in ("o", "output"):
            left_out += item.words
    return (kept if has_crt else [crt, *kept]), left_out


_TEMPORARY = (
    # go build and go test move the program and delete its directory.
    "*/go-build*/exe/*",
    "*/go-build*/*.test",
    # What mktemp makes for a probe, or for a program that is renamed when it is complete.
    "*/tmp.*",
    "*/.tmp*",
    "*.tmp",
)


def is_temporary(output: str) -> bool:
    """Whether the program at this path will be moved or deleted: its form goes to the cache."""
    return any(_matches(f"/{output}", pattern) for pattern in _TEMPORARY)


def is_probe(output: str, patterns: "Sequence[str]") -> bool:
    """Whether `output` is a program that only a configure script runs."""
    name = output.rpartition("/")[2]
    if is_temporary(output) and name == "a.out":  # go's name for every program
        return False
    paths = (output, f"./{output}")  # a pattern may begin with the name of a directory, or `*/`
    return any(
        _matches(text, each) for each in patterns for text in (paths if "/" in each else (name,))
    )


def _matches(text: str, pattern: str) -> bool:
    """Whether a shell pattern with only `*` matches the whole text; fnmatch is slow to import."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    position = len(first)
    for part in rest[:-1]:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(text) - position >= len(rest[-1]) and text.endswith(rest[-1])
