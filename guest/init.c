// SPDX-License-Identifier: GPL-2.0
/*
 * init - the guest's first process, an ordinary one.
 *
 * Prepares what a Linux program expects, and starts the application (execve() of the
 * marker file, or of a normal executable), with a companion beside it if there is one (a
 * shell, a script). Reaps children, reports over the status channel how the application
 * ended, and powers the machine off. The run ends with the companion if there is one,
 * else with the application.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#define PORT_TIMEOUT	5000	/* ms to wait for the status port */
#define ACK_TIMEOUT	3000	/* ms to wait for the host to read the last message */
#define CLOCK_TIMEOUT	1000	/* ms to wait for the host's time */
#define KILL_TIMEOUT	1000	/* ms to wait for killed processes to die */

#define APPLICATION	"application"
#define COMPANION	"companion"
#define AGENT		"agent"
#define STREAMS		"streams"

struct guest {
	struct run run;
	pid_t application;	/* 0 when it is not running */
	pid_t companion;
	pid_t agent;
	pid_t relay;		/* of the application's streams */
	int kmsg;		/* what the kernel says from the application's start on */
	int ended;		/* tells the relay that the application has ended */
	long kill_at;		/* when to kill the processes that got SIGTERM; 0: never */
};

/* Death of a child, and the signals that busybox's halt, poweroff and reboot send. */
static const int handled[] = { SIGCHLD, SIGUSR1, SIGUSR2, SIGTERM };

static volatile sig_atomic_t asked;	/* to end */

static void on_signal(int number)
{
	if (number != SIGCHLD)	/* that one only interrupts ppoll() */
		asked = 1;
}

/*
 * The kernel prints "Power down" at the highest level, but the console belongs to the
 * application. Only /proc can set level 0.
 */
static void silence_kernel(void)
{
	int fd = open("/proc/sys/kernel/printk", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "0\n");
	close(fd);
}

/* Kill all remaining processes and wait for them: an open file keeps its volume busy. */
static void kill_all(void)
{
	pid_t pid;

	kill(-1, SIGKILL);
	for (long end = now_ms() + KILL_TIMEOUT; now_ms() < end; usleep(1000)) {
		do {
			pid = waitpid(-1, NULL, WNOHANG);
		} while (pid > 0);
		if (pid < 0)	/* no child left */
			return;
	}
}

/* Without ACPI a power-off would only halt (kernel_can_power_off(), kernel/reboot.c). */
static bool can_switch_off(void)
{
	return access("/sys/firmware/acpi", F_OK) == 0;
}

/* Unmount before the last message: after it, the host waits only some seconds. */
__attribute__((noreturn))
static void power_off(const struct run *run)
{
	tcdrain(STDOUT_FILENO);
	silence_kernel();
	kill_all();
	volumes_down(run);
	sync();
	status_done(ACK_TIMEOUT);
	if (!run->reset && can_switch_off())
		reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);	/* the machine cannot be switched off */
	for (;;)
		pause();
}

__attribute__((noreturn))
static void give_up(const struct run *run, const char *what, int error)
{
	status_error(what, error);
	power_off(run);
}

/* Open the device behind /dev/console: only that can be a controlling terminal. */
static int open_terminal(void)
{
	char name[80] = "/dev/";
	ssize_t got;
	char *last;
	int fd;

	fd = open("/sys/class/tty/console/active", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	got = read(fd, name + 5, sizeof(name) - 6);
	close(fd);
	if (got <= 0)
		return -1;
	name[5 + got] = '\0';
	name[5 + strcspn(name + 5, "\n")] = '\0';
	last = strrchr(name, ' ');	/* the last of several is /dev/console */
	if (last)
		memmove(name + 5, last + 1, strlen(last));
	return open(name, O_RDWR | O_NOCTTY);
}

/* In the child: set up standard streams, and the terminal of an interactive companion. */
static int child_streams(bool console_input, bool interactive)
{
	int fd;

	if (interactive) {
		fd = open_terminal();
		if (fd < 0 || ioctl(fd, TIOCSCTTY, 0))
			return errno;
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		close(fd);
	} else if (!console_input) {
		fd = open("/dev/null", O_RDONLY);
		if (fd < 0)
			return errno;
		dup2(fd, STDIN_FILENO);
		close(fd);
	}
	return 0;
}

/* @streams: those of an application that does not use the console, or NULL. */
__attribute__((noreturn))
static void child(const struct run *run, bool companion, struct streams *streams, int report)
{
	bool console_input = companion ? false : run->console_input && !run->interactive;
	int error;

	child_signals();
	setsid();
	error = streams ? streams_take(streams, run->streams, run) :
		child_streams(console_input, companion && run->interactive);
	if (!error && !companion)
		error = child_becomes(run);
	if (!error && run->cwd && chdir(run->cwd))
		error = errno;
	if (!error) {
		if (companion)
			execve(run->companion[0], run->companion, run->envp);
		else
			execve(run->path, run->argv, run->envp);
		error = errno;
	}
	child_failed(report, error);
}

/* Start the application or the companion. Returns 0 when it did not start. */
static pid_t start(const struct run *run, bool companion, struct streams *streams)
{
	const char *who = companion ? COMPANION : APPLICATION;
	int report[2], error;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC))
		give_up(run, "pipe", errno);
	pid = fork();
	if (pid < 0)
		give_up(run, "fork", errno);
	if (!pid)
		child(run, companion, streams, report[1]);
	close(report[1]);
	error = child_error(report[0]);
	close(report[0]);
	if (error) {
		waitpid(pid, NULL, 0);
		status_error(companion ? "execve of the companion" : "execve", error);
		return 0;
	}
	status_started(who, pid);
	return pid;
}

