// SPDX-License-Identifier: GPL-2.0
/*
 * Attackers on the victims: a process of the same user may signal, stop, limit and
 * schedule them, but neither trace nor inspect them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "frames.h"

/* Report a call that should have failed, if the target was the victim all the time. */
static void check_access(const struct target *target, const char *what, long result)
{
	step();
	if (result >= 0 && still(target))
		found(FOUND_ACCESS, "%s: %ld, pid %d", what, result, target->pid);
}

/* ---- Signals ---- */

static void signal_one(struct random *random, pid_t pid)
{
	siginfo_t info = { .si_code = one_in(random, 2) ? SI_QUEUE : (int)draw(random) };
	int sig = any_signal(random), fd;

	if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU) {
		kill(pid, sig);
		microseconds(1 + below(random, 20000));
		sig = SIGCONT;
	}
	info.si_signo = sig;
	info.si_ptr = (void *)any_value(random);
	switch (below(random, 6)) {
	case 0:
		kill(pid, sig);
		break;
	case 1:
		syscall(SYS_tkill, pid, sig);
		break;
	case 2:
		syscall(SYS_rt_sigqueueinfo, pid, sig, &info);
		break;
	case 3:
		syscall(SYS_rt_tgsigqueueinfo, pid, pid + (int)below(random, 8), sig, &info);
		break;
	case 4:
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		syscall(SYS_pidfd_send_signal, fd, sig, one_in(random, 2) ? &info : NULL, 0);
		close(fd);
		break;
	default:
		/* As the owner of a descriptor that becomes readable */
		fd = open(TOP, O_RDONLY | O_DIRECTORY);
		fcntl(fd, F_SETOWN, pid);
		fcntl(fd, F_SETSIG, sig);
		fcntl(fd, F_NOTIFY, DN_CREATE | DN_DELETE | DN_MULTISHOT);
		close(open(TOP "/noticed", O_CREAT | O_RDWR, 0600));
		unlink(TOP "/noticed");
		close(fd);
		break;
	}
}

static void signals(struct random *random)
{
	struct target target;

	for (int i = 0; i < 40; i++) {
		if (any_target(random, &target))
			signal_one(random, target.pid);
		step();
		microseconds(below(random, 400));
	}
	if (one_in(random, 3) && any_target(random, &target))
		kill(target.pid, SIGKILL);
}

/* Many signals at once to one victim */
static void storm(struct random *random)
{
	struct target target;
	int sig = any_signal(random);

	if (!any_target(random, &target))
		return;
	for (int i = 0; i < 300; i++) {
		int other = one_in(random, 8) ? any_signal(random) : sig;

		if (other == SIGKILL || other == SIGSTOP)
			other = SIGUSR2;
		kill(target.pid, other);
		step();
	}
	kill(target.pid, SIGCONT);
}

/* ---- Access ---- */

static void detach(pid_t pid)
{
	int status;

	for (int i = 0; i < 100 && ptrace(PTRACE_DETACH, pid, 0, 0) && errno == ESRCH; i++) {
		waitpid(pid, &status, WNOHANG | __WALL | WUNTRACED);
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		milliseconds(2);
	}
	kill(pid, SIGCONT);
}

static void attach(struct random *random)
{
	struct target target;

	for (int i = 0; i < 20; i++) {
		struct user_regs_struct registers;
		long result;

		if (!any_target(random, &target))
			continue;
		if (one_in(random, 2)) {
			result = ptrace(PTRACE_SEIZE, target.pid, 0, one_in(random, 2) ? 0 :
					PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE);
			check_access(&target, "PTRACE_SEIZE", result);
		} else {
			result = ptrace(PTRACE_ATTACH, target.pid, 0, 0);
			check_access(&target, "PTRACE_ATTACH", result);
		}
		if (!result) {
			detach(target.pid);
			return;
		}
		check_access(&target, "PTRACE_GETREGS",
			     ptrace(PTRACE_GETREGS, target.pid, 0, &registers));
		microseconds(below(random, 3000));
	}
}

