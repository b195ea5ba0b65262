/* SPDX-License-Identifier: GPL-2.0 */
/* The entry of a function that kunit.c defines, as an application's kernel code has it */
#include "function.S"

ukl_function_entry ukl_kunit_function