/*
 * Start the application with streams that a relay passes to the host and back. First open
 * all that may be missing.
 */
static void start_with_streams(struct guest *guest)
{
	struct run *run = &guest->run;
	struct streams streams;
	int ended[2], port, error;

	port = port_open(STREAMS_PORT, PORT_TIMEOUT);
	if (port < 0)
		give_up(run, "port of the application's streams", -port);
	error = streams_open(&streams, run->streams);
	if (error)
		give_up(run, "streams of the application", error);
	if (pipe2(ended, O_CLOEXEC))
		give_up(run, "pipe", errno);
	guest->application = start(run, false, &streams);
	if (guest->application) {
		guest->relay = fork();
		if (guest->relay < 0)
			give_up(run, "fork of the streams' relay", errno);
		if (!guest->relay) {
			close(status_fd());
			child_signals();
			setsid();
			agent_relay(run->nonce, port, &streams, run->streams, ended[0]);
		}
	}
	guest->ended = ended[1];
	close(ended[0]);
	close(port);
	streams_close(streams.ours, 3);
	streams_close(streams.theirs, 3);
}

/* Reap all children that have ended, and report the ones we started. */
static void reap(struct guest *guest)
{
	char reason[MAX_REASON];
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		if (pid == guest->application || pid == guest->companion)
			kmsg_reason(guest->kmsg, pid, status, reason, sizeof(reason));
		if (pid == guest->application) {
			tcdrain(STDOUT_FILENO);
			guest->application = 0;
			status_ended(APPLICATION, status, &usage, reason);
			/* Not by its end: the agent may have inherited a copy. */
			if (guest->relay && write(guest->ended, "", 1) < 0)
				kill(guest->relay, SIGKILL);
		} else if (pid == guest->companion) {
			guest->companion = 0;
			status_ended(COMPANION, status, &usage, reason);
		} else if (pid == guest->agent) {	/* it ends only by accident */
			guest->agent = 0;
			status_ended(AGENT, status, &usage, "");
		} else if (pid == guest->relay) {
			guest->relay = 0;
			if (status)
				status_ended(STREAMS, status, &usage, "");
		}
	}
}

/* Each leads its session and process group. */
static void signal_all(const struct guest *guest, int number)
{
	if (guest->application)
		kill(-guest->application, number);
	if (guest->companion)
		kill(-guest->companion, number);
}

/* A second request can only shorten the time that the first one set. */
static void stop(struct guest *guest, unsigned int grace_ms)
{
	long kill_at = now_ms() + grace_ms;

	if (guest->kill_at && guest->kill_at <= kill_at)
		return;
	guest->kill_at = kill_at;
	if (guest->application)
		kill(-guest->application, guest->run.stop_signal);
	if (guest->companion)
		kill(-guest->companion, SIGTERM);
	signal_all(guest, SIGCONT);
}

/* The agent's programs are its children; init adopts their orphans. */
static void start_agent(struct guest *guest)
{
	if (guest->agent)
		return;
	guest->agent = fork();
	if (guest->agent < 0) {
		guest->agent = 0;
		status_error("fork of the agent", errno);
	}
	if (guest->agent)
		return;
	close(status_fd());
	child_signals();
	setsid();
	agent_main(guest->run.nonce);
}

/*
 * Of a snapshot: hold the processors while the host saves the machine. The program of a copy
 * gets SIGCONT, as one that was stopped. The clients of the agent are those of the original.
 */
static void hold(struct guest *guest, struct pollfd *host)
{
	enum host_request request = snapshot_hold();

	if (request == HOST_STOP)
		stop(guest, status_grace(guest->run.grace_ms));
	if (request == HOST_GONE)
		host->fd = -1;
	if (request == HOST_COPY)
		signal_all(guest, SIGCONT);
	snapshot_release();
	if (request == HOST_COPY)
		snapshot_connect();
	if (request == HOST_COPY && guest->agent) {
		kill(guest->agent, SIGKILL);
		waitpid(guest->agent, NULL, 0);
		guest->agent = 0;
	}
	if (request == HOST_GO || request == HOST_COPY) {
		status_clock(CLOCK_TIMEOUT);
		status_resumed(guest->application);
	}
}

