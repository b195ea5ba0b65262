// SPDX-License-Identifier: GPL-2.0
/*
 * Thread-local variables, initialised and not, of alignments that the tests
 * give: DATA and BSS are 0 (none) or the alignment.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if DATA
static __thread char data[3] __attribute__((aligned(DATA))) = { 1, 2, 3 };
#endif
#if BSS
static __thread char bss[5] __attribute__((aligned(BSS)));
#endif

static void *check(void *unused)
{
	intptr_t bad = 0;

#if DATA
	bad |= (uintptr_t)data % DATA != 0;
	bad |= (data[0] != 1 || data[1] != 2 || data[2] != 3) << 1;
	memset(data, 9, sizeof(data));
#endif
#if BSS
	bad |= ((uintptr_t)bss % BSS != 0) << 2;
	for (unsigned int i = 0; i < sizeof(bss); i++)
		bad |= (bss[i] != 0) << 3;
	memset(bss, 9, sizeof(bss));
#endif
	return (void *)bad;
}

int main(void)
{
	intptr_t bad = (intptr_t)check(NULL);

	for (int i = 0; i < 4; i++) {
		pthread_t thread;
		void *result;

		if (pthread_create(&thread, NULL, check, NULL) || pthread_join(thread, &result))
			return 100;
		bad |= (intptr_t)result << 4;
	}
	printf("%d\n", (int)bad);
	return bad != 0;
}
