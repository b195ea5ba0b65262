// SPDX-License-Identifier: GPL-2.0
/* Names that common_other.c defines as well (-fcommon): the larger size wins. */
#include <stdint.h>
#include <stdio.h>

/* Names of the kernel's: they must stay this program's. */
int jiffies;
int current_task __attribute__((aligned(256)));
char shared[8];
extern int printk(const char *format, ...) __attribute__((weak));
extern char _end[], _edata[], __bss_start[], _etext[], end[], edata[], etext[];
extern char __data_start[], data_start[], __executable_start[];
void other(void);

static uintptr_t at(const void *place)
{
	return (uintptr_t)place;
}

int main(void)
{
	other();
	printf("%d %d %d %d\n", jiffies, *((volatile char *)shared + 99), printk != NULL,
	       (int)((uintptr_t)&current_task % 256));
	printf("%d\n", at(&jiffies) >= at(__bss_start) && at(&jiffies) < at(_end) &&
	       at(_edata) <= at(__bss_start) && at(end) == at(_end) &&
	       at(edata) == at(_edata) && at(etext) == at(_etext) &&
	       at(main) < at(etext) && at(main) >= at(__executable_start) &&
	       at(data_start) == at(__data_start));
	return 0;
}