static void memory(struct random *random)
{
	struct target target;
	char buffer[64], path[64];

	for (int i = 0; i < 30; i++) {
		struct iovec here = { buffer, sizeof(buffer) };
		struct iovec there = { (void *)(one_in(random, 2) ? 0x400000 + below(random, 1 << 22) :
						any_address(random)), sizeof(buffer) };
		long fd, head, length;

		if (!any_target(random, &target))
			continue;
		check_access(&target, "process_vm_readv",
			     process_vm_readv(target.pid, &here, 1, &there, 1, 0));
		check_access(&target, "process_vm_writev",
			     process_vm_writev(target.pid, &here, 1, &there, 1, 0));
		check_access(&target, "get_robust_list",
			     syscall(SYS_get_robust_list, target.pid, &head, &length));
		check_access(&target, "kcmp", syscall(SYS_kcmp, target.pid, getpid(), 1, 0, 0));
		snprintf(path, sizeof(path), "/proc/%d/mem", target.pid);
		fd = open(path, one_in(random, 2) ? O_RDWR : O_RDONLY);
		check_access(&target, "/proc/PID/mem", fd);
		if (fd >= 0) {
			pread((int)fd, buffer, sizeof(buffer), 0x400000);
			close((int)fd);
		}
		fd = syscall(SYS_pidfd_open, target.pid, 0);
		if (fd >= 0) {
			long taken = syscall(SYS_pidfd_getfd, fd, below(random, 5), 0);

			check_access(&target, "pidfd_getfd", taken);
			close((int)taken);
			check_access(&target, "process_madvise",
				     syscall(SYS_process_madvise, fd, &there, 1, 20, 0));
			close((int)fd);
		}
	}
}

/* Files that only a process that may trace may open, or read */
static bool readable(const struct target *target, const char *name)
{
	static char text[32 << 10];
	DIR *directory;
	char path[96];
	bool entries;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", target->pid, name);
	if (!strcmp(name, "map_files")) {
		directory = opendir(path);
		entries = directory && readdir(directory);
		if (directory)
			closedir(directory);
		return entries;
	}
	if (!strcmp(name, "mem") || !strcmp(name, "pagemap")) {
		fd = open(path, O_RDONLY);
		close(fd);
		return fd >= 0;
	}
	if (readlink(path, text, sizeof(text)) > 0)
		return true;
	n = get(path, text, sizeof(text));
	if (n > 0 && still(target) && address_in(text, false))
		found(FOUND_ADDRESS, "%s: %.40s", path, address_in(text, false));
	return n > 0;
}

static void files(struct random *random)
{
	static const char *const names[] = {
		"maps", "smaps", "smaps_rollup", "auxv", "environ", "pagemap", "exe", "cwd", "root",
		"syscall", "stack", "personality", "map_files", "ns/user", "ns/mnt", "fdinfo/0", "io",
		"mem",
	};
	struct target target;
	char what[32];

	for (int i = 0; i < 40; i++) {
		const char *name = PICK(random, names);

		if (!any_target(random, &target))
			continue;
		snprintf(what, sizeof(what), "/proc/PID/%s", name);
		check_access(&target, what, readable(&target, name) ? 0 : -1);
	}
}

/* ---- Profilers ---- */

static void perf(struct random *random)
{
	static const unsigned int types[] = {
		PERF_TYPE_SOFTWARE, PERF_TYPE_HARDWARE, PERF_TYPE_BREAKPOINT, PERF_TYPE_TRACEPOINT,
		PERF_TYPE_RAW,
	};
	struct target target;

	for (int i = 0; i < 30; i++) {
		struct perf_event_attr attr = {
			.type = PICK(random, types), .size = sizeof(attr),
			.config = below(random, 12), .sample_period = 1 + below(random, 100000),
			.sample_type = draw(random) & 0xffff, .exclude_kernel = !one_in(random, 4),
			.exclude_hv = 1, .inherit = draw(random) & 1, .enable_on_exec = draw(random) & 1,
			.sample_max_stack = 16,
		};
		long fd;

		if (!any_target(random, &target))
			continue;
		if (attr.type == PERF_TYPE_BREAKPOINT) {
			attr.bp_type = 1 + below(random, 4);
			attr.bp_len = 1UL << below(random, 4);
			attr.bp_addr = one_in(random, 2) ? kernel_address(random) :
							   0x400000 + below(random, 1 << 22);
		}
		fd = syscall(SYS_perf_event_open, &attr, target.pid, -1, -1, 0);
		check_access(&target, "perf_event_open", fd);
		close((int)fd);
	}
}

