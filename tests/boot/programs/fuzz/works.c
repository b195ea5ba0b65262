// SPDX-License-Identifier: GPL-2.0
/*
 * The work of an application's threads, a little with each call. Each checks what it gets.
 * If a lowered limit makes a call fail, it continues without.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "fuzz.h"
#include "victim.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id	_sigev_un._tid
#endif

#define PAGES	8UL

/* New pages are zero, keep what is written, and refuse access as protected. */
void use_memory(void)
{
	char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long before = faults, i;

	if (area == MAP_FAILED)
		return;
	for (i = 0; i < PAGES; i++) {
		uint64_t *words = (uint64_t *)(area + i * PAGE);

		if (words[0] || words[PAGE / 8 - 1])
			broken("a new page", words, words[0], 0);
		fill(words, 16, 10);
	}
	if (!mprotect(area, PAGES * PAGE, PROT_READ)) {
		for (i = 0; i < PAGES; i += 4) {
			expected = area + i * PAGE + 1024;
			*expected = 'x';
			expected = NULL;
			if (faults == before + i / 4)
				broken("a page that is read-only", area + i * PAGE, 'x', 0);
		}
	}
	for (i = 0; i < PAGES; i++)
		verify("a page", (uint64_t *)(area + i * PAGE), 16, 10);
	if (!madvise(area, PAGE, MADV_DONTNEED) && *area)
		broken("a page that was dropped", area, *area, 0);
	munmap(area, PAGES * PAGE);
}

/* ---- Children ---- */

static char *const again[] = { "fuzz", "start", NULL };

static _Noreturn void child(uint64_t *copy, unsigned int kind)
{
	verify("a child's copy", copy, 64, 11);
	fill(copy, 64, 12);
	verify_all();
	if (kind % 8 == 1)
		use_memory();
	if (kind % 8 == 5) {
		mask_all(SIG_BLOCK);
		execv(MARKER, again);
	}
	_exit(ENDED_STARTED);
}

/* A child may be killed or stopped; resume it then. Any other end is its own fault. */
static void await(pid_t pid)
{
	siginfo_t info;

	for (int i = 0; ; i++) {
		info.si_pid = 0;
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT)) {
			if (errno == EINTR)
				continue;
			return;		/* ECHILD: SIGCHLD is ignored */
		}
		if (info.si_pid && info.si_code != CLD_STOPPED && info.si_code != CLD_TRAPPED)
			break;
		if (info.si_pid)
			kill(pid, SIGCONT);
		if (i == 5000)
			kill(pid, SIGKILL);
		milliseconds(2);
	}
	if (info.si_code == CLD_EXITED ?
	    info.si_status != ENDED_STARTED && info.si_status != ENDED_LIMIT :
	    info.si_status != SIGKILL && !limited(pid)) {
		say("victim broken: a child ended with code %d status %d\n", info.si_code,
		    info.si_status);
		_exit(ENDED_BROKEN);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A child's memory is a copy: the parent does not see the child's writes. */
void use_children(void)
{
	static uint64_t copy[64];
	static unsigned int kind;
	pid_t pid;

	fill(copy, ARRAY_SIZE(copy), 11);
	if (kind++ % 8 == 3) {
		mask_all(SIG_BLOCK);
		pid = vfork();
		if (!pid) {
			execv(MARKER, again);
			_exit(ENDED_STARTED);
		}
		mask_all(SIG_UNBLOCK);
	} else {
		pid = fork();
		if (!pid)
			child(copy, kind);
	}
	verify("a parent's copy", copy, ARRAY_SIZE(copy), 11);
	if (pid > 0)
		await(pid);
	verify("a parent's copy", copy, ARRAY_SIZE(copy), 11);
}

/* ---- Communication ---- */

/* What is written to a pipe can be read, unchanged. */
void use_pipe(void)
{
	unsigned char bytes[300], got[300];
	size_t done = 0;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)mix(i);
	for (int i = 0; i < 4; i++) {
		ssize_t n = write(ends[1], bytes, sizeof(bytes));

		if (n != sizeof(bytes)) {
			if (n < 0 && errno == EINTR)
				continue;
			broken("a pipe's length", bytes, (uint64_t)n, sizeof(bytes));
		}
		for (done = 0; done < sizeof(got); ) {
			n = read(ends[0], got + done, sizeof(got) - done);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				broken("a pipe", got, (uint64_t)n, done);
			done += (size_t)n;
		}
		if (memcmp(bytes, got, sizeof(bytes)))
			broken("a pipe's bytes", got, got[0], bytes[0]);
	}
	close(ends[0]);
	close(ends[1]);
}

/* Two threads share a mutex, by a futex; only one is inside at a time. */
void use_lock(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static volatile unsigned long inside;

	for (int i = 0; i < 20; i++) {
		pthread_mutex_lock(&mutex);
		if (inside++)
			broken("a mutex", (void *)&inside, inside, 0);
		if (i % 4 == 0)
			sched_yield();
		if (--inside)
			broken("a mutex", (void *)&inside, inside, 0);
		pthread_mutex_unlock(&mutex);
	}
}

/* ---- Time and signals ---- */

void use_timers(void)
{
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, off = { 0 };
	struct itimerspec when = { { 0, 1000000 }, { 0, 1000000 } };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 3,
	};
	uint64_t begin = nanoseconds();
	timer_t timer;
	bool made;

	event.sigev_notify_thread_id = gettid();
	/* EAGAIN: the user has too many queued signals. */
	made = !timer_create(CLOCK_MONOTONIC, &event, &timer);
	if (made)
		timer_settime(timer, 0, &when, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	sigqueue(getpid(), SIGRTMIN + 4, (union sigval){ .sival_int = 1 });
	raise(SIGUSR1);
	raise(SIGSEGV);			/* as any process could send it */
	poll(NULL, 0, 1);
	milliseconds(5);
	if (nanoseconds() - begin < 4900000UL)
		broken("the clock", NULL, nanoseconds(), begin);
	setitimer(ITIMER_REAL, &off, NULL);
	if (made)
		timer_delete(timer);
}

/* Interrupts, calls and signals preserve general and SSE registers. */
void use_registers(void)
{
	uint64_t bx = 0x1111111111111111, r12 = 0x2222222222222222, r13 = 0x3333333333333333;
	uint64_t r14 = 0x4444444444444444, r15 = 0x5555555555555555, low = 0, high = 0;
	long count = 20000;

	__asm__ volatile("movq %[bx], %%xmm7; movq %[r12], %%xmm15; stc\n"
			 "1: dec %[count]; jnz 1b; jc 2f; not %[bx]\n"
			 "2: movq %%xmm7, %[low]; movq %%xmm15, %[high]"
			 : [bx] "+b" (bx), [count] "+r" (count), [low] "=&r" (low),
			   [high] "=&r" (high), [r12] "+r" (r12), [r13] "+r" (r13),
			   [r14] "+r" (r14), [r15] "+r" (r15)
			 : : "xmm7", "xmm15", "cc");
	if (bx != 0x1111111111111111 || low != bx)
		broken("rbx or xmm7", NULL, bx, low);
	if (r12 != 0x2222222222222222 || high != r12)
		broken("r12 or xmm15", NULL, r12, high);
	if ((r13 ^ r14 ^ r15) != (0x3333333333333333 ^ 0x4444444444444444 ^ 0x5555555555555555))
		broken("r13, r14 or r15", NULL, r13, r14);
	__asm__ volatile("movq %0, %%xmm9" : : "r" (r13) : "xmm9");
	syscall(SYS_getppid);
}
