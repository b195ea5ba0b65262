// SPDX-License-Identifier: GPL-2.0
/*
 * returns [N]: count in a loop with the stack pointer at several places, for as long as a few
 * ticks of the timer; no register, flag or word of the red zone may change. N times on a
 * stack, then where no stack is mapped.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE		4096
#define RED_ZONE	128
#define ROUNDS		100000
#define MILLISECONDS	60	/* 15 ticks of 250 Hz */

enum { RAX, RSP = 7, REGISTERS = 16 };

/* spin.S knows the layout */
struct state {
	unsigned long in[REGISTERS], out[REGISTERS], carry;
};

void spin(struct state *state);

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int at(const char *where, unsigned long sp, int has_red_zone)
{
	unsigned long *red = (unsigned long *)(sp - RED_ZONE), seed = 1;
	long end = milliseconds() + MILLISECONDS;
	struct state state;
	int i;

	do {
		for (i = 0; i < REGISTERS; i++)
			state.in[i] = seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		memset(state.out, 0, sizeof(state.out));
		state.in[RAX] = ROUNDS;
		state.in[RSP] = sp;
		for (i = 0; has_red_zone && i < RED_ZONE / 8; i++)
			red[i] = seed + i;
		spin(&state);
		state.in[RAX] = 0;
		for (i = 0; i < REGISTERS; i++) {
			if (state.out[i] == state.in[i])
				continue;
			printf("not ok %s: register %d is %#lx, not %#lx\n", where, i,
			       state.out[i], state.in[i]);
			return 1;
		}
		if (!(state.carry & 1)) {
			printf("not ok %s: carry is gone\n", where);
			return 1;
		}
		for (i = 0; has_red_zone && i < RED_ZONE / 8; i++) {
			if (red[i] == seed + i)
				continue;
			printf("not ok %s: word %d of the red zone is another\n", where, i);
			return 1;
		}
	} while (milliseconds() < end);
	printf("ok %s\n", where);
	return 0;
}

int main(int argc, char **argv)
{
	int bad = 0, times = argc > 1 ? atoi(argv[1]) : 1;
	char *area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	if (area == MAP_FAILED)
		return 2;
	memset(area, 0, 4 * PAGE);
	for (int i = 0; i < times; i++)
		bad |= at("a stack", (unsigned long)area + 2 * PAGE, 1);
	bad |= at("a stack that is not aligned", (unsigned long)area + 2 * PAGE - 3, 1);
	/* The words below the red zone are in two pages, and one is not mapped. */
	if (munmap(area, PAGE))
		return 2;
	bad |= at("the end of a stack", (unsigned long)area + PAGE + RED_ZONE + 8, 1);
	bad |= at("over the end of a stack", (unsigned long)area + PAGE + RED_ZONE, 1);
	bad |= at("no page", (unsigned long)area + PAGE, 0);
	if (mprotect(area + PAGE, PAGE, PROT_READ))
		return 2;
	bad |= at("a page for reading", (unsigned long)area + 2 * PAGE, 0);
	bad |= at("address 0", 0, 0);
	bad |= at("below what is needed", 100, 0);
	bad |= at("no address at all", 0x800000000000UL, 0);
	if (bad)
		return 1;
	puts("all ok");
	return 0;
}
