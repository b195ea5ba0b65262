# SPDX-License-Identifier: GPL-2.0
"""Images for machines and clusters of others, and what is in them."""
