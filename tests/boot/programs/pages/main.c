// SPDX-License-Identifier: GPL-2.0
/* Touches each page of new memory of several kinds, and prints how many faults that took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096L
#define SIZE	(4L << 20)

static char bss[SIZE];

static void touch(const char *name, volatile char *memory)
{
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	for (long i = 0; i < SIZE; i += PAGE)
		memory[i] = 1;
	getrusage(RUSAGE_SELF, &after);
	printf("%s: %ld\n", name, after.ru_minflt - before.ru_minflt);
}

static void *mapped(void)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		exit(2);
	return memory;
}

int main(void)
{
	char *memory = mapped();
	char line[128];
	FILE *status;

	setvbuf(stdout, NULL, _IONBF, 0);
	touch("mapped", memory);
	touch("bss", bss);
	touch("heap", (char *)sbrk(SIZE + PAGE) + PAGE / 2);
	status = fopen("/proc/self/status", "r");
	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "VmLck:", 6))
			printf("locked: %s\n", atol(line + 6) > SIZE * 3 >> 10 ? "yes" : "no");
	/* A child has its own copies, one fault each. */
	if (!fork()) {
		touch("copied", memory);
		_exit(0);
	}
	wait(NULL);
	return 0;
}
