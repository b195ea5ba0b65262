// SPDX-License-Identifier: GPL-2.0
/*
 * checks NAME [ARG...] - one promise of Linux to a process at a time.
 *
 * Runs as a normal process and as an application in the kernel; both must print the
 * same. It prints nothing that differs from run to run. The status is 0 when the check
 * itself found no error.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "checks.h"

int argc;
char **argv;

/* ---- The two kinds of system call ---- */

static long by_instruction(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a" (result)
			 : "a" (number), "D" (a), "S" (b), "d" (c)
			 : "rcx", "r11", "memory");
	return result;
}

static long by_call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("call ukl_syscall" : "=a" (result)
			 : "a" (number), "D" (a), "S" (b), "d" (c)
			 : "rcx", "r11", "memory", "cc");
	return result;
}

const struct way ways[2] = { { "instruction", by_instruction }, { "call", by_call } };

int check_entries(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		long (*enter)(long, long, long, long) = ways[i].enter;
		char buffer[8] = "";
		int pipes[2];

		CHECK(enter(SYS_getpid, 0, 0, 0) == getpid());
		CHECK(enter(SYS_close, -1, 0, 0) == -EBADF);
		CHECK(enter(100000, 0, 0, 0) == -ENOSYS);
		CHECK(enter(SYS_pipe, (long)pipes, 0, 0) == 0);
		CHECK(enter(SYS_write, pipes[1], (long)"unikern", 8) == 8);
		CHECK(enter(SYS_read, pipes[0], (long)buffer, 8) == 8);
		CHECK(!strcmp(buffer, "unikern"));
		CHECK(enter(SYS_write, pipes[1], 8, 8) == -EFAULT);
		close(pipes[0]);
		close(pipes[1]);
		for (int n = 0; n < 20000; n++)
			CHECK(enter(SYS_getppid, 0, 0, 0) == getppid());
		printf("by %s: fine\n", ways[i].name);
	}
	return 0;
}

/* ---- Beginning and end ---- */

int check_start(void)
{
	char name[65] = "";

	printf("argc %d, argv[0] %s\n", argc, argv[0]);
	for (int i = 2; i < argc; i++)
		printf("argv[%d] <%s>\n", i, argv[i]);
	printf("PATH=%s\n", getenv("PATH"));
	printf("uid %d gid %d pid %s\n", getuid(), getgid(), getpid() == 1 ? "1" : "other");
	gethostname(name, sizeof(name));
	printf("host %s\n", name);
	printf("/proc is %s\n", access("/proc/self/stat", R_OK) ? "not there" : "there");
	return 0;
}

int check_exit(void)
{
	printf("exiting\n");	/* exit() has to flush this */
	return argc > 2 ? atoi(argv[2]) : 0;
}

/* The compiler must not see where they point. */
volatile char *volatile low = (volatile char *)16;
const struct itimerval off;

int check_abort(void)
{
	abort();
}

int check_segv(void)
{
	*low = 1;
	return 0;
}

/* Until the kernel kills this process, or with "child" one of its own. */
int check_oom(void)
{
	pid_t child = argc > 2 ? fork() : 0;

	if (child) {
		CHECK(status_of(child) == SIGKILL);
		return 5;
	}
	for (;;)
		*(volatile char *)malloc(4096) = 1;
}

int check_hang(void)
{
	puts("hanging");
	fflush(stdout);
	while (pause())
		;
	return 0;
}

/* Stops the machine in supervisor mode; a normal process is killed. */
int check_stuck(void)
{
	puts("stuck");
	fflush(stdout);
	__asm__ volatile("cli\n1: jmp 1b");
	return 0;
}

int check_ignore(void)
{
	signal(SIGTERM, SIG_IGN);
	return check_hang();
}

static void on_term(int number)
{
	(void)number;
	printf("terminated\n");
	exit(5);
}

int check_term(void)
{
	signal(SIGTERM, on_term);
	return check_hang();
}

int check_cat(void)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin))
		printf("<%.*s>\n", (int)strcspn(line, "\n"), line);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} checks[] = {
	{ "abort", check_abort },
	{ "cat", check_cat },
	{ "compute", check_compute },
	{ "entries", check_entries },
	{ "exec", check_exec },
	{ "exit", check_exit },
	{ "fork", check_fork },
	{ "fpu", check_fpu },
	{ "hang", check_hang },
	{ "ignore", check_ignore },
	{ "instances", check_instances },
	{ "oom", check_oom },
	{ "processors", check_processors },
	{ "protections", check_protections },
	{ "ptrace", check_ptrace },
	{ "registers", check_registers },
	{ "restart", check_restart },
	{ "segv", check_segv },
	{ "signals", check_signals },
	{ "sigreturn", check_sigreturn },
	{ "stack", check_stack },
	{ "start", check_start },
	{ "stuck", check_stuck },
	{ "term", check_term },
	{ "threads", check_threads },
	{ "timers", check_timers },
};

int main(int count, char **words)
{
	argc = count;
	argv = words;
	for (size_t i = 0; count > 1 && i < ARRAY_SIZE(checks); i++) {
		if (!strcmp(words[1], checks[i].name))
			return checks[i].run();
	}
	fprintf(stderr, "usage: checks NAME [ARG...]\n");
	return 2;
}
