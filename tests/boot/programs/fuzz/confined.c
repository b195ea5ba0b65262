// SPDX-License-Identifier: GPL-2.0
/*
 * Attackers that start the application where other processes can influence it: with
 * filters, in namespaces, under tracers and profilers. An unprivileged process must not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "starts.h"

/* ---- Privileges and filters ---- */

static bool no_privileges(struct random *random)
{
	(void)random;
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* The first calls of a program; none that a process needs before execve() */
static const unsigned int early_calls[] = {
	SYS_brk, SYS_mmap, SYS_arch_prctl, SYS_mprotect, SYS_rt_sigaction, SYS_getrandom,
	SYS_prlimit64, SYS_set_tid_address, SYS_readlink, SYS_sigaltstack,
};

/* Two or three of them get `action`; the filter allows all others. */
static long filter(struct random *random, unsigned int action, unsigned int flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PICK(random, early_calls), 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PICK(random, early_calls), 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_brk, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, action),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static bool filtered(struct random *random)
{
	static const unsigned int actions[] = {
		SECCOMP_RET_ERRNO, SECCOMP_RET_TRAP, SECCOMP_RET_TRACE, SECCOMP_RET_LOG,
		SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_THREAD,
	};
	unsigned int action = PICK(random, actions);

	if (action == SECCOMP_RET_ERRNO)
		action |= (unsigned int)below(random, 134);
	return no_privileges(random) && !filter(random, action, 0);
}

/* Another process answers the calls, mostly with an address in the kernel's half. */
static _Noreturn void answer(struct random *random, int listener)
{
	struct seccomp_notif question;
	struct seccomp_notif_resp response;

	for (;;) {
		memset(&question, 0, sizeof(question));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question)) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			_exit(0);
		}
		if (question.data.instruction_pointer & KERNEL_HALF)
			found(FOUND_ADDRESS, "to a filter: %#llx",
			      (unsigned long long)question.data.instruction_pointer);
		memset(&response, 0, sizeof(response));
		response.id = question.id;
		switch (below(random, 4)) {
		case 0:
			response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
			break;
		case 1:
			response.val = 0;
			break;
		default:
			response.val = (int64_t)(kernel_address(random) & ~0xfffUL);
			break;
		}
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
	}
}

static bool listened_to(struct random *random, bool privileged)
{
	int listener;

	if (!privileged && !no_privileges(random))
		return false;
	listener = (int)filter(random, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	if (listener < 0)
		return false;
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_starting();
		answer(random, listener);
	}
	close(listener);
	return true;
}

static bool notified(struct random *random)
{
	return listened_to(random, false);
}

static void confine(struct random *random, bool (*how)(struct random *random), const char *what)
{
	struct start start = {
		.path = MARKER, .confine = how, .refused = what, .otherwise = FOUND_STARTED,
	};

	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		start.way = any_way(random);
		start.by_thread = one_in(random, 4);
		start_one(random, &start);
	}
}

static void no_new_privs(struct random *random)
{
	confine(random, no_privileges, "with no_new_privs");
}

static void filters(struct random *random)
{
	confine(random, filtered, "with a filter");
}

static void notifications(struct random *random)
{
	confine(random, notified, "with a filter that somebody answers for");
}

/* One thread sets filters for all, while another executes; either may be first. */
static void *synchronize(void *nothing)
{
	struct sock_filter code = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (int i = 0; i < 50; i++) {
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
		microseconds(50);
	}
	return nothing;
}

static void synchronized(struct random *random)
{
	struct start start = {
		.path = MARKER, .by_thread = true, .others = synchronize, .meddle = MEDDLE_LOOK,
	};

	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		start.way = any_way(random);
		start_one(random, &start);
	}
}

/* ---- Namespaces ---- */

static bool own_namespace(struct random *random, int more)
{
	char map[64];

	(void)random;
	if (unshare(CLONE_NEWUSER | more))
		return false;
	put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%d %d 1", one_in(random, 2) ? 0 : ATTACKER, ATTACKER);
	put("/proc/self/uid_map", map);
	put("/proc/self/gid_map", map);
	return true;
}

static bool root_of_its_own(struct random *random)
{
	static const int more[] = {
		0, CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS | CLONE_NEWIPC,
		CLONE_NEWCGROUP, CLONE_NEWTIME,
	};

	if (!own_namespace(random, PICK(random, more)))
		return false;
	if (one_in(random, 3))
		mount("none", "/tmp", "tmpfs", 0, NULL);
	if (one_in(random, 3))
		mount("/", "/", NULL, MS_REMOUNT | MS_BIND | MS_NOSUID, NULL);
	/* Outside of the namespace this needs no_new_privs */
	if (one_in(random, 3))
		return listened_to(random, true);
	return true;
}

