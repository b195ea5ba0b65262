// SPDX-License-Identifier: GPL-2.0
module example.org/go-echo

go 1.19
