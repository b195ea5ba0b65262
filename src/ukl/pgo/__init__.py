# SPDX-License-Identifier: GPL-2.0
"""Profile-guided optimisation, by counts of the branches that kernel and application take."""
