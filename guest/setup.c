// SPDX-License-Identifier: GPL-2.0
/*
 * Sets up the bare initramfs as a Linux program expects it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

#define HUGE_PAGES	"/sys/kernel/mm/transparent_hugepage/"
#define OPEN_FILES	65536	/* servers ask for it; the kernel's default is 1024 */

static const struct {
	const char *type, *where, *options;
	unsigned long flags;
} mounts[] = {
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", "/dev", "mode=0755", MS_NOSUID },
	{ "devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV },
};

static const struct {
	const char *target, *where;
} links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

/* Returns 0 or a negative errno, with *@what then saying what failed. */
int setup_mounts(const char **what)
{
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		*what = mounts[i].where;
		mkdir(mounts[i].where, 0755);	/* if that fails, mount() reports it */
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, mounts[i].flags,
			  mounts[i].options))
			return -errno;
	}
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		*what = links[i].where;
		if (symlink(links[i].target, links[i].where) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

void setup_limits(void)
{
	struct rlimit files = { OPEN_FILES, OPEN_FILES };

	setrlimit(RLIMIT_NOFILE, &files);	/* ignore an error: a lower limit works too */
}

/* Read a file of one line. Returns false if there is none. */
static bool read_line(const char *file, char *line, size_t size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, line, size - 1);
	close(fd);
	if (got <= 0)
		return false;
	line[got] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return true;
}

static void write_line(const char *file, const char *line)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "%s\n", line);
	close(fd);
}

/*
 * Below 512 MiB the kernel switches off huge pages, and ignores its configuration and its
 * command line (hugepage_init(), mm/huge_memory.c). Set what it has with more memory. But
 * the reserve of free memory that khugepaged then sets is up to 5 %: keep the old one.
 */
void setup_huge_pages(void)
{
	char line[4096], reserve[32], *wanted;

	if (!read_line(HUGE_PAGES "enabled", line, sizeof(line)) || !strstr(line, "[never]") ||
	    !read_line("/proc/sys/vm/min_free_kbytes", reserve, sizeof(reserve)) ||
	    !read_line("/proc/cmdline", line, sizeof(line)))
		return;
	wanted = strstr(line, "transparent_hugepage=");
	if (wanted) {
		wanted += strlen("transparent_hugepage=");
		wanted[strcspn(wanted, " ")] = '\0';
	}
	write_line(HUGE_PAGES "enabled", wanted ? wanted : "madvise");
	write_line(HUGE_PAGES "defrag", "madvise");
	write_line(HUGE_PAGES "khugepaged/defrag", "1");
	write_line(HUGE_PAGES "use_zero_page", "1");
	write_line("/proc/sys/vm/min_free_kbytes", reserve);
}

/*
 * Pass the application's output through the console unchanged, and do not echo input:
 * the host's terminal has done that. A shell needs an ordinary terminal.
 */
void setup_console(const struct run *run)
{
	struct winsize size = { .ws_row = run->rows, .ws_col = run->columns };
	struct termios mode;

	if (tcgetattr(STDIN_FILENO, &mode))
		return;
	if (!run->interactive) {
		mode.c_oflag &= ~OPOST;
		mode.c_lflag &= ~ECHO;
		tcsetattr(STDIN_FILENO, TCSANOW, &mode);
	}
	if (size.ws_row && size.ws_col)
		ioctl(STDIN_FILENO, TIOCSWINSZ, &size);
}
