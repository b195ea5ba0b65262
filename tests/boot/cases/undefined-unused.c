// SPDX-License-Identifier: GPL-2.0
/* Has an undefined symbol that no relocation uses. */
#include <stdio.h>
asm(".globl nowhere_at_all");
int main(void) { puts("linked"); return 0; }
