// SPDX-License-Identifier: GPL-2.0
/*
 * Shows where it runs: the privilege level in CS, and in supervisor mode the
 * control registers and model-specific registers that no process may read.
 * Then its memory map. In user mode it prints a note and reads no registers.
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#define MSR_EFER	0xc0000080
#define MSR_LSTAR	0xc0000082

#define CR0_WP		(1u << 16)
#define CR4_SMEP	(1u << 20)
#define CR4_SMAP	(1u << 21)
#define EFER_SCE	(1u << 0)
#define EFER_NX		(1u << 11)
#define EFLAGS_AC	(1u << 18)

#define READ_CR(n) ({						\
	uint64_t value;						\
	__asm__ volatile("mov %%cr" #n ", %0" : "=r" (value));	\
	value;							\
})

static uint64_t read_msr(uint32_t number)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a" (low), "=d" (high) : "c" (number));
	return (uint64_t)high << 32 | low;
}

static const char *on(uint64_t bit)
{
	return bit ? "on" : "off";
}

static void show_registers(void)
{
	uint64_t cr0 = READ_CR(0), cr3 = READ_CR(3), cr4 = READ_CR(4);
	uint64_t efer = read_msr(MSR_EFER);
	uint64_t flags = __builtin_ia32_readeflags_u64();

	printf("CR0: %#" PRIx64 " (WP %s)\n", cr0, on(cr0 & CR0_WP));
	printf("CR3: %#" PRIx64 "\n", cr3);
	printf("CR4: %#" PRIx64 " (SMEP %s, SMAP %s)\n", cr4,
	       on(cr4 & CR4_SMEP), on(cr4 & CR4_SMAP));
	printf("EFER: %#" PRIx64 " (SCE %s, NX %s)\n", efer,
	       on(efer & EFER_SCE), on(efer & EFER_NX));
	printf("LSTAR: %#" PRIx64 "\n", read_msr(MSR_LSTAR));
	printf("EFLAGS: %#" PRIx64 " (AC %s)\n", flags, on(flags & EFLAGS_AC));
}

static int show_map(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];

	if (!maps) {
		perror("/proc/self/maps");
		return 1;
	}
	puts("/proc/self/maps:");
	while (fgets(line, sizeof(line), maps))
		fputs(line, stdout);
	fclose(maps);
	return 0;
}

int main(void)
{
	static const char constant[] = "read-only data";
	static int variable = 1;
	unsigned short cs;
	int local = 0;

	__asm__("mov %%cs, %0" : "=r" (cs));
	printf("CS: %#x, privilege level %d (%s mode)\n", cs, cs & 3,
	       (cs & 3) == 0 ? "supervisor" : "user");
	if ((cs & 3) == 0)
		show_registers();
	else
		puts("Control and model-specific registers are the kernel's alone here.");
	printf("text: %p, read-only data: %p, data: %p, stack: %p\n",
	       (void *)main, (void *)constant, (void *)&variable, (void *)&local);
	return show_map();
}
