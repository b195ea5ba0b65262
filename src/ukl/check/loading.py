# SPDX-License-Identifier: GPL-2.0
"""Code that is loaded or generated at run time: dlopen, name services, iconv, JIT."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ukl.check.model import Finding, Subject, finding
from ukl.check.unit import Place, Reference, Unit
from ukl.syscalls.instruction import immediate

DLOPEN = ("dlopen", "dlmopen")
ICONV = ("iconv_open",)
LOCALE = ("setlocale", "newlocale")

_NSS = """
    endaliasent endgrent endhostent endnetent endprotoent endpwent endrpcent endservent endsgent
    endspent getaddrinfo getaliasbyname getaliasbyname_r getaliasent getaliasent_r getgrent
    getgrent_r getgrgid getgrgid_r getgrnam getgrnam_r getgrouplist gethostbyaddr gethostbyaddr_r
    gethostbyname gethostbyname2 gethostbyname2_r gethostbyname_r gethostent gethostent_r
    getnetbyaddr getnetbyaddr_r getnetbyname getnetbyname_r getnetent getnetent_r getprotobyname
    getprotobyname_r getprotobynumber getprotobynumber_r getprotoent getprotoent_r getpwent
    getpwent_r getpwnam getpwnam_r getpwuid getpwuid_r getrpcbyname getrpcbyname_r getrpcbynumber
    getrpcbynumber_r getrpcent getrpcent_r getservbyname getservbyname_r getservbyport
    getservbyport_r getservent getservent_r getsgent getsgent_r getsgnam getsgnam_r getspent
    getspent_r getspnam getspnam_r initgroups setaliasent setgrent sethostent setnetent
    setprotoent setpwent setrpcent setservent setsgent setspent
"""

NSS = frozenset(_NSS.split())
"""Functions for which glibc 2.36 has .gnu.warning.* sections, other than dlopen."""

EXECUTABLE_MEMORY = ("mmap", "mmap64", "mprotect", "pkey_mprotect", "__mmap", "__mprotect")

GENERATORS = (
    "sljit_generate_code",
    "lj_mcode_reserve",
    "ffi_prep_closure_loc",
    "LLVMCreateMCJITCompilerForModule",
    "_ZN2v88internal",
    "asmjit_",
)
"""Prefixes of names that only code generators define."""

_PROT_EXEC = 4
_LOOK_BACK = 24


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield the findings about code that the program loads or generates at run time."""
    rules = [("dlopen", DLOPEN), ("nss", tuple(NSS)), ("iconv", ICONV)]
    if not subject.userspace:
        rules.append(("locale", LOCALE))
    for rule, names in rules:
        found: dict[str, list[Place]] = defaultdict(list)
        for unit in subject.units:
            for reference in unit.references(names):
                if not _of_runtime(reference, subject):
                    found[reference.symbol].append(reference.place)
        if found:
            places = [place for name in sorted(found) for place in found[name]]
            yield finding(rule, list(dict.fromkeys(places)), ", ".join(sorted(found)))
    places = [place for unit in subject.units for place in made_code(unit, subject)]
    if places:
        yield finding("jit", list(dict.fromkeys(places)))


def _of_runtime(reference: Reference, subject: Subject) -> bool:
    """Whether the C library's own code refers to the name."""
    return reference.place.function in subject.runtime or reference.place.function.startswith(
        ("_dl_", "__nss_", "_nss_", "gaih_", "dlopen_")
    )


def made_code(unit: Unit, subject: Subject) -> Iterator[Place]:
    """Yield the places that make memory executable."""
    for name in sorted(unit.defined):
        if name.startswith(GENERATORS):
            yield Place(unit.file, unit.member, "", name)
            break
    for reference in unit.references(EXECUTABLE_MEMORY):
        if not _of_runtime(reference, subject) and _asks_for_execution(unit, reference):
            yield reference.place


def _asks_for_execution(unit: Unit, reference: Reference) -> bool:
    """Whether the third argument of the call at `reference` has PROT_EXEC, as a constant."""
    before = [
        row
        for row in unit.function(reference.section, reference.address)
        if row[0] + row[1] <= reference.address
    ]
    for _, _, mnemonic, operands in reversed(before[-_LOOK_BACK:]):
        target, _, source = operands.partition(", ")
        if target in {"edx", "rdx"}:
            value = immediate(source) if mnemonic == "mov" else None
            return value is not None and bool(value & _PROT_EXEC)
        if mnemonic == "call":
            return False
    return False
