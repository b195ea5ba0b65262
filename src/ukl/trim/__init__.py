# SPDX-License-Identifier: GPL-2.0
"""A smaller kernel for one application: what of the configuration its own work does not use."""
