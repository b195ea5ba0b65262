// SPDX-License-Identifier: GPL-2.0
/*
 * The agent: executes programs in the guest for `ukl exec`, several at a time.
 *
 * A separate process, which init starts when the host first needs it. The host talks to it
 * over a virtio-serial port, in frames that each belong to a channel; a channel is one
 * program. docs/design/guest.md and src/ukl/vm/agent.py describe the frames and their order.
 *
 * No program waits for another. The agent does not read a program's output before the host
 * has granted bytes to its channel, and buffers what a program does not read, up to the window
 * that the host has to respect.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

#define PORT_NAME	"org.unikernel-linux.agent"
#define PORT_TIMEOUT	5000	/* ms to wait for the port */

#define MAX_CHANNELS	32
#define HEADER		8
#define MAX_PAYLOAD	65535
#define CHUNK		16384	/* most bytes of output in a frame */
#define WINDOW		65536	/* bytes of input buffered for a program */

enum type {
	/* from the host */
	EXEC = 1, INPUT = 2, SIGNAL = 3, RESIZE = 4, CLOSE = 5, GRANT = 6,
	/* to the host */
	STARTED = 16, FAILED = 17, OUTPUT = 18, ERRORS = 19, EXITED = 20, TAKEN = 21,
};

#define FLAG_TERMINAL	1	/* of EXEC */

struct channel {
	bool used;
	uint32_t id;
	bool terminal;
	bool exited;		/* its status is known, its output may not be sent yet */
	int status;
	pid_t pid;
	int in, out, err;	/* our ends; -1 when closed; a terminal has in == out */
	uint32_t granted;	/* bytes of output that the host accepts */
	bool in_end;		/* no more input comes after what is pending */
	size_t pending;
	char *input;
};

static int port;
static struct channel channels[MAX_CHANNELS];
static unsigned char incoming[HEADER + MAX_PAYLOAD + 1];	/* and a NUL after it */
static size_t incoming_size;
static unsigned char outgoing[2 * (HEADER + MAX_PAYLOAD)];
static size_t outgoing_size;

/* --- frames ------------------------------------------------------------------ */

static void flush(void)
{
	size_t done = 0;

	while (done < outgoing_size) {
		ssize_t wrote = write(port, outgoing + done, outgoing_size - done);

		if (wrote > 0)
			done += wrote;
		else if (wrote < 0 && errno == EAGAIN)
			break;
		else if (!(wrote < 0 && errno == EINTR))
			_exit(1);	/* the host is gone */
	}
	outgoing_size -= done;
	memmove(outgoing, outgoing + done, outgoing_size);
}

static void put(const void *data, size_t size)
{
	struct pollfd ready = { .fd = port, .events = POLLOUT };

	while (outgoing_size + size > sizeof(outgoing)) {
		flush();
		if (outgoing_size + size > sizeof(outgoing))
			poll(&ready, 1, -1);
	}
	memcpy(outgoing + outgoing_size, data, size);
	outgoing_size += size;
}

static uint32_t get32(const unsigned char *from)
{
	return from[0] | from[1] << 8 | from[2] << 16 | (uint32_t)from[3] << 24;
}

static void put32(unsigned char *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = value >> 8 * i;
}

static void send_frame(enum type type, uint32_t id, const void *data, size_t size)
{
	unsigned char head[HEADER] = { type, 0, size & 0xff, size >> 8 };

	put32(head + 4, id);
	put(head, sizeof(head));
	put(data, size);
}

static void send_number(enum type type, uint32_t id, uint32_t number)
{
	unsigned char data[4];

	put32(data, number);
	send_frame(type, id, data, sizeof(data));
}

static void send_failure(uint32_t id, int error)
{
	unsigned char data[100];

	put32(data, error);
	snprintf((char *)data + 4, sizeof(data) - 4, "%s", strerror(error));
	send_frame(FAILED, id, data, 4 + strlen((char *)data + 4));
}

/* --- a program's start -------------------------------------------------------- */

/* In the child. @theirs are its streams; with a terminal, the first is the terminal. */
static int prepare_child(struct run *run, char *text, size_t size, bool terminal, int theirs[3])
{
	struct winsize window = { 0 };

	child_signals();
	if (run_parse(run, text, size) || !run->companion)
		return EINVAL;
	setsid();
	if (terminal) {
		window.ws_row = run->rows;
		window.ws_col = run->columns;
		if (ioctl(theirs[0], TIOCSCTTY, 0))
			return errno;
		if (window.ws_row && window.ws_col)
			ioctl(theirs[0], TIOCSWINSZ, &window);
	}
	for (int fd = 0; fd < 3; fd++)
		if (dup2(theirs[fd], fd) < 0)
			return errno;
	if (run->cwd && chdir(run->cwd))
		return errno;
	return child_becomes(run);
}

__attribute__((noreturn))
static void child(char *text, size_t size, bool terminal, int theirs[3], int report)
{
	struct run run;
	int error = prepare_child(&run, text, size, terminal, theirs);

	if (!error) {
		environ = run.envp;	/* execvp() searches its PATH */
		execvp(run.companion[0], run.companion);
		error = errno;
	}
	child_failed(report, error);
}

