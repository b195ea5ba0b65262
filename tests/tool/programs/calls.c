// SPDX-License-Identifier: GPL-2.0
/* System calls that rewriting can break. Prints what differs, and "done"; exits with 20 + CPL. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;
static int pipes[2], cleaned;
static volatile sig_atomic_t handled;
static volatile unsigned long highest;

static unsigned int level(void)
{
	unsigned long cs;

	asm volatile("mov %%cs, %0" : "=r" (cs));
	return cs & 3;
}

static void expect(int true, const char *what)
{
	if (!true)
		printf("wrong: %s\n", what);
}

static void clean(void *unused)
{
	cleaned++;
}

static void *wait_long(void *kind)
{
	struct pollfd poll_in = { .fd = pipes[0], .events = POLLIN };
	siginfo_t info;
	char byte;

	pthread_cleanup_push(clean, NULL);
	switch ((long)kind) {
	case 0:
		(void)!read(pipes[0], &byte, 1);
		break;
	case 1:
		poll(&poll_in, 1, -1);
		break;
	case 2:
		pause();
		break;
	case 3:
		sleep(1000);
		break;
	default:
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
		for (;;)
			getppid();
	}
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancel(void)
{
	pthread_t thread;
	void *result;
	int i;

	for (i = 0; i < 40; i++) {
		pthread_create(&thread, NULL, wait_long, (void *)(long)(i % 5));
		usleep(5000 + 77 * i);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		expect(result == PTHREAD_CANCELED, "a thread was not cancelled");
	}
	expect(cleaned == 40, "handlers of cancelled threads did not run");
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	const ucontext_t *interrupted = context;
	unsigned long ip = interrupted->uc_mcontext.gregs[REG_RIP];

	handled++;
	if (ip > highest)
		highest = ip;
	(void)getppid();
}

static void handle(int flags)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags };

	sigaction(SIGALRM, &action, NULL);
	handled = 0;
}

/* A child sends signals to its parent, which waits in read(), and then what is read. */
static void restart(void)
{
	pid_t parent = getpid(), child;
	int i, status;
	char byte = 0;

	handle(SA_RESTART);
	child = fork();
	if (!child) {
		for (i = 0; i < 20; i++) {
			usleep(5000);
			kill(parent, SIGALRM);
		}
		usleep(20000);
		_exit(write(pipes[1], "x", 1) == 1 ? 3 : 4);
	}
	expect(read(pipes[0], &byte, 1) == 1 && byte == 'x', "read() was not restarted");
	expect(handled > 5, "few signals arrived");
	expect(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3, "the child's end");

	handle(0);
	ualarm(50000, 0);
	expect(read(pipes[0], &byte, 1) == -1 && errno == EINTR, "read() did not fail with EINTR");
}

/* Nothing but what the program maps is in a frame: no address of the kernel. */
static void signals_at_any_time(void)
{
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };
	struct timespec sleep_for = { 0, 3000000 };
	pid_t parent = getppid();
	int i;

	handle(SA_RESTART);
	setitimer(ITIMER_REAL, &often, NULL);
	while (handled < 200) {
		for (i = 0; i < 1000; i++)
			if (getppid() != parent)
				expect(0, "getppid()");
		nanosleep(&sleep_for, NULL);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	expect(highest < 1UL << 47, "a signal's frame is in the kernel half");
}

static sigjmp_buf back;

static void on_jump(int number)
{
	siglongjmp(back, 1);
}

/* A handler that does not return */
static void leave(void)
{
	static volatile int i;
	char byte;

	for (i = 0; i < 20; i++) {
		signal(SIGALRM, on_jump);
		if (!sigsetjmp(back, 1)) {
			ualarm(2000, 0);
			(void)!read(pipes[0], &byte, 1);
			expect(0, "read() returned");
		}
	}
}

static void *count(void *unused)
{
	unsigned long sum = 0;
	int i;

	for (i = 0; i < 5000; i++)
		sum += getppid();
	return (void *)sum;
}

static void threads(void)
{
	pthread_t made[4];
	void *sum;
	int i;

	for (i = 0; i < 4; i++)
		pthread_create(&made[i], NULL, count, NULL);
	for (i = 0; i < 4; i++) {
		pthread_join(made[i], &sum);
		expect((unsigned long)sum == 5000UL * getppid(), "a thread's calls");
	}
}

static void children(char *self)
{
	char *arguments[] = { self, "child", NULL };
	int status;
	pid_t child;

	child = vfork();
	if (!child) {
		execv("/proc/self/exe", arguments);
		_exit(9);
	}
	expect(waitpid(child, &status, 0) == child && WEXITSTATUS(status) >= 20, "vfork()");
	expect(!posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ), "spawn");
	expect(waitpid(child, &status, 0) == child && WEXITSTATUS(status) >= 20, "posix_spawn()");
	expect(syscall(SYS_getpid) == getpid(), "syscall()");
	child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!child)
		_exit(5);
	expect(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 5, "clone()");
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "child"))
		return 20 + level();
	setvbuf(stdout, NULL, _IONBF, 0);
	if (pipe(pipes))
		return 1;
	cancel();
	restart();
	signals_at_any_time();
	leave();
	threads();
	children(argv[0]);
	printf("done at %u\n", level());
	return 20 + level();
}
