// SPDX-License-Identifier: GPL-2.0
/*
 * matrix NAME [WORD...] - one promise of Linux to a process at a time.
 *
 * The output of a normal process and of the application in the kernel must be the
 * same. "matrix exit N", "matrix pause" and "matrix started WORD..." are for checks that
 * execute it again.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <time.h>

#include "matrix.h"

const char *current;
char **words;

int in_kernel(void)
{
	unsigned short cs;

	__asm__("mov %%cs, %0" : "=r" (cs));
	return !(cs & 3);
}

pid_t split(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	return pid;
}

const char *end_of(pid_t child)
{
	static char text[64];
	int status;

	CHECK(waitpid(child, &status, 0) == child);
	if (WIFEXITED(status))
		snprintf(text, sizeof(text), "exited %d", WEXITSTATUS(status));
	else
		snprintf(text, sizeof(text), "killed %s", sigabbrev_np(WTERMSIG(status)));
	return text;
}

void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };

	CHECK(!sigaction(number, &action, NULL));
}

void milliseconds(int n)
{
	struct timespec left = { n / 1000, n % 1000 * 1000000L };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

long field(const char *path, const char *key)
{
	FILE *file = fopen(path, "r");
	char line[512];
	long found = -1;
	size_t n = strlen(key);

	CHECK(file);
	while (found < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, n) && strchr(": \t", line[n]))
			found = strtol(line + n + 1, NULL, 10);
	}
	fclose(file);
	return found;
}

int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), result;

	if (fd < 0)
		return -errno;
	result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return result;
}

unsigned long symbol(const char *name)
{
	char line[256], found[128], type;
	unsigned long address;
	FILE *file = fopen("/proc/kallsyms", "r");

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx %c %127s", &address, &type, found) == 3 && !strcmp(found, name)) {
			fclose(file);
			return address;
		}
	}
	fclose(file);
	return 0;
}

const char *self(void)
{
	const char *path = getenv("MATRIX");

	CHECK(path);
	return path;
}

static const struct check *const groups[] = {
	event_checks, hostile_checks, memory_checks, process_checks, sequence_checks,
	signal_checks, starting_checks, thread_checks, tracing_checks,
};

int main(int count, char **given)
{
	if (count < 2)
		return 2;
	if (!strcmp(given[1], "exit"))
		return atoi(given[2]);
	if (!strcmp(given[1], "pause"))
		return pause();
	if (!strcmp(given[1], "started"))
		return started(given + 2);
	words = given + 2;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		for (const struct check *check = groups[i]; check->name; check++) {
			if (strcmp(check->name, given[1]))
				continue;
			current = check->name;
			check->run();
			return 0;
		}
	}
	fprintf(stderr, "matrix: no check %s\n", given[1]);
	return 2;
}