static void handle_requests(struct guest *guest, struct pollfd *host)
{
	enum host_request request;

	while ((request = status_request()) != HOST_NOTHING) {
		if (request == HOST_GONE) {
			host->fd = -1;
			return;
		}
		if (request == HOST_STOP)
			stop(guest, status_grace(guest->run.grace_ms));
		if (request == HOST_AGENT)
			start_agent(guest);
		if (request == HOST_HOLD)
			hold(guest, host);
	}
}

/* Until the host has all output, the run goes on. */
static bool running(const struct guest *guest)
{
	return guest->run.companion ? guest->companion != 0 :
				      guest->application || guest->relay;
}

/* Wait until the run has ended. */
static void serve(struct guest *guest)
{
	struct pollfd host = { .fd = status_fd(), .events = POLLIN };
	struct timespec wait = { 0 };
	sigset_t none;

	sigemptyset(&none);
	for (reap(guest); running(guest); reap(guest)) {
		long left = guest->kill_at ? guest->kill_at - now_ms() : 0;

		if (asked) {
			asked = 0;
			stop(guest, guest->run.grace_ms);
			continue;
		}
		if (guest->kill_at && left <= 0) {
			signal_all(guest, SIGKILL);
			if (guest->relay && !guest->application)
				kill(guest->relay, SIGKILL);	/* nobody reads the output */
			guest->kill_at = now_ms() + 100;
			left = 100;
		}
		wait.tv_sec = left / 1000;
		wait.tv_nsec = left % 1000 * 1000000;
		if (ppoll(&host, 1, guest->kill_at ? &wait : NULL, &none) > 0)
			handle_requests(guest, &host);
	}
}

/*
 * The kernel goes on when it could not unpack everything. The run description comes last in
 * the initrd, so what we have then is none, or that of the base, which has no nonce.
 */
static void check_unpacked(const struct run *run)
{
	if ((run->nonce && *run->nonce) || !kmsg_has("Initramfs unpacking failed"))
		return;
	dprintf(STDERR_FILENO, "init: the initrd is not unpacked completely\n");
	power_off(run);
}

/* Block all of them except inside ppoll(). */
static void prepare_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++) {
		sigaddset(&blocked, handled[i]);
		sigaction(handled[i], &action, NULL);
	}
	sigprocmask(SIG_BLOCK, &blocked, NULL);
}

static void prepare(struct guest *guest)
{
	const char *wrong, *what;
	int mounted, error;

	prepare_signals();

	/* First the channel, so that errors can be reported. It needs /sys and /dev. */
	mounted = setup_mounts(&what);
	wrong = run_load(&guest->run, RUN_FILE);
	/* Without a nonce no host reads the channel: the image was packaged for other machines. */
	error = guest->run.nonce && *guest->run.nonce ?
		status_open(guest->run.nonce, PORT_TIMEOUT) : -ENODEV;
	if (error && error != -ENODEV)
		status_error("status port", -error);
	check_unpacked(&guest->run);
	if (wrong) {
		dprintf(STDERR_FILENO, "init: " RUN_FILE ": %s\n", wrong);
		give_up(&guest->run, "run description", EINVAL);
	}
	if (mounted)
		give_up(&guest->run, what, -mounted);
	status_hello(guest->run.name);
	if (sethostname(guest->run.name, strlen(guest->run.name)))
		give_up(&guest->run, "host name", errno);
	error = net_up(&guest->run, &what);
	if (error)
		give_up(&guest->run, what, -error);
	status_clock(CLOCK_TIMEOUT);
	error = volumes_up(&guest->run, &what);
	if (error)
		give_up(&guest->run, what, -error);
	setup_limits();
	setup_huge_pages();
	if (guest->run.cores)
		core_up();
	setup_console(&guest->run);
	umask(022);
	status_ready();
}

int main(int argc, char **argv)
{
	static struct guest guest;

	if (argc > 1 && !strcmp(argv[1], "core"))	/* as the kernel's helper */
		return core_main(argv + 2);
	if (getpid() != 1) {
		fprintf(stderr, "init: this is the first process of a guest\n");
		return 1;
	}
	prepare(&guest);
	guest.kmsg = kmsg_open();
	if (guest.run.start) {
		if (guest.run.streams)
			start_with_streams(&guest);
		else
			guest.application = start(&guest.run, false, NULL);
		if (!guest.application && !guest.run.companion)
			power_off(&guest.run);
	}
	if (guest.run.companion)
		guest.companion = start(&guest.run, true, NULL);
	serve(&guest);
	power_off(&guest.run);
}
