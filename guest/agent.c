// SPDX-License-Identifier: GPL-2.0
/*
 * The agent: executes programs in the guest for `ukl exec`, several at a time. The same code
 * relays the streams of the application, which init has started, over a port of its own.
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
#define MAX_REST	(2 << 20)	/* more than two pipes hold (pipe-max-size) */

enum type {
	/* from the host */
	EXEC = 1, INPUT = 2, SIGNAL = 3, RESIZE = 4, CLOSE = 5, GRANT = 6, SHUT = 7,
	/* to the host */
	STARTED = 16, FAILED = 17, OUTPUT = 18, ERRORS = 19, EXITED = 20, TAKEN = 21,
};

#define FLAG_TERMINAL	1	/* of EXEC */

struct channel {
	bool used;
	uint32_t id;
	bool in_terminal;	/* its input ends by a character */
	bool exited;		/* its status is known, its output may not be sent yet */
	size_t rest;		/* bytes of output sent since then */
	bool reported;		/* the end is sent */
	int status;
	int kmsg;
	pid_t pid;		/* 0: init's child */
	int in, out, err;	/* our ends; -1 when closed */
	int *terminal;		/* the one of them that resizes the terminal, or NULL */
	uint32_t granted;	/* bytes of output that the host accepts */
	bool in_end;		/* no more input comes after what is pending */
	size_t pending;
	char *input;
};

static int port;
static int ended = -1;		/* readable when the application has ended; of a relay */
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

/* In the child. */
static int prepare_child(struct run *run, char *text, size_t size, struct streams *streams,
			 const char *kinds)
{
	int error;

	child_signals();
	if (run_parse(run, text, size) || !run->companion)
		return EINVAL;
	setsid();
	error = streams_take(streams, kinds, run);
	if (error)
		return error;
	if (run->cwd && chdir(run->cwd))
		return errno;
	return child_becomes(run);
}

__attribute__((noreturn))
static void child(char *text, size_t size, struct streams *streams, const char *kinds, int report)
{
	struct run run;
	int error = prepare_child(&run, text, size, streams, kinds);

	if (!error) {
		environ = run.envp;	/* execvp() searches its PATH */
		execvp(run.companion[0], run.companion);
		error = errno;
	}
	child_failed(report, error);
}

/* Take over our ends of a program's streams. */
static void adopt(struct channel *channel, pid_t pid, const struct streams *streams,
		  const char *kinds)
{
	channel->pid = pid;
	channel->kmsg = pid ? kmsg_open() : -1;
	channel->in_terminal = kinds[0] == 't';
	channel->in = streams->ours[0];
	channel->out = streams->ours[1];
	channel->err = streams->ours[2];
	channel->terminal = kinds[1] == 't' ? &channel->out :
			    kinds[2] == 't' ? &channel->err : NULL;
}

/* Returns 0 when execve() has succeeded, or an errno. */
static int start(struct channel *channel, const char *kinds, char *text, size_t size)
{
	struct streams streams;
	int error = streams_open(&streams, kinds), report[2] = { -1, -1 };
	pid_t pid = -1;

	if (!error && pipe2(report, O_CLOEXEC))
		error = errno;
	if (!error) {
		pid = fork();
		if (!pid)
			child(text, size, &streams, kinds, report[1]);
		error = pid < 0 ? errno : 0;
	}
	streams_close(streams.theirs, 3);
	streams_close(report + 1, 1);
	if (!error) {
		error = child_error(report[0]);
		if (error)
			waitpid(pid, NULL, 0);
	}
	streams_close(report, 1);
	if (error)
		streams_close(streams.ours, 3);
	else
		adopt(channel, pid, &streams, kinds);
	return error;
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
	streams_close(&channel->in, 1);
	streams_close(&channel->out, 1);
	streams_close(&channel->err, 1);
	streams_close(&channel->kmsg, 1);
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
		.used = true, .id = id,
		.in = -1, .out = -1, .err = -1, .kmsg = -1, .input = malloc(WINDOW),
	};
	error = channel->input ?
		start(channel, flags & FLAG_TERMINAL ? STREAMS_TERMINAL : STREAMS_PIPES,
		      text, size) : ENOMEM;
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
			streams_close(&channel->in, 1);	/* no process reads it any more */
	}
	if (channel->in < 0)
		taken = channel->pending;
	channel->pending -= taken;
	memmove(channel->input, channel->input + taken, channel->pending);
	if (taken)
		send_number(TAKEN, channel->id, taken);
	if (channel->in_end && !channel->pending && channel->in >= 0 && !channel->in_terminal)
		streams_close(&channel->in, 1);
}

