// SPDX-License-Identifier: GPL-2.0
/* Attackers that start the application in unexpected states and at unexpected moments. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "starts.h"

#define PATIENCE	4000	/* milliseconds for a running application */
#define TELL		910	/* descriptor */

/* ---- One start ---- */

struct launch {
	struct random random;
	const struct start *start;
	int tell;
	atomic_int tid;
	int result;
};

enum way any_way(struct random *random)
{
	return (enum way)below(random, WAYS);
}

/* In the new process; returns if the application was not started. */
static void become(struct launch *launch)
{
	const struct start *start = launch->start;
	int error = 0;

	prepare(&launch->random, start->bits);
	tell_at(launch->tell);
	if (!start->confine || start->confine(&launch->random))
		error = execute(&launch->random, start->way, start->path, start->hostile);
	if (error && write(launch->tell, &error, sizeof(error)) < 0)
		_exit(1);
}

static void *by_thread(void *launch)
{
	become(launch);
	_exit(0);
}

static void *run_idly(void *nothing)
{
	for (;;)
		getppid();
	return nothing;
}

static int child(void *data)
{
	struct launch *launch = data;
	const struct start *start = launch->start;
	pthread_t thread;

	if (start->by_thread) {
		for (int i = 0; i < 3; i++)
			pthread_create(&thread, NULL, start->others ?: run_idly, NULL);
		if (!pthread_create(&thread, NULL, by_thread, launch)) {
			for (;;)
				pause();
		}
	}
	become(launch);
	_exit(0);
}

/* clone() with flags other than fork()'s: a new stack, and perhaps shared memory. */
static pid_t launch_child(struct launch *launch)
{
	static char stack[512 << 10] __attribute__((aligned(16)));

	if (launch->start->clone_flags)
		return clone(child, stack + sizeof(stack), (int)launch->start->clone_flags | SIGCHLD,
			     launch);
	return fork() ?: child(launch);
}

/* ---- Meddling ---- */

/* An application must have no user's tracer or filter, and not no_new_privs. */
static void look(pid_t pid)
{
	static const char *const keys[] = { "\nTracerPid:\t", "\nNoNewPrivs:\t", "\nSeccomp:\t" };
	char path[64], text[4096];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (get(path, text, sizeof(text)) <= 0 || strncmp(text, "Name:\tvictim\n", 13))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		at = strstr(text, keys[i]);
		if (at && at[strlen(keys[i])] != '0')
			found(FOUND_STARTED, "it runs, and has %.20s", at + 1);
	}
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (get(path, text, sizeof(text)) > 0 && address_in(text, false))
		found(FOUND_ADDRESS, "%s of a new one: %.40s", path, address_in(text, false));
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	if (get(path, text, sizeof(text)) > 0 && address_in(text, false))
		found(FOUND_ADDRESS, "%s of a new one: %.40s", path, address_in(text, false));
}

static void meddle_once(struct random *random, pid_t pid, unsigned int what)
{
	struct rlimit limit = { 16384, 16384 };

	if (what & MEDDLE_MOVE)
		move(random, pid);
	if (what & MEDDLE_SIGNAL && one_in(random, 4)) {
		kill(pid, one_in(random, 2) ? SIGSTOP : any_signal(random));
		microseconds(below(random, 300));
		kill(pid, SIGCONT);
	}
	if (what & MEDDLE_LIMIT && one_in(random, 6))
		prlimit(pid, one_in(random, 2) ? RLIMIT_STACK : RLIMIT_AS, &limit, NULL);
	if (what & MEDDLE_LOOK && one_in(random, 4))
		look(pid);
	microseconds(below(random, 400));
}

static bool gone(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) || info.si_pid;
}

/* Try to attach; true if that succeeded while the process had memory. */
static bool attach(struct random *random, pid_t pid)
{
	char path[64], text[64];

	if (ptrace(one_in(random, 2) ? PTRACE_SEIZE : PTRACE_ATTACH, pid, 0, 0)) {
		microseconds(below(random, 200));
		return false;
	}
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	return get(path, text, sizeof(text)) > 0 && atol(text) > 0;
}

/* Resume it wherever it has stopped. */
static void resume(struct random *random, pid_t pid, unsigned int what)
{
	int how = PTRACE_CONT;

	if (what & MEDDLE_STEP)
		how = PTRACE_SINGLESTEP;
	else if (one_in(random, 2))
		how = one_in(random, 2) ? PTRACE_SYSCALL : PTRACE_SINGLESTEP;
	if (ptrace(how, pid, 0, 0))
		microseconds(50);
}

