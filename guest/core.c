// SPDX-License-Identifier: GPL-2.0
/*
 * Sends core files to the host: the kernel pipes each into `init core …`, see core(5).
 *
 * They have a separate virtio-serial port, for one at a time. The host gets a line
 *
 *	ukl-core 1 PID SIGNAL STEXT EXECUTABLE
 *
 * (STEXT: address of the kernel's text in this boot, hexadecimal; EXECUTABLE with '!' for each
 * '/'), then pieces, each after its length in four bytes, little endian; length 0: the end.
 * It answers with one byte when it has the whole core. The dumping process waits for that, so
 * nothing is lost even if its end is the end of the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

#define PORT_NAME	"org.unikernel-linux.core"
#define PORT_TIMEOUT	5000	/* ms to wait for the port */
#define BUSY_TIMEOUT	60000	/* ms to wait for another core */
#define HOST_TIMEOUT	30000	/* ms to wait for the host to read a piece, and for its answer */

#define CHUNK		65536

/* Number of processes that may dump at a time; with 0 the kernel would not wait for us. */
#define AT_A_TIME	"16"

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) >= 0;
	close(fd);
	return done;
}

/*
 * Have the kernel pipe all cores to us. The application is not dumpable, as it has the
 * kernel's rights; with 2, root gets its core, and no process may trace it.
 */
void core_up(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	put("/proc/sys/kernel/core_pipe_limit", AT_A_TIME);
	put("/proc/sys/fs/suid_dumpable", "2");
	/* Not /init: the root may be that of a container image. */
	put("/proc/sys/kernel/core_pattern", "|/proc/1/exe core %p %s %c %E");
	setrlimit(RLIMIT_CORE, &limit);	/* a program may set 0, and then has no core */
}

/* The address of _stext, 0 if it cannot be found. */
static unsigned long kernel_text(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long address;
	char name[128];

	if (!file)
		return 0;
	while (fscanf(file, "%lx %*c %127s%*[^\n]", &address, name) == 2) {
		if (!strcmp(name, "_stext")) {
			fclose(file);
			return address;
		}
	}
	fclose(file);
	return 0;
}

static int open_port(void)
{
	long deadline = now_ms() + BUSY_TIMEOUT;
	int fd;

	while ((fd = port_open(PORT_NAME, PORT_TIMEOUT)) == -EBUSY && now_ms() < deadline)
		usleep(20000);
	return fd;
}

static bool send_all(int port, const void *data, size_t size)
{
	struct pollfd ready = { .fd = port, .events = POLLOUT };
	const char *from = data;

	while (size) {
		ssize_t wrote = write(port, from, size);

		if (wrote > 0) {
			from += wrote;
			size -= wrote;
		} else if (!(wrote < 0 && errno == EINTR) &&
			   ((wrote < 0 && errno != EAGAIN) ||
			    poll(&ready, 1, HOST_TIMEOUT) <= 0)) {
			return false;
		}
	}
	return true;
}

static bool send_piece(int port, const char *data, uint32_t size)
{
	unsigned char head[4] = { size, size >> 8, size >> 16, size >> 24 };

	return send_all(port, head, sizeof(head)) && send_all(port, data, size);
}

/* @argv: PID SIGNAL LIMIT EXECUTABLE. The core is on standard input. */
int core_main(char **argv)
{
	static char data[CHUNK];
	struct pollfd answer = { .events = POLLIN };
	ssize_t got;

	if (!argv[0] || !argv[1] || !argv[2] || !argv[3] || !strcmp(argv[2], "0"))
		return 1;
	answer.fd = open_port();
	if (answer.fd < 0)
		return 1;
	snprintf(data, sizeof(data), "ukl-core 1 %s %s %lx %s\n", argv[0], argv[1],
		 kernel_text(), argv[3]);
	if (!send_all(answer.fd, data, strlen(data)))
		return 1;
	while ((got = read(STDIN_FILENO, data, sizeof(data))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 || !send_piece(answer.fd, data, got))
			return 1;
	}
	if (!send_piece(answer.fd, data, 0))
		return 1;
	return poll(&answer, 1, HOST_TIMEOUT) == 1 ? 0 : 1;
}
