// SPDX-License-Identifier: GPL-2.0
/* Calls a nested function by its address: a trampoline on an executable stack. */
#include <stdio.h>
int main(void){ int k=5; int inner(int x){return x+k;} int (*volatile f)(int)=inner; printf("%d\n", f(2)); return 0; }
