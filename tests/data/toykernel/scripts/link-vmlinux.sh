#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
set -e
app=$(sed -n 's/^CONFIG_UKL_APP=//p' include/config/auto.conf)
rm -f vmlinux System.map
echo "  LD      vmlinux"
: > .tmp_vmlinux1
$1 $2 $3 --script="$KBUILD_LDS" -o vmlinux --whole-archive vmlinux.a --no-whole-archive $app
$NM -n vmlinux > System.map
