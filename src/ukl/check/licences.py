# SPDX-License-Identifier: GPL-2.0
"""Licences of the libraries that are linked with the kernel, which is GPL-2.0-only.

Debian's /usr/share/doc/PACKAGE/copyright states them. Most of these files have the
machine-readable format (DEP-5), whose paragraph `Files: *` is used. For compatibility see
https://www.gnu.org/licenses/license-list.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ukl.check.model import Finding, Subject, finding
from ukl.check.unit import Place

_INCOMPATIBLE = re.compile(
    r"^(apache-2|apache2|lgpl-3|lgplv3|gpl-3|gplv3|agpl|cddl|mpl-1|epl|cpl|openssl|ssleay|"
    r"bsd-4|bsd-4-clause|sspl|busl|cc-by-nc|php-3|qpl|npl)",
    re.IGNORECASE,
)
_COMPATIBLE = re.compile(
    r"^(l?gpl-?(2|1|any)|lgpl|gpl$|expat|mit|x11|isc|zlib|libpng|bsd-?[0123]|bsd$|bsd-like|"
    r"bsd-style|public-domain|pd$|cc0|boost|bsl-1|bzip2|mpl-2|ms-pl0|unlicense|artistic-2|"
    r"permissive|curl|openldap|wtfpl|0bsd|icu|unicode)",
    re.IGNORECASE,
)
_OR_LATER = re.compile(r"(\+|-or-later)$")
_EXCEPTION = re.compile(r"gcc runtime library exception", re.IGNORECASE)
_IN_PROSE = (
    (
        "LGPL-2.1+",
        re.compile(r"lesser general\s+public\s+license.{0,200}version 2\.1", re.I | re.S),
    ),
    ("Apache-2.0", re.compile(r"apache license,?\s+version 2\.0", re.I)),
    ("zlib", re.compile(r"this software is provided 'as-is', without any express", re.I)),
    ("Expat", re.compile(r"permission is hereby granted, free of charge", re.I)),
)


def name_of(copyright_text: str) -> str:
    """Return the licence that a copyright file states for most of the package; "": unclear."""
    if _EXCEPTION.search(copyright_text):
        return "GPL-3+ with GCC-exception"
    if re.match(r"(?is)\s*format(-specification)?:\s*\S*(dep-?5|copyright-format)", copyright_text):
        for paragraph in re.split(r"\n\s*\n", copyright_text):
            files = re.search(r"(?im)^files:\s*(.*)$", paragraph)
            licence = re.search(r"(?im)^license:[ \t]*(\S.*)$", paragraph)
            if files and licence and files[1].split()[:1] == ["*"]:
                return licence[1].strip()
        licence = re.search(r"(?im)^license:[ \t]*(\S.*)$", copyright_text)
        return licence[1].strip() if licence else ""
    for name, pattern in _IN_PROSE:
        if pattern.search(copyright_text):
            return name
    return ""


def compatible(expression: str) -> bool | None:
    """Whether a licence is compatible with GPL-2.0-only; None: unknown.

    One of the alternatives joined by "or" is enough; of those joined by "and", all must be.
    """
    if not expression:
        return None
    verdicts = [
        _all(re.split(r"\s+and\s+|\s*,\s*", part, flags=re.I))
        for part in re.split(r"\s+or\s+", expression, flags=re.I)
    ]
    if True in verdicts:
        return True
    return None if None in verdicts else False


def _all(names: list[str]) -> bool | None:
    verdicts = [_one(name.strip()) for name in names if name.strip()]
    if False in verdicts:
        return False
    return None if None in verdicts or not verdicts else True


def _one(name: str) -> bool | None:
    if "with gcc-exception" in name.lower():
        return True
    word = name.split(maxsplit=1)[0]
    if _INCOMPATIBLE.match(word):
        return False
    return True if _COMPATIBLE.match(_OR_LATER.sub("", word)) else None


def findings(subject: Subject, text_of: Callable[[str], str | None]) -> Iterator[Finding]:
    """Yield the findings about the licences of the linked libraries.

    `text_of` returns the copyright file of a Debian package.
    """
    fine: dict[str, str] = {}
    seen: set[str] = set()
    places: list[Place] = []
    for library in subject.libraries:
        package = library.package
        if package is None:
            yield finding("licence-unknown", [Place(library.path)], "not from a Debian package")
            continue
        if package in seen:
            continue
        seen.add(package)
        licence = name_of(text_of(package) or "")
        verdict = compatible(licence)
        if verdict:
            fine[package] = licence
            places.append(Place(library.path))
        elif verdict is None:
            what = f"package {package}" + (f", licence {licence!r}" if licence else "")
            yield finding("licence-unknown", [Place(library.path)], what)
        else:
            what = f"{licence} (package {package})"
            yield finding("licence", [Place(library.path)], what)
    if fine:
        listed = ", ".join(f"{package} ({licence})" for package, licence in fine.items())
        yield finding("licences", places, listed)
