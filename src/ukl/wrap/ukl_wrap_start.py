# SPDX-License-Identifier: GPL-2.0
"""Entry point of the scripts in bin/ and linkers/: NAME, then the arguments.

Started as a file, with -I and -S: independent of the caller's environment, and fast.
"""

import sys

sys.path.insert(0, __file__.rpartition("/ukl/wrap/")[0])
if sys.argv[1] == "ukl-ld":
    sys.argv[1:2] = ["--linker", "ld"]
if sys.argv[1] == "--linker":
    from ukl.wrap.linker import main
else:
    from ukl.wrap.driver import main
try:
    sys.exit(main(sys.argv))
except KeyboardInterrupt:
    sys.exit(130)
