// SPDX-License-Identifier: GPL-2.0
/* The attackers' values for registers, arguments and memory, and their targets. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "fuzz.h"

#define PATHS	(SCRATCH - 2 * PAGE)	/* offset of paths in the scratch memory */
#define LENGTH	64

char *scratch;
static char *readonly, *absent;
static int first_fd, last_fd;

static const char *const paths[] = {
	MARKER, TOP "/copy", TOP "/script", TOP, SECRET, PUBLIC, "/proc/self/mem", "/proc/self/maps",
	"/dev/null", "/dev/zero", "/dev/ptmx", "/", ".", "file", "", "/proc/self/exe",
	"/sys/kernel/ukl/fuzz/marker", "/proc/self/fd/3", "/tmp", "/dev/shm/x", "/dev/full",
	"/proc/thread-self/attr", "/proc/self/oom_score_adj", "/proc/kallsyms",
};

static const uint64_t edges[] = {
	0, 1, 2, 3, 4, 7, 8, 16, 64, 255, 256, 4095, 4096, 8192, 65535, 65536, 1UL << 20,
	0x7fffffff, 0x80000000, 0xffffffff, 1UL << 32, 1UL << 46, 1UL << 47, (1UL << 47) - PAGE,
	(1UL << 47) - 1, 1UL << 62, KERNEL_HALF - 1, KERNEL_HALF, -1UL, -2UL, -4095UL, -4096UL,
	-PAGE * 2, 0x400000, 0x401000, 0x10, 0x18, 0x23, 0x2b, 0x33,
};

uint64_t kernel_address(struct random *random)
{
	static const uint64_t places[] = {
		0xffffffff80000000,	/* text and data */
		0xffffffff81000000, 0xffffffff82000000,
		0xffff888000000000,	/* all memory */
		0xffff880000000000,	/* LDT */
		0xffffc90000000000,	/* vmalloc: kernel stacks */
		0xffffea0000000000, 0xfffffe0000000000,	/* entry areas */
		0xffffffffff5fd000, 0xffffffffff600000,	/* fixmap, vsyscall */
		0xffffffffc0000000, 0xffff800000000000,
	};

	if (n_symbols && !one_in(random, 3))
		return symbols[below(random, n_symbols)] + (one_in(random, 2) ? 0 :
							   below(random, 64));
	/* The sum may exceed 64 bits: what is then near 0 is the process' own. */
	return (PICK(random, places) + (draw(random) & 0x3fffffff & ~7UL)) | 0xffff800000000000;
}

uint64_t any_address(struct random *random)
{
	switch (below(random, 12)) {
	case 0: case 1: case 2: case 3:
		return (uintptr_t)scratch + (below(random, SCRATCH) & ~7UL);
	case 4:
		return (uintptr_t)scratch + SCRATCH - below(random, 64);	/* across its end */
	case 5:
		return (uintptr_t)scratch + PATHS + LENGTH * below(random, ARRAY_SIZE(paths));
	case 6:
		return (uintptr_t)readonly;
	case 7:
		return (uintptr_t)absent;
	case 8: case 9:
		return kernel_address(random);
	case 10:
		return draw(random) & 0x7fffffffffff;
	default:
		return PICK(random, edges);
	}
}

static int any_fd(struct random *random)
{
	return one_in(random, 8) ? (int)below(random, 32) - 1 :
		first_fd + (int)below(random, (unsigned int)(last_fd - first_fd + 1));
}

pid_t any_victim(struct random *random)
{
	return PICK(random, victims);
}

uint64_t any_value(struct random *random)
{
	switch (below(random, 12)) {
	case 0: case 1: case 2:
		return any_address(random);
	case 3: case 4:
		return PICK(random, edges);
	case 5: case 6:
		return (uint64_t)any_fd(random);
	case 7:
		return below(random, 64);
	case 8:
		return 1UL << below(random, 64) | (one_in(random, 2) ? 0 : 1UL << below(random, 32));
	case 9:
		return one_in(random, 2) ? (uint64_t)any_victim(random) : (uint64_t)getpid();
	case 10:
		return (uint64_t)any_signal(random);
	default:
		return draw(random);
	}
}

int any_signal(struct random *random)
{
	return 1 + (int)below(random, 64);
}

const char *any_path(struct random *random)
{
	return PICK(random, paths);
}

/* Fill structures with the same values, in sizes of 8 and 4 bytes. */
void values_shuffle(struct random *random)
{
	for (int i = 0; i < 48; i++) {
		size_t at = below(random, PATHS / 8) * 8;
		uint64_t value = any_value(random);

		if (i % 3)
			memcpy(scratch + at, &value, 8);
		else
			memcpy(scratch + at, &value, 4);
	}
}