/* A file that root of the namespace owns, on a file system that it mounted */
static bool root_of_a_copy(struct random *random)
{
	char marker[HEAD];
	int from = open(MARKER, O_RDONLY), to;

	if (!own_namespace(random, CLONE_NEWNS) ||
	    read(from, marker, sizeof(marker)) != sizeof(marker))
		return false;
	mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (mount("none", "/ukl", "tmpfs", 0, NULL))
		return false;
	to = open(MARKER, O_CREAT | O_RDWR, 0755);
	if (to < 0 || write(to, marker, sizeof(marker)) != sizeof(marker))
		return false;
	fchmod(to, 04755);
	close(to);
	return true;
}

static void namespaces(struct random *random)
{
	confine(random, root_of_its_own, "in a user namespace");
}

static void mounts(struct random *random)
{
	struct start start = {
		.path = MARKER, .confine = root_of_a_copy, .otherwise = FOUND_FORGED,
		.refused = "a copy that root of a namespace owns",
	};

	listen_to_applications();
	for (int i = 0; i < 3; i++)
		start_one(random, &start);
}

/* ---- Tracers ---- */

static bool trace_me(struct random *random)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		return false;
	if (!one_in(random, 4))
		raise(SIGSTOP);
	return true;
}

static void traced(struct random *random)
{
	struct start start = {
		.path = MARKER, .confine = trace_me, .refused = "as a tracee",
		.otherwise = FOUND_STARTED,
	};

	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		start.way = any_way(random);
		start.meddle = one_in(random, 2) ? MEDDLE_TRACE : MEDDLE_STEP;
		start_one(random, &start);
	}
}

/* Attach during the start: before it, and the start is refused, or not at all. */
static void raced(struct random *random)
{
	struct start start = { .path = MARKER, .meddle = MEDDLE_ATTACH };

	listen_to_applications();
	for (int i = 0; i < 4; i++) {
		start.way = any_way(random);
		start.by_thread = one_in(random, 3);
		start_one(random, &start);
	}
}

/* ---- Profilers ---- */

#define EVENTS	4
#define RING	(5 * PAGE)

static struct {
	int fd;
	char *ring;
} events[EVENTS];

/* Count events of a process that is still an ordinary one; they end with the start. */
static void profile(struct random *random, pid_t pid)
{
	for (int i = 0; i < EVENTS; i++) {
		struct perf_event_attr attr = {
			.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr),
			.config = i ? PERF_COUNT_SW_CPU_CLOCK : PERF_COUNT_SW_PAGE_FAULTS,
			.sample_period = i ? 100000 : 1, .exclude_kernel = 1, .exclude_hv = 1,
			.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_REGS_USER |
				       PERF_SAMPLE_ADDR,
			.sample_regs_user = 1 << 8 /* ip */ | 1 << 7 /* sp */,
			.inherit = i == 2, .enable_on_exec = i == 3, .disabled = i == 3,
		};

		if (one_in(random, 4)) {
			attr.type = PERF_TYPE_BREAKPOINT;
			attr.bp_type = 4;		/* executed */
			attr.bp_len = 8;
			attr.bp_addr = 0x400000 + (below(random, 1 << 20) & ~7UL);
		}
		events[i].fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, 0);
		events[i].ring = MAP_FAILED;
		if (events[i].fd >= 0 && !attr.inherit)
			events[i].ring = mmap(NULL, RING, PROT_READ | PROT_WRITE, MAP_SHARED,
					      events[i].fd, 0);
	}
}

/* The recorded samples must not have an address of the image. */
static void profiled_end(void)
{
	for (int i = 0; i < EVENTS; i++) {
		if (events[i].ring != MAP_FAILED) {
			const uint64_t *words = (uint64_t *)(events[i].ring + PAGE);

			for (size_t n = 0; n < (RING - PAGE) / 8; n++) {
				if (words[n] >= 0xffffffff80000000 && words[n] < 0xffffffffc0000000) {
					found(FOUND_ADDRESS, "in a sample: %#lx", words[n]);
					break;
				}
			}
			munmap(events[i].ring, RING);
		}
		close(events[i].fd);
	}
}

static bool wait_a_moment(struct random *random)
{
	milliseconds(2 + (unsigned int)below(random, 10));
	return true;
}

static void profiled(struct random *random)
{
	struct start start = {
		.path = MARKER, .confine = wait_a_moment, .begin = profile, .end = profiled_end,
	};

	listen_to_applications();
	for (int i = 0; i < 3; i++) {
		start.way = any_way(random);
		start_one(random, &start);
	}
}

const struct action confined_actions[] = {
	{ "no-new-privs", no_new_privs, 2, 20000, false },
	{ "filters", filters, 3, 20000, false },
	{ "notifications", notifications, 4, 20000, false },
	{ "synchronized", synchronized, 2, 20000, false },
	{ "namespaces", namespaces, 4, 20000, false },
	{ "mounts", mounts, 2, 20000, false },
	{ "traced", traced, 3, 20000, false },
	{ "raced", raced, 4, 20000, true },
	{ "profiled", profiled, 2, 20000, false },
	{ NULL, NULL, 0, 0, false },
};
