# SPDX-License-Identifier: GPL-2.0
"""Profile-guided optimisation: how often each branch of kernel and application was taken."""