void values_begin(struct random *random)
{
	int pair[2];

	scratch = mmap(NULL, SCRATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	readonly = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	absent = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (scratch == MAP_FAILED || readonly == MAP_FAILED || absent == MAP_FAILED)
		_exit(1);
	munmap(absent, PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		strcpy(scratch + PATHS + LENGTH * i, paths[i]);
	first_fd = open("file", O_RDWR | O_CREAT, 0666);
	last_fd = open(MARKER, O_RDONLY);
	last_fd = open(".", O_RDONLY | O_DIRECTORY);
	last_fd = memfd_create("memory", 0);
	last_fd = eventfd(1, EFD_NONBLOCK);
	last_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	last_fd = epoll_create1(0);
	if (!pipe2(pair, O_NONBLOCK))
		last_fd = pair[1];
	if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		last_fd = pair[1];
	last_fd = (int)syscall(SYS_pidfd_open, any_victim(random), 0);
	if (last_fd < 0)
		last_fd = open("/dev/null", O_RDWR);
	values_shuffle(random);
}

/* ---- Victims ---- */

/* "PID (COMM) STATE ... BORN": world-readable */
static unsigned long long born(pid_t pid)
{
	char path[64], text[600], *at;
	unsigned long long when;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (pid <= 0 || get(path, text, sizeof(text)) <= 0)
		return 0;
	at = strchr(text, '(');
	if (!at || strncmp(at, "(victim) ", 9) || at[9] == 'Z' || at[9] == 'X')
		return 0;
	return sscanf(at + 9, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
		      "%*d %*d %llu", &when) == 1 ? when : 0;
}

/* A thread or child of it, or the process itself */
static pid_t relative(struct random *random, pid_t pid)
{
	char path[64], text[256];
	int n = 0, wanted = (int)below(random, 8);
	struct dirent *entry;
	pid_t tid = pid;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return pid;
	while (n <= wanted && (entry = readdir(tasks))) {
		if (isdigit(entry->d_name[0])) {
			tid = atoi(entry->d_name);
			n++;
		}
	}
	closedir(tasks);
	if (one_in(random, 2))
		return tid;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, tid);
	return get(path, text, sizeof(text)) > 0 ? atoi(text) : tid;
}

bool any_target(struct random *random, struct target *target)
{
	target->pid = any_victim(random);
	if (!target->pid)
		return false;
	if (one_in(random, 3))
		target->pid = relative(random, target->pid);
	target->born = born(target->pid);
	return target->born != 0;
}

/* Checks for memory: a process that is about to end has none, and nothing to protect. */
bool still(const struct target *target)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", target->pid);
	return born(target->pid) == target->born && get(path, text, sizeof(text)) > 0 &&
	       atol(text) > 0;
}

void move(struct random *random, pid_t pid)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(below(random, (unsigned int)n_cpus), &set);
	if (one_in(random, 4))
		CPU_SET(below(random, (unsigned int)n_cpus), &set);
	sched_setaffinity(pid, sizeof(set), &set);
}

/* ---- Addresses that are shown ---- */

static bool is_address(uint64_t value, bool image_only)
{
	/* -1 is "unlimited". A non-canonical value is a mask, or chance. */
	if (value < 0xffff800000000000 || value >= -4095UL)
		return false;
	return !image_only || (value >= image && value < image + IMAGE_SIZE);
}

/*
 * Looks at words of 16 hexadecimal or at least 19 decimal digits; skips masks of signals
 * in /proc/PID/status.
 */
const char *address_in(const char *text, bool image_only)
{
	const char *at = text, *line = text;

	while (*at) {
		const char *begin = at;
		bool decimal = true;
		size_t n;

		if (*at == '\n')
			line = at + 1;
		if (!isxdigit((unsigned char)*at)) {
			at++;
			continue;
		}
		while (isxdigit((unsigned char)*at))
			decimal = isdigit((unsigned char)*at++) && decimal;
		n = (size_t)(at - begin);
		if (!strncmp(line, "Sig", 3) || !strncmp(line, "Shd", 3))
			continue;
		if (n == 16 && is_address(strtoull(begin, NULL, 16), image_only))
			return begin;
		if (n >= 19 && n <= 20 && decimal &&
		    is_address(strtoull(begin, NULL, 10), image_only))
			return begin;
	}
	return NULL;
}
