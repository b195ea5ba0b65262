// SPDX-License-Identifier: GPL-2.0
/* A second source, compiled together with the first. */
#include <ukl-imports.h>

#include "other.h"

unsigned long root(unsigned long number)
{
	return kernel_int_sqrt(number);
}