/* Returns whether it was traced while it existed. */
static bool meddle(struct random *random, const struct start *start, pid_t pid, int tell)
{
	struct pollfd pollfd = { .fd = tell, .events = POLLIN };
	uint64_t until = nanoseconds() + PATIENCE * 1000000UL;
	bool traced = start->meddle & (MEDDLE_TRACE | MEDDLE_STEP);

	/* Until it is an application, or the start has failed */
	while (nanoseconds() < until && !gone(pid)) {
		if (traced)
			resume(random, pid, start->meddle);
		else if (start->meddle & MEDDLE_ATTACH)
			traced = attach(random, pid);
		else if (poll(&pollfd, 1, 0) > 0 && pollfd.revents & POLLHUP)
			break;
		else if (start->meddle)
			meddle_once(random, pid, start->meddle);
		else
			microseconds(500);
	}
	/* And a little longer */
	for (int i = 0; i < 20 && start->meddle & MEDDLE_ALL; i++)
		meddle_once(random, pid, start->meddle);
	return traced;
}

/* ---- Results ---- */

/* Reads "x" (about to start), and an errno if the start failed; checks its name, too. */
static bool was_started(pid_t pid, int tell, int *error)
{
	char said[1 + sizeof(*error)];
	ssize_t n = read(tell, said, sizeof(said));

	*error = 0;
	if (n == (ssize_t)sizeof(said))
		memcpy(error, said + 1, sizeof(*error));
	return n == 1 && executed(pid);
}

static void judge_end(const struct start *start, int status, bool strange)
{
	if (!WIFEXITED(status))
		return;
	switch (WEXITSTATUS(status)) {
	case ENDED_BROKEN:
		found(FOUND_VICTIM, "its memory is not what it was");
		break;
	case ENDED_FAULT:
		/* With changed limits, faults are expected. */
		if (!strange)
			found(FOUND_VICTIM, "a fault of a new one");
		break;
	case ENDED_RING0:
		found(FOUND_RING0, "a process that was to start %s", start->path);
		break;
	}
}

bool start_one(struct random *random, const struct start *start)
{
	bool strange = start->bits & (PREPARE_LIMITS | PREPARE_STACK) || start->meddle & MEDDLE_LIMIT ||
		       start->confine;
	struct launch *launch;
	int tell[2], status = SIGKILL, error;
	bool started = false, traced;
	pid_t pid;

	if (pipe2(tell, O_CLOEXEC))
		return false;
	launch = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (launch == MAP_FAILED)
		return false;
	/* A number that no action closes by chance */
	dup3(tell[1], TELL, O_CLOEXEC);
	close(tell[1]);
	*launch = (struct launch){ .random = { draw(random) }, .start = start, .tell = TELL };
	pid = launch_child(launch);
	if (!(start->clone_flags & CLONE_FILES))
		close(TELL);
	if (pid > 0) {
		if (start->begin)
			start->begin(random, pid);
		traced = meddle(random, start, pid, tell[0]);
		kill(pid, SIGCONT);
		if (!zombie(pid, PATIENCE))
			finish(pid);
		if (start->end)
			start->end();
		fcntl(tell[0], F_SETFL, O_NONBLOCK);
		started = was_started(pid, tell[0], &error);
		waitpid(pid, &status, WNOHANG | __WALL);
		step();
		if (started || error)
			say_start(error);
		if (started)
			say_end(status);
		if (started && start->refused)
			found(start->otherwise, "%s", start->refused);
		/* With by_thread, the executing thread is not the one we attached to. */
		if (started && traced && !start->by_thread)
			found(FOUND_STARTED, "with a tracer");
		judge_end(start, status, strange);
	}
	close(TELL);
	close(tell[0]);
	munmap(launch, PAGE);
	remove_files();
	return started;
}

/* ---- Actions ---- */

static void starts(struct random *random)
{
	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		struct start start = {
			.path = MARKER, .way = any_way(random), .hostile = !one_in(random, 3),
			.bits = 1UL << below(random, PREPARATIONS),
		};

		if (one_in(random, 2))
			start.bits |= 1UL << below(random, PREPARATIONS);
		start_one(random, &start);
	}
}

/* We move it between processors all the time. */
static void moved(struct random *random)
{
	struct start start = { .path = MARKER, .meddle = MEDDLE_MOVE };

	listen_to_applications();
	for (int i = 0; i < 5; i++) {
		start.way = any_way(random);
		start.by_thread = one_in(random, 4);
		start_one(random, &start);
	}
}

static void meddled(struct random *random)
{
	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		struct start start = {
			.path = MARKER, .way = any_way(random),
			.meddle = 1 + (unsigned int)below(random, MEDDLE_ALL),
		};

		start_one(random, &start);
	}
}

/* The start ends the other threads of the process, wherever they are. */
static void threads(struct random *random)
{
	struct start start = { .path = MARKER, .by_thread = true };

	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		start.way = any_way(random);
		start_one(random, &start);
	}
}

