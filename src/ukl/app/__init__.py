# SPDX-License-Identifier: GPL-2.0
"""From an application's sources to the object that is linked into the kernel."""
