// SPDX-License-Identifier: 0BSD
module @NAME@

go 1.19
