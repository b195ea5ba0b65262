# SPDX-License-Identifier: GPL-2.0
"""The compiler wrapper: makes a unikernel form of each program that a build system links.

driver.py runs in place of the compiler, linker.py in place of the linker that the
compiler starts; capture.py makes the object. The first two start with every
compilation: they, and what they import, use nothing but os and sys.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ukl.host.store import Store


def environment(
    base: "Mapping[str, str] | None" = None, store: "Store | None" = None
) -> "dict[str, str]":
    """Return the variables to set for a build that uses the wrapper (see settings.py)."""
    from ukl.wrap import settings  # noqa: PLC0415 - the wrapper itself does not need it

    return settings.environment(base, store)
