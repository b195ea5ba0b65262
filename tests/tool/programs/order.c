// SPDX-License-Identifier: GPL-2.0
/* What runs before and after main(), in order; the output is only buffered. */
#include <stdio.h>
#include <stdlib.h>

static int place;
static int at[8];

static void preinit(void) { at[0] = ++place; }
__attribute__((section(".preinit_array"), used)) static void (*const entry)(void) = preinit;

__attribute__((constructor)) static void plain(void) { at[3] = ++place; }
__attribute__((constructor(300))) static void late(void) { at[2] = ++place; }
__attribute__((constructor(200))) static void early(void) { at[1] = ++place; }
__attribute__((destructor)) static void first_out(void) { printf("destructor\n"); }
__attribute__((destructor(200))) static void last_out(void) { printf("destructor 200\n"); }

static void leave(void) { printf("atexit\n"); }

extern char **environ;

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 4096);
	printf("order %d %d %d %d\n", at[0], at[1], at[2], at[3]);
	printf("arguments %d %s %d\n", argc, argv[1], environ != NULL);
	atexit(leave);
	return 7;
}
