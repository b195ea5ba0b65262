// SPDX-License-Identifier: GPL-2.0
/*
 * getppid-bench [COUNT] - what a system call costs that does next to nothing
 *
 * Times COUNT calls (default a million) by the `syscall` instruction and by a
 * call of ukl_syscall, in ticks of the time-stamp counter, and an empty loop of
 * the same shape. Prints one line of JSON:
 *
 *   mode     "supervisor" or "user", from CS
 *   count    calls per sample
 *   ticks    per call, fewest of SAMPLES samples, the loop's own included
 *   loop     ticks of one pass of the empty loop
 *
 * Under QEMU's -icount shift=0 the counter counts guest instructions (1 ns
 * each, at the counter's frequency); which, the one who starts it knows.
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAMPLES 5
#define WARM_UP 1000

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a" (low), "=d" (high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* The loops are written out: four instructions, and `what` in the middle. */
#define LOOP(what)						\
	__asm__ volatile("1: mov %[number], %%eax\n"		\
			 what					\
			 "dec %[count]\n"			\
			 "jnz 1b\n"				\
			 : [count] "+r" (count), [result] "=&a" (result)	\
			 : [number] "i" (SYS_getppid)		\
			 : "rcx", "r11", "memory", "cc")

static long by_nothing(unsigned long count)
{
	long result;

	LOOP("nop\n");
	return result;
}

static long by_instruction(unsigned long count)
{
	long result;

	LOOP("syscall\n");
	return result;
}

static long by_call(unsigned long count)
{
	long result;

	LOOP("call ukl_syscall\n");
	return result;
}

/* The fewest ticks that `count` calls took; ends the program if they fail. */
static double measure(long (*calls)(unsigned long), unsigned long count, long expected)
{
	uint64_t best = UINT64_MAX;

	if (calls(WARM_UP) != expected)
		exit(1);
	for (int sample = 0; sample < SAMPLES; sample++) {
		uint64_t begin = ticks();
		long result = calls(count);
		uint64_t took = ticks() - begin;

		if (result != expected)
			exit(1);
		if (took < best)
			best = took;
	}
	return (double)best / count;
}

int main(int argc, char **argv)
{
	unsigned long count = 1000000;
	double loop, instruction, call;
	unsigned short cs;

	if (argc > 1) {
		char *end;

		errno = 0;
		count = strtoul(argv[1], &end, 10);
		if (errno || *end || count == 0) {
			fprintf(stderr, "usage: getppid-bench [COUNT]\n");
			return 2;
		}
	}
	__asm__("mov %%cs, %0" : "=r" (cs));
	loop = measure(by_nothing, count, SYS_getppid);
	instruction = measure(by_instruction, count, getppid());
	call = measure(by_call, count, getppid());
	printf("{\"benchmark\": \"getppid\", \"mode\": \"%s\", \"count\": %lu, \"loop\": %.2f, "
	       "\"ticks\": {\"syscall\": %.2f, \"call\": %.2f}}\n",
	       (cs & 3) == 0 ? "supervisor" : "user", count, loop, instruction, call);
	return 0;
}
