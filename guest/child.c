// SPDX-License-Identifier: GPL-2.0
/*
 * What a child of init or of the agent does between fork() and execve(), and how its parent
 * learns that execve() failed: through a pipe that closes by itself when execve() succeeds.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <unistd.h>

#include "init.h"

/* Reset the signal handlers and the mask that init and the agent have set. */
void child_signals(void)
{
	static const int usual[] = { SIGCHLD, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2 };
	sigset_t none;

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		signal(usual[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Take the user and groups from the run description. Returns 0 or an errno. */
int child_becomes(const struct run *run)
{
	gid_t groups[run->group_count + 1];

	if (!run->uid && !run->gid && !run->group_count)
		return 0;
	groups[0] = run->gid;
	for (size_t i = 0; i < run->group_count; i++)
		groups[i + 1] = run->groups[i];
	/* It may open its output anew, as /dev/stdout. If this fails, that fails. */
	(void)!fchown(STDOUT_FILENO, run->uid, run->gid);
	if (setgroups(run->group_count + 1, groups) || setgid(run->gid) || setuid(run->uid))
		return errno;
	return 0;
}

/* In the child: report the error to the parent, and end. */
void child_failed(int report, int error)
{
	if (write(report, &error, sizeof(error)) < 0)
		_exit(126);
	_exit(127);
}

/* In the parent: returns 0 when execve() has succeeded, or the child's error. */
int child_error(int report)
{
	ssize_t got;
	int error;

	do {
		got = read(report, &error, sizeof(error));
	} while (got < 0 && errno == EINTR);
	return got == sizeof(error) ? error : 0;
}
