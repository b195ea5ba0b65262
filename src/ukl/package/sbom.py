# SPDX-License-Identifier: GPL-2.0
"""Makes the bill of materials of an image, SPDX 2.3 as JSON, and a list of licences. Pure.

Source: the SPDX specification 2.3. Debian's licence names are translated to SPDX's where that
is certain; the others become NOASSERTION, with Debian's name in a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ukl.check.licences import compatible

CONTAINER, SYSTEM = "CONTAINER", "OPERATING-SYSTEM"
"""Primary purpose of an image: section 7.24 of the specification."""

CREATED = "1970-01-01T00:00:00Z"
"""Constant creation time: the same inputs give the same bytes."""

_LICENCES = {
    "GPL-2.0-only": "GPL-2.0-only",
    "GPL-2": "GPL-2.0-only",
    "GPL-2+": "GPL-2.0-or-later",
    "GPL-3+ with GCC-exception": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "LGPL-2.1": "LGPL-2.1-only",
    "LGPL-2.1+": "LGPL-2.1-or-later",
    "BSD-2-clause": "BSD-2-Clause",
    "BSD-3-clause": "BSD-3-Clause",
    "Expat": "MIT",
    "Apache-2.0": "Apache-2.0",
    "zlib": "Zlib",
}
_ID = re.compile(r"[^A-Za-z0-9.-]")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an image. `licence` is Debian's or SPDX's name; "": unknown.

    `linked` is whether it is linked into the kernel, or else a separate file of the image.
    """

    name: str
    version: str = ""
    licence: str = ""
    supplier: str = ""
    purl: str = ""
    linked: bool = True


def spdx_licence(name: str) -> str:
    """Return SPDX's expression for a licence; NOASSERTION if it is not certain."""
    return _LICENCES.get(name, "NOASSERTION")


def document(
    name: str, digest: str, parts: Iterable[Part], purpose: str = CONTAINER
) -> dict[str, Any]:
    """Return the document about the image `name` with this SHA-256 digest."""
    root = "SPDXRef-image"
    rows, relations = [], [_relation("SPDXRef-DOCUMENT", "DESCRIBES", root)]
    for number, part in enumerate(parts):
        identity = f"SPDXRef-{number}-{_ID.sub('-', part.name)}"
        rows.append(_package(identity, part))
        relations.append(_relation(root, "CONTAINS", identity))
    image = {
        **_package(root, Part(name, licence="GPL-2.0-only")),
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
        "primaryPackagePurpose": purpose,
    }
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/ukl-{_ID.sub('-', name)}-{digest}",
        "creationInfo": {"created": CREATED, "creators": ["Tool: ukl"]},
        "packages": [image, *rows],
        "relationships": relations,
    }


def _package(identity: str, part: Part) -> dict[str, Any]:
    licence = spdx_licence(part.licence)
    row: dict[str, Any] = {
        "SPDXID": identity,
        "name": part.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
    }
    if part.version:
        row["versionInfo"] = part.version
    if part.supplier:
        row["supplier"] = part.supplier
    if part.purl:
        row["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": part.purl,
            }
        ]
    if part.licence and licence == "NOASSERTION":
        row["licenseComments"] = f"The distribution names the licence {part.licence}."
    return row


def _relation(source: str, kind: str, target: str) -> dict[str, str]:
    return {
        "spdxElementId": source,
        "relationshipType": kind,
        "relatedSpdxElement": target,
    }


def report(parts: Iterable[Part]) -> str:
    """Return a text for users: each part with its licence, and whether it may be linked."""
    verdicts = {True: "compatible with GPL-2.0-only", False: "NOT compatible with GPL-2.0-only"}
    lines = []
    for part in parts:
        verdict = (
            verdicts.get(compatible(part.licence), "unknown: check it yourself")  # type: ignore[arg-type]
            if part.linked
            else "separate from the kernel, not linked into it"
        )
        version = f" {part.version}" if part.version else ""
        lines.append(f"{part.name}{version}: {part.licence or 'licence unknown'}; {verdict}")
    return "\n".join(lines) + "\n"
