# SPDX-License-Identifier: GPL-2.0
"""`python -m ukl`."""

import sys

from ukl.cli import main

if __name__ == "__main__":
    sys.exit(main())
