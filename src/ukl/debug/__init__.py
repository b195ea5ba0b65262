# SPDX-License-Identifier: GPL-2.0
"""Looking into a guest that runs: symbols of kernel and application at their real addresses."""
