/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CHECKS_H
#define CHECKS_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("%s:%d: not so: %s (errno %d)\n", __func__,	\
		       __LINE__, #condition, errno);			\
		fflush(stdout);						\
		_exit(1);						\
	}								\
} while (0)

extern int argc;
extern char **argv;

/* Points to unmapped memory; the compiler must not see that. */
extern volatile char *volatile low;
extern const struct itimerval off;

/* The two kinds of system call: by the syscall instruction, and by a call. */
extern const struct way {
	const char *name;
	long (*enter)(long number, long a, long b, long c);
} ways[2];

/* How often each signal was handled by count_signal(). */
extern volatile sig_atomic_t seen[65];
void count_signal(int number);
void set_handler(int number, void (*handler)(int), int flags);
void set_info_handler(int number, void (*handler)(int, siginfo_t *, void *), int flags);

/* Wait for a child; returns its status as of wait(2). */
int status_of(pid_t child);

int check_abort(void);
int check_cat(void);
int check_compute(void);
int check_entries(void);
int check_exec(void);
int check_exit(void);
int check_fork(void);
int check_fpu(void);
int check_hang(void);
int check_ignore(void);
int check_instances(void);
int check_oom(void);
int check_processors(void);
int check_protections(void);
int check_ptrace(void);
int check_registers(void);
int check_restart(void);
int check_segv(void);
int check_signals(void);
int check_sigreturn(void);
int check_stack(void);
int check_start(void);
int check_stuck(void);
int check_term(void);
int check_threads(void);
int check_timers(void);

#endif
