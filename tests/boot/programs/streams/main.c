// SPDX-License-Identifier: GPL-2.0
/*
 * streams MODE: what is behind the standard streams, and what comes through them.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static const char *kind(int fd)
{
	struct stat status;

	if (fstat(fd, &status))
		return "closed";
	return S_ISFIFO(status.st_mode) ? "pipe" : isatty(fd) ? "terminal" : "other";
}

/* Each stream by itself: no byte of one may come out of the other. */
static int kinds(void)
{
	printf("%s %s %s\n", kind(0), kind(1), kind(2));
	fprintf(stderr, "errors\n");
	if (isatty(1) && access("/etc/terminfo/v/vt100", R_OK))
		return 3;
	return open("/dev/stdout", O_WRONLY) < 0 ? 1 : 0;
}

static int cat(void)
{
	static char data[65536];
	ssize_t got;

	while ((got = read(STDIN_FILENO, data, sizeof(data))) > 0) {
		for (ssize_t done = 0, wrote; done < got; done += wrote) {
			wrote = write(STDOUT_FILENO, data + done, got - done);
			if (wrote < 0)
				return 1;
		}
	}
	return got < 0;
}

static int yes(void)
{
	signal(SIGPIPE, SIG_IGN);
	while (write(STDOUT_FILENO, "y\n", 2) == 2)
		;
	fprintf(stderr, "%s\n", strerror(errno));
	return 5;
}

static void size(int number)
{
	struct winsize window = { 0 };
	char line[60];
	int length;

	(void)number;
	ioctl(STDIN_FILENO, TIOCGWINSZ, &window);
	length = snprintf(line, sizeof(line), "size %d %d\n", window.ws_row, window.ws_col);
	if (write(STDOUT_FILENO, line, length) < 0)
		_exit(1);
}

/* Keys as a line editor gets them. */
static int keys(void)
{
	struct sigaction action = { .sa_handler = size };
	struct termios mode;
	unsigned char key;
	ssize_t got;

	sigaction(SIGWINCH, &action, NULL);
	tcgetattr(STDIN_FILENO, &mode);
	mode.c_lflag &= ~(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &mode);
	size(0);
	for (;;) {
		got = read(STDIN_FILENO, &key, 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return 1;
		if (key == 'q')
			return 7;
		printf("%02x\n", key);
		fflush(stdout);
	}
}

/* A child writes on when its parent has ended. */
static int leave(void)
{
	if (!fork())
		for (;;)
			if (write(STDOUT_FILENO, "left\n", 5) < 0)
				_exit(1);
	return 6;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	return !strcmp(mode, "kinds") ? kinds() :
	       !strcmp(mode, "cat") ? cat() :
	       !strcmp(mode, "yes") ? yes() :
	       !strcmp(mode, "keys") ? keys() :
	       !strcmp(mode, "leave") ? leave() : 2;
}