/* Memory, and perhaps other state, is shared up to the moment of the start. */
static void vforks(struct random *random)
{
	static const long flags[] = {
		CLONE_VM | CLONE_VFORK, CLONE_VM, CLONE_VM | CLONE_FILES, CLONE_VFORK, CLONE_FILES,
		CLONE_VM | CLONE_SYSVSEM, CLONE_IO, CLONE_VM | CLONE_VFORK | CLONE_FILES,
	};
	struct start start = { .path = MARKER };

	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		start.way = any_way(random);
		start.clone_flags = PICK(random, flags);
		start.meddle = start.clone_flags & CLONE_VFORK ? 0 : MEDDLE_MOVE;
		start_one(random, &start);
	}
}

static void shared_state(struct random *random)
{
	static const long flags[] = {
		CLONE_FS, CLONE_FS | CLONE_FILES, CLONE_FS | CLONE_VM,
		CLONE_FS | CLONE_VM | CLONE_FILES, CLONE_FS | CLONE_VM | CLONE_VFORK,
	};
	struct start start = {
		.path = MARKER, .refused = "with a file system state that is shared",
		.otherwise = FOUND_STARTED,
	};

	listen_to_applications();
	for (int i = 0; i < 3; i++) {
		start.way = any_way(random);
		start.clone_flags = PICK(random, flags);
		start_one(random, &start);
	}
}

/* ---- Markers that are not root's ---- */

static bool copy_to(int fd)
{
	char marker[HEAD];
	int from = open(MARKER, O_RDONLY);
	bool done = from >= 0 && read(from, marker, sizeof(marker)) == sizeof(marker) &&
		    write(fd, marker, sizeof(marker)) == sizeof(marker);

	close(from);
	fchmod(fd, 04755);
	return done;
}

static void copies(struct random *random)
{
	struct start start = { .refused = "a copy", .otherwise = FOUND_FORGED };
	char name[64], mine[64];

	listen_to_applications();
	for (int i = 0; i < 5; i++) {
		int fd;

		if (one_in(random, 2)) {
			snprintf(name, sizeof(name), TOP "/copy-%d", getpgrp());
			fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0755);
		} else {
			fd = memfd_create("copy", 0);
			snprintf(name, sizeof(name), "/proc/%d/fd/%d", getpid(), fd);
		}
		if (fd < 0 || !copy_to(fd))
			continue;
		/* With or without a descriptor open for writing. */
		snprintf(mine, sizeof(mine), "/proc/self/fd/%d", fd);
		if (one_in(random, 2)) {
			int reading = open(mine, O_RDONLY);

			if (strncmp(name, "/proc", 5)) {
				close(fd);
				fd = reading;
			}
		}
		start.path = name;
		start.way = one_in(random, 2) ? WAY_PATH : WAY_SCRIPT;
		if (one_in(random, 3))
			start.way = WAY_DESCRIPTOR;
		start_one(random, &start);
		close(fd);
	}
}

/* Corrupt markers, which the kernel reads when they are executed. */
static void spoilt(struct random *random)
{
	struct start start = { .refused = "a spoilt copy", .otherwise = FOUND_FORGED };
	char name[64];

	listen_to_applications();
	for (int i = 0; i < 5; i++) {
		unsigned char bytes[256];
		ssize_t n;
		int fd;

		snprintf(name, sizeof(name), TOP "/copy-%d", getpgrp());
		fd = open(MARKER, O_RDONLY);
		n = read(fd, bytes, sizeof(bytes));
		close(fd);
		if (n != sizeof(bytes))
			return;
		/* The marker alone, or in its ELF file */
		if (one_in(random, 2)) {
			memmove(bytes, bytes + NOTE + 16, 64);
			n = 64;
		}
		for (int k = 0; k < 3; k++)
			bytes[n == 64 ? 4 + below(random, 60) : NOTE + below(random, 80)] =
				(unsigned char)draw(random);
		fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0755);
		if (fd < 0 || write(fd, bytes, one_in(random, 2) ? n : below(random, 256)) < 0)
			continue;
		close(fd);
		start.path = name;
		start_one(random, &start);
	}
}

const struct action start_actions[] = {
	{ "starts", starts, 6, 20000, true },
	{ "moved", moved, 9, 20000, true },
	{ "meddled", meddled, 4, 20000, true },
	{ "threads", threads, 3, 20000, true },
	{ "vforks", vforks, 3, 20000, true },
	{ "shared-state", shared_state, 3, 20000, false },
	{ "copies", copies, 2, 20000, false },
	{ "spoilt", spoilt, 1, 20000, false },
	{ NULL, NULL, 0, 0, false },
};
