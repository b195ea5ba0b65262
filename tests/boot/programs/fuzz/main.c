// SPDX-License-Identifier: GPL-2.0
/*
 * fuzz supervise SECONDS SEED COMPLAINTS [ACTION...]: runs applications in the kernel (the
 * victims), and normal processes of an ordinary user (the attackers) that try everything
 * that might crash the victims or, through them, the kernel. Run it as root, as a normal
 * process. ACTIONs: only these; "none": no attackers.
 *
 * fuzz victim DUMPABLE MILLISECONDS ROUND: an application that checks its memory.
 * fuzz start: does the same for a moment, and exits with ENDED_STARTED.
 *
 * Only the seed determines what each action does. The timing of the victims and of the
 * other attackers depends on the machine.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <time.h>

#include "fuzz.h"

uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000UL + now.tv_nsec;
}

void microseconds(unsigned int n)
{
	struct timespec left = { n / 1000000, n % 1000000 * 1000L };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

void milliseconds(unsigned int n)
{
	microseconds(n * 1000);
}

int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;

	if (fd < 0)
		return errno;
	error = write(fd, text, strlen(text)) < 0 ? errno : 0;
	close(fd);
	return error;
}

/* Read the beginning of a file, as far as it fits; end it with a NUL. */
ssize_t get(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = 0;
	size_t done = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while (done < size - 1) {
		n = read(fd, buffer + done, size - 1 - done);
		if (n < 0 && errno == EINTR)
			continue;
		error = n < 0 ? errno : 0;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	close(fd);
	buffer[done] = '\0';
	errno = error;
	return done || !error ? (ssize_t)done : -1;
}

int main(int count, char **words)
{
	if (count < 2)
		return 2;
	if (!strcmp(words[1], "supervise"))
		return supervise(count, words);
	return victim(count, words);
}
