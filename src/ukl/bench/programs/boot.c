// SPDX-License-Identifier: GPL-2.0
/*
 * boot - the time from the machine's reset to the start of a program
 *
 * Prints rows in the format of bench.c, with one sample each: the time since the reset of the
 * machine, where the time-stamp counter began, at main and at the end of the first output (in
 * nanoseconds under -icount only, so with the argument `instructions`); the time since the kernel
 * set its clock (CLOCK_BOOTTIME); and how long the processor has idled (/proc/uptime, to 10 ms).
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a" (low), "=d" (high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static void print(const char *row, uint64_t number)
{
	printf("{\"row\": \"%s\", \"count\": 1, \"ticks\": [%llu], \"ns\": [%llu]}\n", row,
	       (unsigned long long)number, (unsigned long long)number);
}

int main(int argc, char **argv)
{
	double uptime = 0, idle = 0;
	uint64_t at_main = ticks(), at_output;
	struct timespec now;
	unsigned short cs;
	FILE *file;

	clock_gettime(CLOCK_BOOTTIME, &now);
	file = fopen("/proc/uptime", "r");
	if (!file || fscanf(file, "%lf %lf", &uptime, &idle) != 2) {
		perror("/proc/uptime");
		return 1;
	}
	__asm__("mov %%cs, %0" : "=r" (cs));
	printf("{\"bench\": \"%s\", \"mode\": \"%s\"}\n", argc ? argv[0] : "",
	       (cs & 3) == 0 ? "supervisor" : "user");
	fflush(stdout);
	at_output = ticks();
	if (argc > 1 && strcmp(argv[1], "instructions") == 0) {
		print("reset to main", at_main);
		print("reset to first output", at_output);
	}
	print("kernel's clock at main", (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	print("idle until main", (uint64_t)(idle * 1e9));
	return 0;
}
