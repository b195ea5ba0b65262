# SPDX-License-Identifier: GPL-2.0
"""Several guests that belong together: what `compose.toml` says, and its life."""