static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Create the three streams, with descriptors above 2: the child's dup2() must not overwrite one. */
static int open_streams(bool terminal, int ours[3], int theirs[3])
{
	int ends[2], master;

	if (terminal) {
		master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
		if (master < 0)
			return errno;
		ours[0] = master;
		if (grantpt(master) || unlockpt(master))
			return errno;
		theirs[0] = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (theirs[0] < 0)
			return errno;
		ours[1] = fcntl(master, F_DUPFD_CLOEXEC, 3);
		theirs[1] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
		theirs[2] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
		return ours[1] < 0 || theirs[1] < 0 || theirs[2] < 0 ? EMFILE : 0;
	}
	for (int i = 0; i < 3; i++) {
		if (pipe2(ends, O_CLOEXEC))
			return errno;
		ours[i] = ends[i ? 0 : 1];
		theirs[i] = ends[i ? 1 : 0];
		fcntl(ours[i], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

/* Returns 0 when execve() has succeeded, or an errno. */
static int start(struct channel *channel, char *text, size_t size)
{
	int ours[3] = { -1, -1, -1 }, theirs[3] = { -1, -1, -1 }, report[2] = { -1, -1 };
	int error = open_streams(channel->terminal, ours, theirs);
	pid_t pid = -1;

	if (!error && pipe2(report, O_CLOEXEC))
		error = errno;
	if (!error) {
		pid = fork();
		if (!pid)
			child(text, size, channel->terminal, theirs, report[1]);
		error = pid < 0 ? errno : 0;
	}
	close_all(theirs, 3);
	close_all(report + 1, 1);
	if (!error) {
		error = child_error(report[0]);
		if (error)
			waitpid(pid, NULL, 0);
	}
	close_all(report, 1);
	if (error) {
		close_all(ours, 3);
		return error;
	}
	channel->pid = pid;
	channel->in = ours[0];
	channel->out = ours[1];
	channel->err = ours[2];
	return 0;
}

/* --- channels -------------------------------------------------------------------- */

static struct channel *find(uint32_t id)
{
	for (int i = 0; i < MAX_CHANNELS; i++)
		if (channels[i].used && channels[i].id == id)
			return &channels[i];
	return NULL;
}

static void release(struct channel *channel)
{
	close_all(&channel->in, 1);
	close_all(&channel->out, 1);
	close_all(&channel->err, 1);
	free(channel->input);
	memset(channel, 0, sizeof(*channel));
}

static void begin(uint32_t id, unsigned char flags, char *text, size_t size)
{
	struct channel *channel = NULL;
	int error;

	if (find(id))
		return;
	for (int i = 0; i < MAX_CHANNELS && !channel; i++)
		if (!channels[i].used)
			channel = &channels[i];
	if (!channel) {
		send_failure(id, EAGAIN);
		return;
	}
	*channel = (struct channel){
		.used = true, .id = id, .terminal = flags & FLAG_TERMINAL,
		.in = -1, .out = -1, .err = -1, .input = malloc(WINDOW),
	};
	error = channel->input ? start(channel, text, size) : ENOMEM;
	if (error) {
		send_failure(id, error);
		release(channel);
		return;
	}
	send_number(STARTED, id, channel->pid);
}

static void write_input(struct channel *channel)
{
	size_t taken = 0;

	if (channel->in >= 0 && channel->pending) {
		ssize_t wrote = write(channel->in, channel->input, channel->pending);

		if (wrote > 0)
			taken = wrote;
		else if (wrote < 0 && errno != EAGAIN && errno != EINTR)
			close_all(&channel->in, 1);	/* no process reads it any more */
	}
	if (channel->in < 0)
		taken = channel->pending;
	channel->pending -= taken;
	memmove(channel->input, channel->input + taken, channel->pending);
	if (taken)
		send_number(TAKEN, channel->id, taken);
	if (channel->in_end && !channel->pending && channel->in >= 0 && !channel->terminal)
		close_all(&channel->in, 1);
}

static void take_input(struct channel *channel, const unsigned char *data, size_t size)
{
	static const unsigned char end_of_file = 4;	/* VEOF of a new terminal */

	if (!size) {
		channel->in_end = true;
		if (channel->terminal) {
			data = &end_of_file;
			size = 1;
		}
	}
	if (size > WINDOW - channel->pending)
		size = WINDOW - channel->pending;	/* the host ignores the window */
	memcpy(channel->input + channel->pending, data, size);
	channel->pending += size;
	write_input(channel);
}

static void hang_up(struct channel *channel)
{
	if (!channel->exited) {
		kill(-channel->pid, SIGHUP);
		kill(-channel->pid, SIGCONT);
	}
	release(channel);
}

static void handle_frame(unsigned char type, unsigned char flags, uint32_t id,
			 unsigned char *data, size_t size)
{
	struct channel *channel = find(id);
	struct winsize window = { 0 };

	if (type == EXEC) {
		begin(id, flags, (char *)data, size);
		return;
	}
	if (!channel)		/* ended, and the host does not know yet */
		return;
	switch (type) {
	case INPUT:
		take_input(channel, data, size);
		break;
	case SIGNAL:
		if (size == 1 && !channel->exited)
			kill(-channel->pid, data[0]);
		break;
	case RESIZE:
		if (size != 4 || !channel->terminal || channel->out < 0)
			break;
		window.ws_row = data[0] | data[1] << 8;
		window.ws_col = data[2] | data[3] << 8;
		ioctl(channel->out, TIOCSWINSZ, &window);
		break;
	case CLOSE:
		hang_up(channel);
		break;
	case GRANT:
		if (size == 4)
			channel->granted += get32(data);
		break;
	}
}

static void read_port(void)
{
	ssize_t got = read(port, incoming + incoming_size,
			   sizeof(incoming) - 1 - incoming_size);
	size_t at = 0;

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		_exit(1);	/* the host is gone */
	if (got < 0)
		return;
	incoming_size += got;
	while (incoming_size - at >= HEADER) {
		unsigned char *frame = incoming + at;
		size_t size = frame[2] | frame[3] << 8;
		unsigned char *data = frame + HEADER, behind;

		if (incoming_size - at < HEADER + size)
			break;
		/* A run description needs a NUL at its end, where the next frame begins. */
		behind = data[size];
		data[size] = '\0';
		handle_frame(frame[0], frame[1], get32(frame + 4), data, size);
		data[size] = behind;
		at += HEADER + size;
	}
	incoming_size -= at;
	memmove(incoming, incoming + at, incoming_size);
}

/* Send what @fd has, at most @granted bytes; at its end, an empty frame. */
static void read_output(struct channel *channel, int *fd, enum type type)
{
	static char data[CHUNK];
	size_t most = channel->granted < CHUNK ? channel->granted : CHUNK;
	ssize_t got = read(*fd, data, most);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {		/* EIO: no process has the terminal open */
		got = 0;
		close_all(fd, 1);
	}
	channel->granted -= got;
	send_frame(type, channel->id, data, got);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < MAX_CHANNELS; i++) {
			struct channel *channel = &channels[i];

			if (!channel->used || channel->exited || channel->pid != pid)
				continue;
			channel->exited = true;
			channel->status = status;
		}
	}
}

static void on_child(int number)
{
	(void)number;	/* only interrupts ppoll() */
}

/*
 * One round: wait, and move what can be moved. Read output only when the port accepts it.
 * Report that a program has ended when all its output is sent; do not wait for processes
 * that it started and that have its streams open.
 */
static void round_of(const sigset_t *none)
{
	struct pollfd fds[1 + 3 * MAX_CHANNELS];
	static const struct timespec at_once;
	bool ended = false, idle = !outgoing_size;

	reap();
	fds[0] = (struct pollfd){ port, POLLIN | (idle ? 0 : POLLOUT), 0 };
	for (int i = 0; i < MAX_CHANNELS; i++) {
		struct channel *channel = &channels[i];
		bool read_it = channel->used && idle && channel->granted;
		struct pollfd *own = fds + 1 + 3 * i;

		own[0] = (struct pollfd){ channel->used && channel->pending ? channel->in : -1,
					  POLLOUT, 0 };
		own[1] = (struct pollfd){ read_it ? channel->out : -1, POLLIN, 0 };
		own[2] = (struct pollfd){ read_it ? channel->err : -1, POLLIN, 0 };
		ended |= channel->used && channel->exited && read_it;
	}
	if (ppoll(fds, sizeof(fds) / sizeof(fds[0]), ended ? &at_once : NULL, none) < 0)
		return;
	for (int i = 0; i < MAX_CHANNELS; i++) {
		struct channel *channel = &channels[i];
		struct pollfd *own = fds + 1 + 3 * i;

		if (!channel->used)
			continue;
		if (own[0].revents)
			write_input(channel);
		if (own[1].revents)
			read_output(channel, &channel->out, OUTPUT);
		if (own[2].revents && channel->granted)
			read_output(channel, &channel->err, ERRORS);
		if (channel->exited && idle && channel->granted && !own[1].revents &&
		    !own[2].revents) {
			send_number(EXITED, channel->id, channel->status);
			release(channel);
		}
	}
	/* Last: it creates channels that this round has not polled. */
	if (fds[0].revents & ~POLLOUT)
		read_port();
	flush();
}

__attribute__((noreturn))
void agent_main(const char *nonce)
{
	struct sigaction action = { .sa_handler = on_child };
	sigset_t blocked, none;
	char hello[128];

	sigemptyset(&none);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	sigaction(SIGCHLD, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "ukl-agent");
	port = port_open(PORT_NAME, PORT_TIMEOUT);
	if (port < 0)
		_exit(1);
	/* Discard what an agent that died had not read. The host waits for our first line. */
	while (read(port, incoming, sizeof(incoming) - 1) > 0)
		;
	snprintf(hello, sizeof(hello), "ukl-agent 1 %s\n", nonce ? nonce : "");
	put(hello, strlen(hello));
	flush();
	for (;;)
		round_of(&none);
}