/* ---- What is allowed ---- */

/*
 * The victim should survive: no low limit of CPU time, and limits are restored. They are
 * not restored completely, so that was_limited() can see that an attacker changed them.
 */
static void limits(struct random *random)
{
	static const rlim_t sizes[] = {
		0, 1, 64, 4096, 1 << 16, 1 << 20, 8 << 20, 64 << 20, RLIM_INFINITY,
	};
	struct target target;

	for (int i = 0; i < 15; i++) {
		int which = (int)below(random, RLIM_NLIMITS);
		struct rlimit limit, old;

		if (!any_target(random, &target) || prlimit(target.pid, which, NULL, &old))
			continue;
		if (which == RLIMIT_STACK || which == RLIMIT_AS || which == RLIMIT_DATA)
			old.rlim_max = (old.rlim_max < 1UL << 40 ? old.rlim_max : 1UL << 40) - PAGE;
		if (old.rlim_cur > old.rlim_max)
			old.rlim_cur = old.rlim_max;
		limit = old;
		limit.rlim_cur = PICK(random, sizes);
		if (which == RLIMIT_CPU && limit.rlim_cur < 4096)
			limit.rlim_cur = 4096;
		if (limit.rlim_cur > limit.rlim_max)
			limit.rlim_cur = limit.rlim_max;
		prlimit(target.pid, which, &limit, NULL);
		microseconds(below(random, 8000));
		prlimit(target.pid, which, &old, NULL);
		step();
	}
}

static void schedule(struct random *random)
{
	struct target target;

	for (int i = 0; i < 60; i++) {
		struct sched_param none = { 0 };

		if (!any_target(random, &target))
			continue;
		switch (below(random, 8)) {
		case 0:
			sched_setscheduler(target.pid, one_in(random, 2) ? SCHED_BATCH : SCHED_OTHER,
					   &none);
			break;
		case 1:
			setpriority(PRIO_PROCESS, (id_t)target.pid, (int)below(random, 5));
			break;
		case 2:
			syscall(SYS_ioprio_set, 1, target.pid, draw(random) & 0xffff);
			break;
		case 3:
			syscall(SYS_migrate_pages, target.pid, 64, scratch, scratch + 8);
			break;
		default:
			move(random, target.pid);
			break;
		}
		step();
		microseconds(below(random, 500));
	}
}

/* ---- What every process can read ---- */

static void look(const char *path, bool image_only)
{
	static char text[96 << 10];
	const char *at;

	step();
	if (get(path, text, sizeof(text)) <= 0)
		return;
	at = address_in(text, image_only);
	if (at)
		found(FOUND_ADDRESS, "%s: %.60s", path, at);
}

/* All readable files of a victim */
static void leaks(struct random *random)
{
	struct target target;
	struct dirent *entry;
	char path[300];
	DIR *directory;

	if (!any_target(random, &target))
		return;
	snprintf(path, sizeof(path), "/proc/%d%s", target.pid, one_in(random, 2) ? "" : "/task");
	if (strstr(path, "task"))
		snprintf(path + strlen(path), 32, "/%d", target.pid);
	directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		size_t n = strlen(path);

		if (entry->d_type != DT_REG || !strcmp(entry->d_name, "mem"))
			continue;
		snprintf(path + n, sizeof(path) - n, "/%s", entry->d_name);
		look(path, false);
		path[n] = '\0';
	}
	if (directory)
		closedir(directory);
}

/*
 * The log, which every process can read, may show addresses as they were linked. If the
 * kernel has hardly been moved, the two cannot be told apart. Attackers' registers in the
 * log do not count: the attackers have set them.
 */