static void take_input(struct channel *channel, const unsigned char *data, size_t size)
{
	static const unsigned char end_of_file = 4;	/* VEOF of a new terminal */

	if (!size) {
		channel->in_end = true;
		if (channel->in_terminal) {
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
	if (!channel->exited && channel->pid) {
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
		if (size == 1 && !channel->exited && channel->pid)
			kill(-channel->pid, data[0]);
		break;
	case RESIZE:
		if (size != 4 || !channel->terminal || *channel->terminal < 0)
			break;
		window.ws_row = data[0] | data[1] << 8;
		window.ws_col = data[2] | data[3] << 8;
		ioctl(*channel->terminal, TIOCSWINSZ, &window);
		break;
	case CLOSE:
		hang_up(channel);
		break;
	case GRANT:
		if (size == 4)
			channel->granted += get32(data);
		break;
	case SHUT:		/* its reader is gone: SIGPIPE for who writes on */
		if (size == 1 && (data[0] == 1 || data[0] == 2))
			streams_close(data[0] == 1 ? &channel->out : &channel->err, 1);
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
		streams_close(fd, 1);
	}
	channel->granted -= got;
	channel->rest += channel->exited ? got : 0;
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

/* With the kernel's reason, where only the kernel knows it. */
static void send_end(struct channel *channel)
{
	unsigned char data[4 + MAX_REASON];
	char *reason = (char *)data + 4;

	put32(data, channel->status);
	kmsg_reason(channel->kmsg, channel->pid, channel->status, reason, MAX_REASON);
	send_frame(EXITED, channel->id, data, 4 + strlen(reason));
}

/* Send a channel's output, and its end when the program has ended and nothing is left. */
static void serve_channel(struct channel *channel, const struct pollfd *own, bool idle)
{
	if (own[0].revents)
		write_input(channel);
	if (own[1].revents)
		read_output(channel, &channel->out, OUTPUT);
	if (own[2].revents && channel->granted)
		read_output(channel, &channel->err, ERRORS);
	if (!channel->exited || channel->reported || !idle || !channel->granted ||
	    ((own[1].revents || own[2].revents) && channel->rest < MAX_REST))
		return;		/* beyond it, others write that the program has left behind */
	send_end(channel);
	channel->reported = true;
	if (ended < 0)		/* a relay waits until the host has taken it */
		release(channel);
}

/*
 * One round: wait, and move what can be moved. Read output only when the port accepts it.
 * Report that a program has ended when all its output is sent; do not wait for processes
 * that it started and that have its streams open.
 */
static void round_of(const sigset_t *none)
{
	struct pollfd fds[2 + 3 * MAX_CHANNELS];
	static const struct timespec at_once;
	bool drained = false, idle = !outgoing_size;

	reap();
	fds[0] = (struct pollfd){ port, POLLIN | (idle ? 0 : POLLOUT), 0 };
	fds[1] = (struct pollfd){ ended < 0 || channels[0].exited ? -1 : ended, POLLIN, 0 };
	for (int i = 0; i < MAX_CHANNELS; i++) {
		struct channel *channel = &channels[i];
		bool read_it = channel->used && idle && channel->granted;
		struct pollfd *own = fds + 2 + 3 * i;

		own[0] = (struct pollfd){ channel->used && channel->pending ? channel->in : -1,
					  POLLOUT, 0 };
		own[1] = (struct pollfd){ read_it ? channel->out : -1, POLLIN, 0 };
		own[2] = (struct pollfd){ read_it ? channel->err : -1, POLLIN, 0 };
		drained |= read_it && channel->exited && !channel->reported;
	}
	if (ppoll(fds, sizeof(fds) / sizeof(fds[0]), drained ? &at_once : NULL, none) < 0)
		return;
	for (int i = 0; i < MAX_CHANNELS; i++)
		if (channels[i].used)
			serve_channel(&channels[i], fds + 2 + 3 * i, idle);
	if (fds[1].revents)
		channels[0].exited = true;
	/* Last: it creates channels that this round has not polled. */
	if (fds[0].revents & ~POLLOUT)
		read_port();
	flush();
}

/* The host waits for our first line. */
static void greet(const char *nonce)
{
	char hello[128];

	snprintf(hello, sizeof(hello), "ukl-agent 1 %s\n", nonce ? nonce : "");
	put(hello, strlen(hello));
	flush();
}

/*
 * Relay the streams of the application, as channel 0. @ended becomes readable when it has
 * ended. The host's CLOSE says that it has all output: what the port still buffers would be
 * lost when the machine is powered off.
 */
__attribute__((noreturn))
void agent_relay(const char *nonce, int its_port, struct streams *streams, const char *kinds,
		 int its_end)
{
	sigset_t all;

	/* A program may send a signal to all processes. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "ukl-streams");
	streams_close(streams->theirs, 3);
	port = its_port;
	ended = its_end;
	channels[0] = (struct channel){ .used = true, .input = malloc(WINDOW) };
	if (!channels[0].input)
		_exit(1);
	adopt(&channels[0], 0, streams, kinds);
	greet(nonce);
	while (channels[0].used)
		round_of(&all);
	_exit(0);
}

__attribute__((noreturn))
void agent_main(const char *nonce)
{
	struct sigaction action = { .sa_handler = on_child };
	sigset_t blocked, none;

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
	/* Discard what an agent that died had not read. */
	while (read(port, incoming, sizeof(incoming) - 1) > 0)
		;
	greet(nonce);
	for (;;)
		round_of(&none);
}
