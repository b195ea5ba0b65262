# SPDX-License-Identifier: GPL-2.0
"""What runs inside the guest beside the application: built here, from C in `guest/`."""
