// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots: the host saves the machine, and later starts copies of it. What has to differ
 * in a copy is changed here, before a program runs in it.
 *
 * For that, init holds all processors while the machine is saved: on each one, a process with
 * the highest real-time priority waits without sleeping. A copy begins there too, and so does
 * the original when it goes on. The host says what is new, then "go"; docs/design/guest.md
 * describes the lines.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#define SEED		32		/* bytes */
#define HOLD_TIMEOUT	20000L		/* ms of the guest's time until the programs go on */
#define MAX_NAME	64

/* linux/random.h; musl-gcc has no headers of the kernel. */
#define RNDADDENTROPY	_IOW('R', 0x03, int [2])
#define RNDRESEEDCRNG	_IO('R', 0x07)

static struct {
	bool copy;
	char name[MAX_NAME + 1];
	char address[32];	/* of the second interface; "-": there is none */
	char mac[18];
	char seed[2 * SEED + 1];
} given;

/* Take a line about what is new: "seed HEX", "copy NAME ADDRESS MAC". */
static void take(const char *line)
{
	if (sscanf(line, "seed %64[0-9a-f]", given.seed) == 1)
		return;
	given.copy = sscanf(line, "copy %64s %31s %17s", given.name, given.address,
			    given.mac) == 3;
}

/* --- the processors ------------------------------------------------------------ */

/* musl's own call says ENOSYS. */
static int set_policy(int policy)
{
	struct sched_param param = {
		.sched_priority = policy == SCHED_FIFO ? sched_get_priority_max(policy) : 0,
	};

	return syscall(SYS_sched_setscheduler, 0, policy, &param);
}

static int hold_this(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		return -1;
	return set_policy(SCHED_FIFO);
}

__attribute__((noreturn))
static void hold_other(int cpu, int report)
{
	if (!hold_this(cpu))
		(void)!write(report, "", 1);
	close(report);
	for (;;)
		;
}

static cpu_set_t all;
static pid_t others[CPU_SETSIZE];	/* the processes that hold the other processors */
static int other_count;

static void hold(void)
{
	int report[2], first = -1;
	char byte;

	sched_getaffinity(0, sizeof(all), &all);
	other_count = 0;
	if (pipe2(report, O_CLOEXEC))
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		if (first < 0) {
			first = cpu;
			continue;
		}
		others[other_count] = fork();
		if (!others[other_count])
			hold_other(cpu, report[1]);
		if (others[other_count] > 0)
			other_count++;
	}
	close(report[1]);
	for (int i = 0; i < other_count; i++)
		(void)!read(report[0], &byte, 1);
	close(report[0]);
	hold_this(first);
}

/* Let the programs run. */
void snapshot_release(void)
{
	for (int i = 0; i < other_count; i++)
		kill(others[i], SIGKILL);
	set_policy(SCHED_OTHER);
	sched_setaffinity(0, sizeof(all), &all);
	for (int i = 0; i < other_count; i++)
		waitpid(others[i], NULL, 0);
}

/* --- what differs --------------------------------------------------------------- */

static void reseed(void)
{
	struct {
		int entropy_count;	/* bits */
		int buf_size;
		unsigned char data[SEED];
	} pool = { .entropy_count = 8 * SEED, .buf_size = SEED };
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < SEED; i++)
		sscanf(given.seed + 2 * i, "%2hhx", &pool.data[i]);
	if (fd < 0)
		return;
	if (ioctl(fd, RNDADDENTROPY, &pool) || ioctl(fd, RNDRESEEDCRNG))
		status_error("new random numbers", errno);
	close(fd);
}

/* Whether both ends of a connection are in this machine. */
static bool is_inner(const struct sockaddr_storage *ours, const struct sockaddr_storage *theirs)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	const struct sockaddr_in6 *our6 = (const void *)ours, *their6 = (const void *)theirs;
	const struct sockaddr_in *our4 = (const void *)ours, *their4 = (const void *)theirs;
	const unsigned char *bytes = their6->sin6_addr.s6_addr;

	if (theirs->ss_family == AF_INET)
		return our4->sin_addr.s_addr == their4->sin_addr.s_addr ||
		       ntohl(their4->sin_addr.s_addr) >> 24 == 127;
	return !memcmp(&our6->sin6_addr, &their6->sin6_addr, sizeof(our6->sin6_addr)) ||
	       (!memcmp(bytes, mapped, sizeof(mapped)) && bytes[12] == 127);
}

/* The one who has the other end is a machine that does not know this copy. */
static void reset_connection(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct sockaddr_storage ours, theirs;
	socklen_t size = sizeof(ours);
	int protocol = 0;
	socklen_t length = sizeof(protocol);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) || protocol != IPPROTO_TCP)
		return;
	if (getsockname(fd, (struct sockaddr *)&ours, &size))
		return;
	size = sizeof(theirs);
	if (getpeername(fd, (struct sockaddr *)&theirs, &size) || is_inner(&ours, &theirs))
		return;
	connect(fd, &none, sizeof(none));
}

static void reset_connections_of(const char *pid)
{
	char path[300], target[32];
	struct dirent *entry;
	DIR *fds;
	int process;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	fds = opendir(path);
	if (!fds)
		return;
	process = syscall(SYS_pidfd_open, atoi(pid), 0);
	while (process >= 0 && (entry = readdir(fds))) {
		ssize_t size = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target));
		int fd;

		if (size < 7 || memcmp(target, "socket:", 7))
			continue;
		fd = syscall(SYS_pidfd_getfd, process, atoi(entry->d_name), 0);
		if (fd >= 0) {
			reset_connection(fd);
			close(fd);
		}
	}
	if (process >= 0)
		close(process);
	closedir(fds);
}

static void reset_connections(void)
{
	struct dirent *entry;
	DIR *processes = opendir("/proc");

	while (processes && (entry = readdir(processes)))
		if (isdigit((unsigned char)entry->d_name[0]))
			reset_connections_of(entry->d_name);
	if (processes)
		closedir(processes);
}

/* What may wait for other threads of the kernel, which run only when nothing is held. */
void snapshot_connect(void)
{
	const char *what;
	int error = 0;

	/* With the interface down, no peer on the network learns of the resets. */
	net_down();
	reset_connections();
	if (strcmp(given.address, "-"))
		error = net_again(given.address, given.mac, &what);
	if (error)
		status_error(what, -error);
}

/*
 * Hold the processors until the host says "go". Returns HOST_COPY in a copy; HOST_STOP or
 * HOST_GONE if these came instead; HOST_GO otherwise. Then the caller has to release them.
 *
 * Nothing here may sleep: on other processors the threads of the kernel cannot run.
 */
enum host_request snapshot_hold(void)
{
	enum host_request request = HOST_NOTHING;
	long end = now_ms() + HOLD_TIMEOUT;

	memset(&given, 0, sizeof(given));
	hold();
	status_held();
	while (request != HOST_GO && request != HOST_STOP && request != HOST_GONE &&
	       now_ms() < end) {
		request = status_request();
		if (request == HOST_NEWS)
			take(status_news());
	}
	if (request != HOST_GO)
		return request;
	if (*given.seed)
		reseed();
	if (!given.copy)
		return HOST_GO;
	if (sethostname(given.name, strlen(given.name)))
		status_error("host name", errno);
	return HOST_COPY;
}
