# SPDX-License-Identifier: GPL-2.0
"""The compiler wrapper: a build system links its program, and gets its unikernel form too.

driver.py stands for the compiler, linker.py for the linker that it runs, and
capture.py makes the object. The first two start with every compilation: they, and
what they import, use nothing but os and sys.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def environment(base: "Mapping[str, str] | None" = None) -> "dict[str, str]":
    """Return the variables to set for a build that shall use the wrapper (see settings.py)."""
    from ukl.wrap import settings  # noqa: PLC0415 - the wrapper itself has no use for it

    return settings.environment(base)
