// SPDX-License-Identifier: GPL-2.0
/*
 * The status channel: a virtio-serial port over which init reports how the run went.
 * The host concludes nothing from the console, where the application writes.
 *
 * Each message is one line of JSON with the nonce of this run; the host answers with
 * words: "stop", "ack". Without a port (the image was booted by hand) init reports the
 * end on the console.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#define PORT_NAME	"org.unikernel-linux.status"
#define PORT_CLASS	"/sys/class/virtio-ports"
#define WRITE_TIMEOUT	2000	/* ms */
#define CLOCK_ROUNDS	5	/* how often to ask for the host's time, at most */
#define CLOCK_GOOD	500000LL	/* ns: an answer within this is good enough */
#define NSEC_PER_SEC	1000000000LL

static int port = -1;
static const char *nonce;

long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool has_name(const char *device, const char *wanted)
{
	char path[300], name[64] = "";
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), PORT_CLASS "/%s/name", device);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	got = read(fd, name, sizeof(name) - 1);
	close(fd);
	if (got <= 0 || name[got - 1] != '\n')
		return false;
	name[got - 1] = '\0';
	return !strcmp(name, wanted);
}

static int find_port(const char *name, char *device, size_t size)
{
	struct dirent *entry;
	int found = -ENOENT;
	DIR *class;

	class = opendir(PORT_CLASS);
	if (!class)
		return -ENODEV;
	while (found && (entry = readdir(class))) {
		if (entry->d_name[0] == '.' || !has_name(entry->d_name, name))
			continue;
		snprintf(device, size, "/dev/%s", entry->d_name);
		found = 0;
	}
	closedir(class);
	return found;
}

/*
 * Open a port; returns its descriptor or a negative errno. The device sends the port's name
 * some time after the driver's probe. Wait for it, unless there is no driver at all.
 */
