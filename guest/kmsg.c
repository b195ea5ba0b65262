// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's log: why a process died, where only the kernel knows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define MAX_RECORD	8192	/* more than PRINTKRB_RECORD_MAX */

/* Make it fit into a string of JSON. */
static void copy_line(char *to, size_t size, const char *from)
{
	size_t i = 0;

	for (; i + 1 < size && from[i] && from[i] != '\n'; i++)
		to[i] = from[i] < ' ' || from[i] > '~' || from[i] == '"' || from[i] == '\\' ?
			'?' : from[i];
	to[i] = '\0';
}

/* Read the next record; returns its text, or NULL at the end. */
static char *next_text(int fd, char *record, size_t size)
{
	ssize_t got;
	char *text;

	do {
		got = read(fd, record, size - 1);
		/* EPIPE: it was overwritten meanwhile; go on with what is there. */
		if (!got || (got < 0 && errno != EPIPE))
			return NULL;
		record[got < 0 ? 0 : got] = '\0';
		text = strchr(record, ';');	/* "LEVEL,SEQUENCE,TIME,FLAGS;TEXT" */
	} while (!text);
	return text + 1;
}

/* Whether the kernel has logged a line with @text. */
bool kmsg_has(const char *text)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char record[MAX_RECORD], *found;

	while (fd >= 0 && (found = next_text(fd, record, sizeof(record))) && !strstr(found, text))
		;
	if (fd < 0)
		return false;
	close(fd);
	return found;
}

/* Return a descriptor for what the kernel will log from now on, or -1. */
int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* Code that the kernel does not let a program in application mode execute. */
static bool is_refusal(const char *text)
{
	return !strncmp(text, "UKL: ", 5) && strstr(text, "] may not execute ");
}

/*
 * Copy the kernel's last line about the death of @pid with @status into @line. The OOM killer
 * may have killed another process: if there is no line about @pid, take one about that. If a
 * core file says enough, or there is no such line, take one about code that was refused, in
 * whatever thread. @line is empty if there is none, or if the status is 0.
 */
void kmsg_reason(int fd, pid_t pid, int status, char *line, size_t size)
{
	char record[MAX_RECORD], refused[MAX_REASON] = "", killed[40], about[40], *text;
	bool found = false;

	*line = '\0';
	if (fd < 0 || !status)
		return;
	snprintf(killed, sizeof(killed), "Killed process %d ", pid);
	snprintf(about, sizeof(about), "[%d]: ", pid);
	while ((text = next_text(fd, record, sizeof(record)))) {
		if (is_refusal(text)) {
			copy_line(refused, sizeof(refused), text);
			continue;
		}
		if (WCOREDUMP(status))
			continue;
		if (strstr(text, killed) || strstr(text, about))
			found = true;
		else if (found || !strstr(text, "Killed process "))
			continue;
		copy_line(line, size, text);
	}
	if (!*line)
		copy_line(line, size, refused);
}
