// SPDX-License-Identifier: GPL-2.0
/*
 * A call that a signal handler recognizes by its address, as C libraries make theirs for
 * pthread_cancel(). Interrupted in it, the handler goes on at __cp_cancel; it must not
 * do so once the call is made.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

long __syscall_cp_asm(const int *cancelled, long number, long a, long b, long c);
extern const char __cp_begin[], __cp_end[], __cp_cancel[];

/* Weak, so that the jump to it has a relocation. */
__attribute__((weak)) long outside(void)
{
	return -125;
}

__asm__(".text\n"
	".globl __cp_begin, __syscall_cp_asm, __cp_end, __cp_cancel\n"
	".type __syscall_cp_asm, @function\n"
	"__cp_begin:\n"
	"__syscall_cp_asm:\n"
	"	cmpl	$0, (%rdi)\n"
	"	jne	__cp_cancel\n"
	"	mov	%rsi, %rax\n"
	"	mov	%rdx, %rdi\n"
	"	mov	%rcx, %rsi\n"
	"	mov	%r8, %rdx\n"
	"	syscall\n"
	"__cp_end:\n"
	"	ret\n"
	"__cp_cancel:\n"
	"	jmp	outside\n");

static volatile sig_atomic_t inside, caught;

static void handle(int number, siginfo_t *info, void *context)
{
	greg_t *ip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)number, (void)info;
	caught++;
	if (*ip >= (greg_t)__cp_begin && *ip < (greg_t)__cp_end) {
		inside++;
		*ip = (greg_t)__cp_cancel;
	}
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval soon = { .it_value.tv_usec = 20000 };
	int ends[2], not_yet = 0, already = 1;
	char byte;

	sigaction(SIGALRM, &action, NULL);
	if (pipe(ends))
		return 1;
	setitimer(ITIMER_REAL, &soon, NULL);
	printf("blocked %ld", __syscall_cp_asm(&not_yet, SYS_read, ends[0], (long)&byte, 1));
	printf(", caught %d, inside %d\n", (int)caught, (int)inside);
	/* The handler runs before the call returns, and finds it made. */
	printf("made %ld", __syscall_cp_asm(&not_yet, SYS_tgkill, getpid(), gettid(), SIGALRM));
	printf(", caught %d, inside %d\n", (int)caught, (int)inside);
	printf("before %ld\n", __syscall_cp_asm(&already, SYS_read, ends[0], (long)&byte, 1));
	return 0;
}