int port_open(const char *name, int timeout_ms)
{
	long deadline = now_ms() + timeout_ms;
	char device[300];
	int error, fd;

	while ((error = find_port(name, device, sizeof(device))) == -ENOENT) {
		if (now_ms() >= deadline)
			return error;
		usleep(2000);
	}
	if (error)
		return error;
	fd = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int status_open(const char *run_nonce, int timeout_ms)
{
	int fd = port_open(PORT_NAME, timeout_ms);

	nonce = run_nonce;
	if (fd < 0)
		return fd;
	port = fd;
	return 0;
}

int status_fd(void)
{
	return port;
}

static void give_up(void)
{
	close(port);
	port = -1;
}

static void send_all(const char *line, size_t size)
{
	struct pollfd ready = { .fd = port, .events = POLLOUT };

	while (size) {
		ssize_t wrote = write(port, line, size);

		if (wrote > 0) {
			line += wrote;
			size -= wrote;
		} else if (wrote < 0 && errno == EINTR) {
			continue;
		} else if ((wrote < 0 && errno != EAGAIN) ||
			   poll(&ready, 1, WRITE_TIMEOUT) == 0) {
			give_up();
			return;
		}
	}
}

/*
 * Send one message; @format gives the members after nonce and type. Its strings are our
 * own words, names checked by the host, or from strerror(): none needs escaping.
 */
__attribute__((format(printf, 2, 3)))
static void message(const char *type, const char *format, ...)
{
	char line[512 + MAX_REASON];
	va_list args;
	int size;

	if (port < 0)
		return;
	size = snprintf(line, sizeof(line), "{\"nonce\":\"%s\",\"type\":\"%s\",\"ms\":%ld",
			nonce ? nonce : "", type, now_ms());
	va_start(args, format);
	size += vsnprintf(line + size, sizeof(line) - size, format, args);
	va_end(args);
	if (size + 2 > (int)sizeof(line))
		return;
	line[size++] = '}';
	line[size++] = '\n';
	send_all(line, size);
}

void status_hello(const char *name)
{
	message("hello", ",\"version\":1,\"name\":\"%s\"", name);
}

void status_ready(void)
{
	message("ready", "%s", "");
}

void status_started(const char *who, pid_t pid)
{
	message("started", ",\"who\":\"%s\",\"pid\":%d", who, pid);
}

/* Of a snapshot: all processors are held. */
void status_held(void)
{
	message("held", "%s", "");
}

/* After a snapshot, in the original and in a copy; @pid is the application's, or 0. */
void status_resumed(pid_t pid)
{
	message("resumed", ",\"pid\":%d", pid);
}

static long long microseconds(struct timeval time)
{
	return time.tv_sec * 1000000LL + time.tv_usec;
}

/* @reason is what the kernel says about it, or empty. */
void status_ended(const char *who, int status, const struct rusage *usage, const char *reason)
{
	char how[80];


	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "\"signal\":%d,\"core\":%s", WTERMSIG(status),
			 WCOREDUMP(status) ? "true" : "false");
	else
		snprintf(how, sizeof(how), "\"status\":%d", WEXITSTATUS(status));
	message(WIFSIGNALED(status) ? "signaled" : "exited",
		",\"who\":\"%s\",%s,\"user_us\":%lld,\"system_us\":%lld,\"maxrss_kib\":%ld,"
		"\"kernel\":\"%s\"",
		who, how, microseconds(usage->ru_utime), microseconds(usage->ru_stime),
		usage->ru_maxrss, reason);
	if (port < 0)
		dprintf(STDERR_FILENO, "init: %s %s %d\n", who,
			WIFSIGNALED(status) ? "was killed by signal" : "exited with status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void status_error(const char *what, int error)
{
	message("error", ",\"what\":\"%s\",\"errno\":%d,\"text\":\"%s\"", what, error,
		error ? strerror(error) : "");
	if (port < 0)
		dprintf(STDERR_FILENO, "init: %s: %s\n", what, error ? strerror(error) : "failed");
}

static enum host_request pending = HOST_NOTHING;	/* came while waiting for another */

static long long host_time;	/* from the last HOST_TIME: ns since the epoch */

/* "time SECONDS NANOSECONDS" of the host's clock. */
static bool is_time(const char *line)
{
	long long seconds, nanoseconds;

	if (sscanf(line, "time %lld %lld", &seconds, &nanoseconds) != 2)
		return false;
	host_time = seconds * NSEC_PER_SEC + nanoseconds;
	return true;
}

/*
 * "go SECONDS NANOSECONDS": the programs may go on. They must not see the time of the snapshot,
 * so set the clock at once; status_clock() is more exact, and lets them run.
 */
static bool is_go(const char *line)
{
	struct timespec set;
	long long seconds, nanoseconds;

	if (sscanf(line, "go %lld %lld", &seconds, &nanoseconds) != 2)
		return false;
	set.tv_sec = seconds;
	set.tv_nsec = nanoseconds;
	clock_settime(CLOCK_REALTIME, &set);
	return true;
}

static char news[128];

/* "seed ..." and "copy ...": see snapshot.c. */
static bool is_news(const char *line)
{
	if (strncmp(line, "seed ", 5) && strncmp(line, "copy ", 5))
		return false;
	snprintf(news, sizeof(news), "%s", line);
	return true;
}

/* The line of the last HOST_NEWS. */
const char *status_news(void)
{
	return news;
}

static unsigned int grace_ms;
static bool grace_given;

/* "stop", or "stop MILLISECONDS": how long the application may take to end. */
static bool is_stop(const char *line)
{
	if (sscanf(line, "stop %u", &grace_ms) == 1)
		return grace_given = true;
	if (strcmp(line, "stop"))
		return false;
	grace_given = false;
	return true;
}

/* The time that the host's last HOST_STOP gives the application; @usual without a number. */
unsigned int status_grace(unsigned int usual)
{
	return grace_given ? grace_ms : usual;
}

/* Return the host's next request; does not wait. */
enum host_request status_request(void)
{
	static char line[128];
	static size_t size;
	enum host_request request;
	ssize_t got;
	char *end;

	if (pending != HOST_NOTHING) {
		request = pending;
		pending = HOST_NOTHING;
		return request;
	}
	end = memchr(line, '\n', size);
	if (!end) {
		if (size == sizeof(line))
			size = 0;	/* not a line of our host's: discard it */
		got = port < 0 ? 0 : read(port, line + size, sizeof(line) - size);
		if (got <= 0)
			return got < 0 && (errno == EAGAIN || errno == EINTR) ?
				HOST_NOTHING : HOST_GONE;
		size += got;
		end = memchr(line, '\n', size);
		if (!end)
			return HOST_NOTHING;
	}
	*end = '\0';
	request = is_stop(line) ? HOST_STOP :
		  !strcmp(line, "ack") ? HOST_ACK :
		  !strcmp(line, "agent") ? HOST_AGENT :
		  net_hosts(line) ? HOST_HOSTS :
		  is_time(line) ? HOST_TIME :
		  !strcmp(line, "hold") ? HOST_HOLD :
		  is_news(line) ? HOST_NEWS :
		  is_go(line) ? HOST_GO : HOST_NOTHING;
	size -= end + 1 - line;
	memmove(line, end + 1, size);
	return request;
}

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

/*
 * Ask for the host's time, and wait for the answer. If a request to end comes instead, keep
 * it for later.
 */
static bool ask_time(long deadline_ms)
{
	struct pollfd ready = { .events = POLLIN };
	long left;

	message("clock", "%s", "");
	ready.fd = port;
	while (port >= 0 && (left = deadline_ms - now_ms()) > 0) {
		if (poll(&ready, 1, left) <= 0)
			continue;
		switch (status_request()) {
		case HOST_TIME:
			return true;
		case HOST_STOP:
			pending = HOST_STOP;
			return false;
		case HOST_GONE:
			return false;
		default:
			break;
		}
	}
	return false;
}

/*
 * Set the clock from the host's: the machine's own counts whole seconds. Assume that the
 * host read its clock halfway between question and answer; use the quickest of a few answers.
 */
void status_clock(int timeout_ms)
{
	long long best = -1, offset = 0, now;
	long deadline = now_ms() + timeout_ms;
	struct timespec set;

	for (int round = 0; round < CLOCK_ROUNDS; round++) {
		long long asked = now_ns(), took;

		if (!ask_time(deadline))
			break;
		took = now_ns() - asked;
		if (best < 0 || took < best) {
			best = took;
			offset = host_time - (asked + took / 2);
		}
		if (best <= CLOCK_GOOD)
			break;
	}
	if (best < 0)
		return;
	now = now_ns() + offset;
	set.tv_sec = now / NSEC_PER_SEC;
	set.tv_nsec = now % NSEC_PER_SEC;
	clock_settime(CLOCK_REALTIME, &set);
}

/*
 * Report that the machine is about to be powered off, and wait until the host has read
 * all messages: QEMU would discard what it still buffers.
 */
void status_done(int timeout_ms)
{
	long deadline = now_ms() + timeout_ms, left;
	struct pollfd ready = { .events = POLLIN };

	message("done", "%s", "");
	ready.fd = port;
	while (port >= 0 && (left = deadline - now_ms()) > 0) {
		if (poll(&ready, 1, left) <= 0)
			continue;
		switch (status_request()) {
		case HOST_ACK:
		case HOST_GONE:
			return;
		default:
			break;
		}
	}
}
