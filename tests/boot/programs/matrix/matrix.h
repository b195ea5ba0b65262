/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MATRIX_H
#define MATRIX_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))

struct check {
	const char *name;
	void (*run)(void);
};

/* The current check, and the words after its name. */
extern const char *current;
extern char **words;

/* "ok NAME DETAIL": an observation. Print nothing that differs from run to run. */
#define OK(...) do {							\
	printf("ok %s ", current);					\
	printf(__VA_ARGS__);						\
	putchar('\n');							\
} while (0)

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("not ok %s %s:%d: %s (errno %d)\n", current,	\
		       __FILE__, __LINE__, #condition, errno);		\
		fflush(stdout);						\
		_exit(1);						\
	}								\
} while (0)

/* The errno of a failed call, or 0. */
#define ERROR(call)	((long)(call) < 0 ? errno : 0)

/* Whether this is the application in the kernel. */
int in_kernel(void);
/* Fork a child, with stdout flushed. */
pid_t split(void);
/* Wait for a child, and return how it ended: "exited 3", "killed SEGV". */
const char *end_of(pid_t child);
void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags);
void milliseconds(int n);
/* The number after KEY in a file of "KEY: NUMBER" lines; -1 if there is none. */
long field(const char *path, const char *key);
/* Write to a file; -errno if that fails. */
int put(const char *path, const char *text);
/* The address of a symbol of the kernel, for root; 0 if there is none. */
unsigned long symbol(const char *name);
/* Run a part that a check has started: "matrix started WORD...". */
int started(char **words);
/* The file of this program: MATRIX in the environment. */
const char *self(void);

extern const struct check event_checks[], hostile_checks[], memory_checks[],
	process_checks[], sequence_checks[], signal_checks[], starting_checks[],
	thread_checks[], tracing_checks[];

#ifdef __cplusplus
}
#endif
#endif
