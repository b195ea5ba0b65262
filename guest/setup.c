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
