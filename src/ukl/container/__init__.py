# SPDX-License-Identifier: GPL-2.0
"""Container images as root file systems of guests.

`sources` opens an image or a directory, `layers` merges its layers into a `tree`, `squash` writes
that as one file, and `starting` says what is started in it. `root` puts these in order. No file of
an image is ever written to this machine's file system under its own name.
"""
