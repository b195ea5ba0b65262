// SPDX-License-Identifier: GPL-2.0
/*
 * injected WAY: enter the kernel in a loop, and check that all registers have the
 * expected values afterwards. The test stops it in the kernel, injects exceptions
 * there, and sets `finished` in the end.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define TF	0x100
#define PAGE	4096

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, CARRY, RED };

/* ways.S knows the layout */
struct state {
	unsigned long in[24], out[24];
};

void by_call(struct state *state);
void by_syscall(struct state *state);
void by_fault(struct state *state);
void by_fast_call(struct state *state);
void by_fast_number(struct state *state);

/* Set by the test */
volatile int finished;

/* A trap after an instruction of the program: stop single-stepping. */
static void on_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	uc->uc_mcontext.gregs[REG_EFL] &= ~TF;
}

static int wrong(const struct state *state, int how, unsigned long rounds)
{
	int i, n = 0;

	for (i = 0; i < 24; i++) {
		unsigned long expected = state->in[i];

		/* What a system call clobbers, and what a call clobbers besides */
		if (how != 'f' && (i == RCX || i == R11))
			continue;
		if (how != 'f' && how != 's' && (i == CARRY || i == RED))
			continue;
		/* A fast call with pending work pushes the return address again, below that. */
		if ((how == 'e' || how == 'n') && i == RED + 1)
			continue;
		/* An entry of a number preserves what a function preserves. */
		if (how == 'e' && (i == RDX || i == RSI || i == RDI || (i >= R8 && i <= R10)))
			continue;
		if (how != 'f' && i == RAX)
			expected = (unsigned long)getppid();
		if (i == CARRY)
			expected = 1;
		if (state->out[i] == expected)
			continue;
		printf("not ok: round %lu, %d is %#lx, not %#lx\n", rounds, i,
		       state->out[i], expected);
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	unsigned long seed = 1, rounds = 0;
	struct state state;
	char *page;
	int i, how;

	if (argc != 2)
		return 2;
	how = argv[1][0];
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || sigaction(SIGTRAP, &action, NULL))
		return 2;
	puts("ready");
	fflush(stdout);
	while (!finished) {
		for (i = 0; i < 24; i++)
			state.in[i] = seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		memset(state.out, 0, sizeof(state.out));
		state.in[RAX] = SYS_getppid;
		switch (how) {
		case 'c':
			by_call(&state);
			break;
		case 's':
			by_syscall(&state);
			break;
		case 'e':
			by_fast_call(&state);
			break;
		case 'n':
			by_fast_number(&state);
			break;
		case 'f':
			state.in[RDI] = (unsigned long)page;
			if (madvise(page, PAGE, MADV_DONTNEED))
				return 2;
			by_fault(&state);
			if (*page != 7) {
				puts("not ok: the page has something else");
				return 1;
			}
			break;
		default:
			return 2;
		}
		if (wrong(&state, how, rounds))
			return 1;
		rounds++;
	}
	printf("%lu rounds\n", rounds);
	return 0;
}
