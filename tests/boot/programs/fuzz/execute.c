// SPDX-License-Identifier: GPL-2.0
/* Executes a marker file in several ways, with arbitrary arguments and environment. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "starts.h"

#define MAX_WORDS	300

static const char *const environment[] = {
	"LD_PRELOAD=/tmp/fuzz/copy", "LD_LIBRARY_PATH=/tmp/fuzz:.", "LD_BIND_NOW=1", "LD_SHOW_AUXV=1",
	"LD_DEBUG=all", "LD_AUDIT=x", "LD_ORIGIN_PATH=/", "LD_PROFILE=libc", "LD_HWCAP_MASK=0",
	"GLIBC_TUNABLES=glibc.malloc.perturb=170:glibc.malloc.arena_max=1",
	"GLIBC_TUNABLES=glibc.malloc.check=3:glibc.malloc.tcache_count=0",
	"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-ERMS,-SSE4_2:glibc.cpu.prefer_map_32bit_exec=1",
	"GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1:glibc.malloc.top_pad=1",
	"GLIBC_TUNABLES=glibc.pthread.rseq=0:glibc.pthread.mutex_spin_count=100000",
	"GLIBC_TUNABLES=glibc.malloc.perturb=glibc.malloc.perturb=1:=:::=",
	"GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "MALLOC_ARENA_MAX=1", "MALLOC_CHECK_=3",
	"MALLOC_PERTURB_=85", "MALLOC_TOP_PAD_=0", "MALLOC_MMAP_THRESHOLD_=1", "MALLOC_TRACE=/tmp/x",
	"TZ=../../../../etc/shadow", "LANG=xx_XX", "LOCPATH=/tmp/fuzz", "GCONV_PATH=.", "RES_OPTIONS=x",
	"LOCALDOMAIN=x", "TMPDIR=/", "=", "", "PATH", "GETCONF_DIR=.", "NLSPATH=%s%n%n", "HOSTALIASES=.",
};

static int starting_fd = -1;

/* The system call follows directly: only its failure can be written after this. */
static void announce(void)
{
	if (starting_fd >= 0 && write(starting_fd, "x", 1) != 1)
		_exit(0);
}

void tell_at(int fd)
{
	starting_fd = fd;
}

void close_starting(void)
{
	close(starting_fd);
}

static void hostile_words(struct random *random, char **words, char **variables)
{
	static char long_word[100 << 10];
	size_t n = 0;

	memset(long_word, 'a', sizeof(long_word) - 1);
	for (int i = (int)below(random, 8); i >= 0; i--)
		variables[n++] = (char *)PICK(random, environment);
	if (one_in(random, 4))
		variables[n++] = long_word;
	variables[n] = NULL;
	/* The role comes first, or the program does not know what to do. */
	n = 2;
	switch (below(random, 4)) {
	case 0:
		while (n < MAX_WORDS - 1)
			words[n++] = long_word + sizeof(long_word) - 1 - below(random, 300);
		break;
	case 1:
		words[n++] = long_word;
		break;
	default:
		break;
	}
	words[n] = NULL;
}

static int script(const char *path, bool twice)
{
	char text[128], name[64], second[64];
	int fd;

	snprintf(name, sizeof(name), TOP "/script-%d", getpgrp());
	snprintf(second, sizeof(second), TOP "/second-%d", getpgrp());
	/* The interpreter's own argument is the role. */
	snprintf(text, sizeof(text), "#!%s start\n", path);
	fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0755);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -1;
	close(fd);
	if (twice) {
		snprintf(text, sizeof(text), "#! %s\n", name);
		fd = open(second, O_CREAT | O_WRONLY | O_TRUNC, 0755);
		if (fd < 0 || write(fd, text, strlen(text)) < 0)
			return -1;
		close(fd);
		fd = open(second, O_RDONLY);
		unlink(second);
		return fd;		/* by descriptor, without a name */
	}
	fd = open(name, O_RDONLY);
	return fd;
}

void remove_files(void)
{
	char name[64];

	snprintf(name, sizeof(name), TOP "/script-%d", getpgrp());
	unlink(name);
	snprintf(name, sizeof(name), TOP "/link-%d", getpgrp());
	unlink(name);
	snprintf(name, sizeof(name), TOP "/copy-%d", getpgrp());
	unlink(name);
}

static void on_trap(int sig, siginfo_t *info, void *data)
{
	(void)sig;
	(void)info;
	((ucontext_t *)data)->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
}

/* Make the call with TF set: the trap comes after it, in whatever program is there then. */
static long stepped(const char *path, char **words, char **variables)
{
	long result;

	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; syscall; nop"
			 : "=a" (result)
			 : "a" (SYS_execve), "D" (path), "S" (words), "d" (variables)
			 : "rcx", "r11", "memory", "cc");
	return result;
}

int execute(struct random *random, enum way way, const char *path, bool hostile)
{
	char *words[MAX_WORDS] = { "fuzz", "start" }, *variables[MAX_WORDS] = { NULL };
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	char name[64];
	int fd;

	if (one_in(random, 3)) {
		static char *const living[] = { "fuzz", "victim", "0", "200", "0", "quick", NULL };

		memcpy(words, living, sizeof(living));
	} else if (hostile) {
		hostile_words(random, words, variables);
	}
	switch (way) {
	case WAY_RELATIVE:
		fd = open("/ukl", O_PATH | O_DIRECTORY);
		announce();
		syscall(SYS_execveat, fd, strrchr(path, '/') + 1, words, variables, 0);
		break;
	case WAY_DESCRIPTOR:
		fd = open(path, one_in(random, 2) ? O_PATH : O_RDONLY | O_CLOEXEC);
		announce();
		syscall(SYS_execveat, fd, "", words, variables, AT_EMPTY_PATH);
		break;
	case WAY_PROC:
		fd = open(path, O_RDONLY);
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		announce();
		execve(name, words, variables);
		break;
	case WAY_SCRIPT:
		fd = script(path, one_in(random, 3));
		announce();
		if (one_in(random, 2)) {
			syscall(SYS_execveat, fd, "", words, variables, AT_EMPTY_PATH);
		} else {
			snprintf(name, sizeof(name), TOP "/script-%d", getpgrp());
			execve(name, words, variables);
		}
		break;
	case WAY_LINK:
		snprintf(name, sizeof(name), TOP "/link-%d", getpgrp());
		if (symlink(path, name) && errno != EEXIST)
			return errno;
		announce();
		execve(name, words, variables);
		break;
	case WAY_STEPPED:
		sigaction(SIGTRAP, &action, NULL);
		announce();
		errno = (int)-stepped(path, words, variables);
		break;
	default:
		announce();
		execve(path, words, variables);
		break;
	}
	return errno;
}
