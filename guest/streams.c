// SPDX-License-Identifier: GPL-2.0
/*
 * The standard streams of a program whose input and output the host has: pipes, or a
 * terminal, or some of each.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

void streams_close(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static int above(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static int open_terminal(struct streams *streams, const char *kinds)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	int slave, error = 0;

	if (master < 0)
		return errno;
	slave = grantpt(master) || unlockpt(master) ? -1 :
		open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		error = errno;
	for (int i = 0; i < 3 && !error; i++) {
		if (kinds[i] != 't')
			continue;
		streams->theirs[i] = above(slave);
		/* What is written to it comes out of it once, whichever stream it was. */
		if (!i || i == 1 || kinds[1] != 't')
			streams->ours[i] = above(master);
		if (streams->theirs[i] < 0)
			error = errno;
	}
	close(master);
	if (slave >= 0)
		close(slave);
	return error;
}

static int open_pipe(struct streams *streams, int i)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return errno;
	streams->ours[i] = above(ends[i ? 0 : 1]);
	streams->theirs[i] = above(ends[i ? 1 : 0]);
	close(ends[0]);
	close(ends[1]);
	if (streams->ours[i] < 0 || streams->theirs[i] < 0)
		return EMFILE;
	fcntl(streams->ours[i], F_SETFL, O_NONBLOCK);
	return 0;
}

static int open_null(struct streams *streams, int i)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno;
	streams->theirs[i] = above(fd);
	close(fd);
	return streams->theirs[i] < 0 ? EMFILE : 0;
}

/*
 * Create three streams, with descriptors above 2: the child's dup2() must not overwrite one.
 * Returns 0 or an errno.
 */
int streams_open(struct streams *streams, const char *kinds)
{
	int error = 0;

	for (int i = 0; i < 3; i++)
		streams->ours[i] = streams->theirs[i] = -1;
	if (strchr(kinds, 't'))
		error = open_terminal(streams, kinds);
	for (int i = 0; i < 3 && !error; i++) {
		if (kinds[i] == 'p')
			error = open_pipe(streams, i);
		if (kinds[i] == 'n')
			error = open_null(streams, i);
	}
	if (error) {
		streams_close(streams->ours, 3);
		streams_close(streams->theirs, 3);
	}
	return error;
}

/*
 * In the child, which leads a session: make them its standard streams, and the terminal that
 * of its session. A terminal without input passes output unchanged: the host's does the rest.
 * The streams belong to @run's user, who may open /dev/stdout. Returns 0 or an errno.
 */
int streams_take(struct streams *streams, const char *kinds, const struct run *run)
{
	struct winsize window = { .ws_row = run->rows, .ws_col = run->columns };
	const char *terminal = strchr(kinds, 't');
	struct termios mode;
	int fd;

	if (terminal) {
		fd = streams->theirs[terminal - kinds];
		if (ioctl(fd, TIOCSCTTY, 0))
			return errno;
		if (window.ws_row && window.ws_col)
			ioctl(fd, TIOCSWINSZ, &window);
		if (!tcgetattr(fd, &mode)) {
			mode.c_iflag |= IUTF8;
			if (terminal != kinds)
				mode.c_oflag &= ~OPOST;
			tcsetattr(fd, TCSANOW, &mode);
		}
	}
	for (int i = 0; i < 3; i++) {
		if (kinds[i] != 'n' && (run->uid || run->gid) &&
		    fchown(streams->theirs[i], run->uid, kinds[i] == 't' ? (gid_t)-1 : run->gid))
			return errno;
		if (dup2(streams->theirs[i], i) < 0)
			return errno;
	}
	return 0;
}
