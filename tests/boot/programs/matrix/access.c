// SPDX-License-Identifier: GPL-2.0
/*
 * What other processes can see and change of a running application: nothing without
 * CAP_SYS_PTRACE, whatever the application sets.
 *
 * As in starting.c, an attack is a row of a table.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "matrix.h"
#include "starting.h"

/* ---- What the application does ---- */

static volatile unsigned long target;

static void ready(void)
{
	dprintf(REPORT, "%#lx\n", (unsigned long)&target);
}

static void rest(char **words)
{
	/* Like a process that allows debugging. */
	if (words[0])
		prctl(PR_SET_DUMPABLE, 1);
	ready();
	for (;;)
		pause();
}

static void spin(char **words)
{
	(void)words;
	ready();
	for (;;)
		target++;
}

const struct act stays[] = {
	{ "rest", rest },
	{ "spin", spin },
	{ NULL, NULL },
};

/* ---- Which processes may read and change it ---- */

static unsigned long there;

/* Start an application of uid 1000 that reports an address of its data. */
static pid_t begin_for(const step steps[STEPS], void (*beside)(pid_t pid), char *const given[])
{
	pid_t pid = begin(steps, beside, given);

	CHECK(sscanf(hear(), "%lx", &there) == 1);
	return pid;
}

static int attach(pid_t pid)
{
	if (ptrace(PTRACE_ATTACH, pid, 0, 0))
		return errno;
	waitpid(pid, NULL, __WALL);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return 0;
}

static int seize(pid_t pid)
{
	return ERROR(ptrace(PTRACE_SEIZE, pid, 0, 0));
}

static int read_memory(pid_t pid)
{
	unsigned long value;
	struct iovec here = { &value, sizeof(value) }, remote = { (void *)there, sizeof(value) };

	return ERROR(process_vm_readv(pid, &here, 1, &remote, 1, 0));
}

static int write_memory(pid_t pid)
{
	unsigned long value = 1;
	struct iovec here = { &value, sizeof(value) }, remote = { (void *)there, sizeof(value) };

	return ERROR(process_vm_writev(pid, &here, 1, &remote, 1, 0));
}

/* Read a file of its /proc directory; returns -errno, or the number of bytes. */
static int contents(pid_t pid, const char *name, int flags, off_t offset, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = pread(fd, text, size - 1, offset);
	if (n < 0)
		n = -errno;
	else
		text[n] = 0;
	close(fd);
	return n;
}

static int readable(pid_t pid, const char *name)
{
	/* pagemap has words of eight bytes. */
	char text[257];
	int n = contents(pid, name, O_RDONLY, 0, text, sizeof(text));

	return n < 0 ? -n : 0;
}

static int memory_file(pid_t pid)
{
	char text[9];
	int n = contents(pid, "mem", O_RDWR, there, text, sizeof(text));

	return n < 0 ? -n : 0;
}

static int maps(pid_t pid)
{
	return readable(pid, "maps");
}

static int auxv(pid_t pid)
{
	return readable(pid, "auxv");
}

static int environ_file(pid_t pid)
{
	return readable(pid, "environ");
}

static int registers_file(pid_t pid)
{
	return readable(pid, "syscall");
}

static int pagemap(pid_t pid)
{
	return readable(pid, "pagemap");
}

static int link_of(pid_t pid, const char *name)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return ERROR(readlink(path, text, sizeof(text)));
}

static int exe(pid_t pid)
{
	return link_of(pid, "exe");
}

static int descriptor_link(pid_t pid)
{
	return link_of(pid, "fd/99");
}

static int get_descriptor(pid_t pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);

	CHECK(pidfd >= 0);
	return ERROR(syscall(SYS_pidfd_getfd, pidfd, REPORT, 0));
}

