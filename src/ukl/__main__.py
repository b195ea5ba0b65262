# SPDX-License-Identifier: GPL-2.0
"""`python -m ukl`."""

import signal
import sys

from ukl.cli import main

if __name__ == "__main__":
    code = main()
    # A Ctrl-C while the interpreter ends would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)