static void look_into_log(void)
{
	static char text[256 << 10];
	char *line, *rest = text, *about;
	long n = syscall(SYS_syslog, 3, text, sizeof(text) - 1);

	step();
	if (n <= 0 || !linked || image - linked < IMAGE_SIZE)
		return;
	text[n] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		/* "<LEVEL>[TIME] COMM[PID] ...", or without a process */
		about = strchr(line, ']');
		about = about ? strchr(about, '[') : NULL;
		if (about && memcmp(about - 4, "fuzz", 4) && memcmp(about - 6, "victim", 6))
			continue;
		if (address_in(line, true)) {
			found(FOUND_ADDRESS, "the log: %.150s", line);
			return;
		}
	}
}

static void system_leaks(struct random *random)
{
	static const char *const names[] = {
		"/proc/kallsyms", "/proc/modules", "/proc/iomem", "/proc/vmallocinfo", "/proc/timer_list",
		"/proc/net/unix", "/proc/net/tcp", "/proc/net/packet", "/proc/net/netlink", "/proc/keys",
		"/proc/sysvipc/shm", "/proc/locks", "/proc/swaps", "/proc/interrupts", "/proc/stat",
		"/sys/kernel/ukl/fuzz/marker", "/sys/kernel/notes", "/proc/self/maps", "/proc/self/stat",
		"/proc/self/auxv", "/proc/self/syscall", "/proc/self/wchan",
	};

	for (int i = 0; i < 4; i++)
		look(PICK(random, names), false);
	look_into_log();
}

/* ---- Children of their own ---- */

/* A tracer sets arbitrary registers of its tracee, a normal process. */
static void own_child(struct random *random)
{
	struct user_regs_struct registers, bad;
	uint64_t local[64];
	int status;
	pid_t pid = fork();

	if (!pid) {
		landing_sp = ((uintptr_t)local & ~15UL) - 1024;
		if (sigsetjmp(again, 1))
			_exit(0);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (;;)
			getppid();
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return;
	ptrace(PTRACE_GETREGS, pid, 0, &registers);
	for (int i = 0; i < 40; i++) {
		static const int ways[] = {
			PTRACE_SYSCALL, PTRACE_SINGLESTEP, PTRACE_SYSEMU, PTRACE_SINGLESTEP,
		};
		uint64_t *words = (uint64_t *)&bad;

		bad = registers;
		for (int n = 0; n < 3; n++)
			words[below(random, sizeof(bad) / 8)] = any_value(random);
		if (one_in(random, 3))
			bad.rip = one_in(random, 2) ? kernel_address(random) : (uintptr_t)landing;
		if (one_in(random, 3))
			bad.cs = (bad.cs & ~0xffffUL) | 0x10 | (draw(random) << 16);
		ptrace(PTRACE_SETREGS, pid, 0, &bad);
		if (one_in(random, 4))
			ptrace(PTRACE_POKEUSER, pid, 8 * below(random, 120), any_value(random));
		step();
		if (ptrace(PICK(random, ways), pid, 0, one_in(random, 8) ? any_signal(random) : 0))
			break;
		for (int n = 0; n < 200; n++) {
			if (waitpid(pid, &status, WNOHANG | __WALL) == pid)
				break;
			if (n == 100)
				kill(pid, SIGSTOP);
			microseconds(500);
		}
		if (!WIFSTOPPED(status))
			break;
		ptrace(PTRACE_GETREGS, pid, 0, &bad);
		if (!(bad.cs & 3))
			found(FOUND_RING0, "a child's cs is %#llx", (unsigned long long)bad.cs);
		ptrace(PTRACE_SETREGS, pid, 0, &registers);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == ENDED_RING0)
		found(FOUND_RING0, "a child, by its exit status");
	if (WIFSTOPPED(status))
		finish(pid);
}

const struct action reach_actions[] = {
	{ "signals", signals, 4, 6000, false },
	{ "storm", storm, 2, 6000, false },
	{ "attach", attach, 4, 6000, false },
	{ "memory", memory, 4, 6000, false },
	{ "files", files, 4, 6000, false },
	{ "perf", perf, 3, 6000, false },
	{ "limits", limits, 2, 6000, false },
	{ "schedule", schedule, 3, 6000, false },
	{ "leaks", leaks, 2, 10000, false },
	{ "system-leaks", system_leaks, 1, 10000, false },
	{ "own-child", own_child, 3, 8000, false },
	{ NULL, NULL, 0, 0, false },
};