static int perf_event(pid_t pid)
{
	struct perf_event_attr event = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(event), .exclude_kernel = 1,
		.config = PERF_COUNT_SW_TASK_CLOCK, .exclude_hv = 1,
	};

	return syscall(SYS_perf_event_open, &event, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static int profile(pid_t pid)
{
	return ERROR(perf_event(pid));
}

static int compare(pid_t pid)
{
	return ERROR(syscall(SYS_kcmp, getpid(), pid, KCMP_VM, 0, 0));
}

static int robust_list(pid_t pid)
{
	void *head;
	size_t size;

	return ERROR(syscall(SYS_get_robust_list, pid, &head, &size));
}

/* Reading it is allowed: checks whether it shows an address of the kernel half. */
static int address_in_stat(pid_t pid)
{
	char text[1024], *word;

	CHECK(contents(pid, "stat", O_RDONLY, 0, text, sizeof(text)) > 0);
	for (word = strrchr(text, ')') + 2; word; word = strchr(word, ' ')) {
		unsigned long value;

		word += *word == ' ';
		value = strtoul(word, NULL, 10);
		/* The limit of the resident set is ~0. */
		if (*word != '-' && (long)value < 0 && value != -1UL)
			return 0;
	}
	return EACCES;
}

static int wait_channel(pid_t pid)
{
	char text[256];
	int n = contents(pid, "wchan", O_RDONLY, 0, text, sizeof(text));

	if (n < 0)
		return -n;
	return strcmp(text, "0") ? 0 : EACCES;
}

static const struct {
	const char *name;
	int (*attempt)(pid_t pid);
} attempts[] = {
	{ "PTRACE_ATTACH", attach },
	{ "PTRACE_SEIZE", seize },
	{ "process_vm_readv", read_memory },
	{ "process_vm_writev", write_memory },
	{ "mem", memory_file },
	{ "maps", maps },
	{ "auxv", auxv },
	{ "environ", environ_file },
	{ "syscall", registers_file },
	{ "pagemap", pagemap },
	{ "exe", exe },
	{ "descriptor's link", descriptor_link },
	{ "pidfd_getfd", get_descriptor },
	{ "perf_event_open", profile },
	{ "kcmp", compare },
	{ "get_robust_list", robust_list },
	{ "address in stat", address_in_stat },
	{ "wchan", wait_channel },
};

static const struct {
	const char *name;
	step steps[2];
} whos[] = {
	{ "user", { user } },
	{ "namespace's root", { user, own_namespace } },
	{ "root", { NULL } },
};

static char *const victims[][4] = {
	{ "started", "rest", NULL }, { "started", "rest", "dumpable", NULL },
};

static const char settings[] = "/proc/sys/fs/suid_dumpable";

static void set_dumpable(int value)
{
	CHECK(!put(settings, (char[]){ (char)('0' + value), 0 }));
}

static const char *tried(size_t who, size_t which, pid_t pid)
{
	pid_t prober = split();
	int status;

	if (!prober) {
		for (int i = 0; i < 2; i++) {
			if (whos[who].steps[i])
				whos[who].steps[i]();
		}
		_exit(attempts[which].attempt(pid));
	}
	CHECK(waitpid(prober, &status, 0) == prober && WIFEXITED(status));
	status = WEXITSTATUS(status);
	return status == EPERM || status == EACCES ? "refused" : error_name(status);
}

void access_it(void)
{
	for (int value = 0; value < 3; value++) {
		for (size_t victim = 0; victim < ARRAY_SIZE(victims); victim++) {
			pid_t pid;

			set_dumpable(value);
			pid = begin_for(user_alone, NULL, victims[victim]);
			for (size_t who = 0; who < ARRAY_SIZE(whos); who++) {
				for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
					OK("%s, %s, suid_dumpable %d%s: %s", attempts[i].name,
					   whos[who].name, value, victim ? ", dumpable" : "",
					   tried(who, i, pid));
			}
			kill(pid, SIGKILL);
			came_of(pid);
		}
	}
	set_dumpable(0);
}

/* ---- Events that were opened before the start ---- */

static int event_of_it;

static void watch(pid_t pid)
{
	user();
	event_of_it = perf_event(pid);
	CHECK(event_of_it >= 0);
	go_on();
}

static unsigned long counted(void)
{
	unsigned long value = 0;

	CHECK(read(event_of_it, &value, sizeof(value)) == sizeof(value));
	return value;
}

static const struct {
	const char *name;
	step steps[STEPS];
} watched[] = {
	{ "application", { user } },
	{ "application, script", { user, by_script } },
	{ "set-user-ID program", { user, set_user_id } },
	{ "normal program", { user, normal } },
};

void events(void)
{
	char *const told[] = { "started", "spin", NULL };

	copy_file(self(), "/data/set-user-id", 04755, 2000);
	for (int value = 0; value < 3; value++) {
		set_dumpable(value);
		for (size_t i = 0; i < ARRAY_SIZE(watched); i++) {
			unsigned long before;
			pid_t pid = split();

			if (pid) {
				waitpid(pid, NULL, 0);
				continue;
			}
			pid = begin_for(watched[i].steps, watch, told);
			before = counted();
			milliseconds(100);
			OK("%s, suid_dumpable %d: %s", watched[i].name, value,
			   counted() == before ? "gone" : "counts");
			kill(pid, SIGKILL);
			came_of(pid);
			fflush(stdout);
			_exit(0);
		}
	}
	set_dumpable(0);
	unlink("/data/set-user-id");
}
