// SPDX-License-Identifier: GPL-2.0
/*
 * What a process can do before it starts the application, in order to influence it: the
 * kernel refuses the start, or the application is not affected.
 *
 * An attack is a row of a table: steps, and what another process does meanwhile.
 * test_starting.py has the expected results.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "matrix.h"
#include "starting.h"

#define LISTENER	98	/* descriptor: another process answers system calls there */
#define SECONDS		20	/* timeout for an application */

extern char **environ;

/* ---- Starting something ---- */

static const char *path;
static char *arguments[8];
static int reports = -1, way_on = -1;

const char *error_name(int error)
{
	return error ? strerrorname_np(error) : "done";
}

static void refused(int error)
{
	dprintf(REPORT, "%s\n", error_name(error));
	_exit(0);
}

static void by_path(void)
{
	execve(path, arguments, environ);
	refused(errno);
}

static void (*execute)(void) = by_path;

void go_on(void)
{
	CHECK(write(way_on, "", 1) == 1);
}

pid_t begin(const step steps[STEPS], void (*beside)(pid_t), char *const given[])
{
	int said[2], ready[2], go[2];
	char byte;
	pid_t pid;

	CHECK(!pipe2(said, O_CLOEXEC) && !pipe2(ready, O_CLOEXEC) && !pipe2(go, O_CLOEXEC));
	pid = split();
	if (!pid) {
		CHECK(dup2(said[1], REPORT) == REPORT);
		alarm(SECONDS);
		path = getenv("UKL");
		arguments[0] = "matrix";
		for (size_t i = 0; given[i]; i++)
			arguments[i + 1] = given[i];
		for (int i = 0; i < STEPS; i++) {
			if (steps[i])
				steps[i]();
		}
		CHECK(write(ready[1], "", 1) == 1);
		CHECK(!beside || read(go[0], &byte, 1) == 1);
		execute();
		_exit(1);
	}
	close(said[1]);
	close(ready[1]);
	close(go[0]);
	close(reports);
	close(way_on);
	reports = said[0];
	way_on = go[1];
	/* The child ends without writing a byte if a step has failed; it has printed the error. */
	if (read(ready[0], &byte, 1) != 1)
		beside = NULL;
	close(ready[0]);
	if (beside)
		beside(pid);
	return pid;
}

const char *hear(void)
{
	static char text[256];
	size_t n = 0;

	while (n < sizeof(text) - 1 && read(reports, text + n, 1) == 1 && text[n] != '\n')
		n++;
	text[n] = 0;
	return text;
}

const char *came_of(pid_t pid)
{
	static char text[512];
	struct pollfd more = { reports, POLLIN, 0 };
	int status;

	do {
		CHECK(waitpid(pid, &status, __WALL) == pid);
		if (WIFSTOPPED(status))
			ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
	} while (WIFSTOPPED(status));
	text[0] = 0;
	if (poll(&more, 1, 0) > 0 && more.revents & POLLIN)
		strcpy(text, hear());
	if (text[0] && status)
		strcat(text, ", ");
	if (WIFSIGNALED(status))
		sprintf(text + strlen(text), "killed %s", sigabbrev_np(WTERMSIG(status)));
	else if (status || !text[0])
		sprintf(text + strlen(text), "exited %d", WEXITSTATUS(status));
	return text;
}

/* ---- Steps ---- */

void user(void)
{
	CHECK(!setresgid(1000, 1000, 1000) && !setresuid(1000, 1000, 1000));
	/* As for one that has always been this user. */
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
}

const step user_alone[STEPS] = { user };

static void only(unsigned long long capabilities)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	for (int i = 0; i < 2; i++) {
		data[i].permitted = capabilities >> (32 * i);
		data[i].effective = data[i].permitted;
	}
	CHECK(!syscall(SYS_capset, &head, data));
}

static void without_ptrace(void)
{
	only((2ULL << CAP_LAST_CAP) - 1 - (1ULL << CAP_SYS_PTRACE));
}

void user_with_rawio(void)
{
	CHECK(!prctl(PR_SET_KEEPCAPS, 1));
	user();
	only(1ULL << CAP_SYS_RAWIO);
}

void no_new_privs(void)
{
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void bounded(void)
{
	CHECK(!prctl(PR_CAPBSET_DROP, CAP_SYS_RAWIO));
}

static void trace_me(void)
{
	CHECK(!ptrace(PTRACE_TRACEME, 0, 0, 0));
}

/* Filter the calls that set up a program's memory at its start. */
static int filter_calls(unsigned int action, unsigned int flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_brk, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void filter(void)
{
	CHECK(!filter_calls(SECCOMP_RET_ALLOW, 0));
}

static void listener(void)
{
	int fd = filter_calls(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);

	CHECK(fd >= 0 && dup3(fd, LISTENER, O_CLOEXEC) == LISTENER);
	close(fd);
}

static void share_directory(void)
{
	pid_t parent = getpid(), pid = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);

	CHECK(pid >= 0);
	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		pause();
	_exit(0);
}

static void *wait_for_ever(void *data)
{
	for (;;)
		pause();
	return data;
}

static void second_thread(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, wait_for_ever, NULL));
}

void own_namespace(void)
{
	unsigned int id = getuid();
	char map[64];

	CHECK(!unshare(CLONE_NEWUSER | CLONE_NEWNS));
	snprintf(map, sizeof(map), "0 %u 1", id);
	CHECK(!put("/proc/self/setgroups", "deny"));
	CHECK(!put("/proc/self/uid_map", map) && !put("/proc/self/gid_map", map));
	CHECK(getuid() == 0);
}

void copy_file(const char *from, const char *to, mode_t mode, uid_t owner)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	static char buffer[65536];
	ssize_t n;

	unlink(to);
	out = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(in >= 0 && out >= 0);
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		CHECK(write(out, buffer, n) == n);
	CHECK(!n && !fchown(out, owner, -1) && !fchmod(out, mode));
	close(in);
	close(out);
}

static void own_marker(void)
{
	CHECK(!mount("none", "/tmp", "tmpfs", 0, NULL));
	copy_file(path, "/tmp/own", 0755, -1);
	path = "/tmp/own";
}

void set_user_id_marker(void)
{
	path = "/data/set-user-id-marker";
}

void set_user_id(void)
{
	path = "/data/set-user-id";
}

void normal(void)
{
	path = self();
}

static void spawn(void)
{
	int status = 0, error;
	pid_t pid;

	/* It uses CLONE_VM | CLONE_VFORK. */
	error = posix_spawn(&pid, path, NULL, NULL, arguments, environ);
	if (error)
		refused(error);
	CHECK(waitpid(pid, &status, 0) == pid);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

static void by_spawn(void)
{
	execute = spawn;
}

static void descriptor(void)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	CHECK(fd >= 0);
	syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
	refused(errno);
}

void by_descriptor(void)
{
	execute = descriptor;
}

/* The application's second word is the name of the script. */
void by_script(void)
{
	FILE *file;

	CHECK(!chdir("/tmp"));
	unlink(arguments[2]);
	file = fopen(arguments[2], "w");
	CHECK(file && fprintf(file, "#!%s %s\n", path, arguments[1]) > 0);
	CHECK(!fchmod(fileno(file), 0755) && !fclose(file));
	path = arguments[2];
}

/* ---- Meanwhile ---- */

/* Trace it from another process of the same user. */
static void seize(pid_t pid)
{
	user();
	CHECK(!ptrace(PTRACE_SEIZE, pid, 0, 0));
	go_on();
}

/*
 * A forged end of the data, where the C library puts the control block of its first
 * thread. It is chosen so that the block would be in the middle of a string of the
 * kernel that has no effect without a poweroff command.
 */
static const char canary[] = "/proc/sys/kernel/poweroff_cmd";
static char canary_text[241];
static unsigned long break_for_it;

static void set_canary(void)
{
	const char *offset = getenv("CANARY");
	unsigned long block, start, place;
	char line[1024], *word;
	FILE *file = fopen("/proc/self/stat", "r");

	CHECK(file && offset && fgets(line, sizeof(line), file));
	fclose(file);
	word = strrchr(line, ')') + 2;
	/* start_brk is the 47th field of proc(5), the state the third. */
	for (int i = 3; i < 47; i++)
		word = strchr(word, ' ') + 1;
	start = strtoul(word, NULL, 10);
	/* The same distance from the start of the data as in the application. */
	__asm__("mov %%fs:0, %0" : "=r" (block));
	place = (symbol("_stext") + strtoul(offset, NULL, 16) + 191) & -64UL;
	break_for_it = place - (block - ((start + 63) & -64UL));
	memset(canary_text, 'x', sizeof(canary_text) - 1);
	CHECK(!put(canary, canary_text));
}

static const char *canary_now(void)
{
	char text[sizeof(canary_text)] = { 0 };
	int fd = open(canary, O_RDONLY);

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strcmp(text, canary_text) ? "changed" : "as it was";
}

/* Answer brk() as if the kernel's memory were the process's, and arch_prctl(). */
static void answer(pid_t pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), fd;
	struct pollfd next = { 0 };

	user();
	fd = syscall(SYS_pidfd_getfd, pidfd, LISTENER, 0);
	CHECK(fd >= 0);
	go_on();
	next = (struct pollfd){ fd, POLLIN, 0 };
	while (poll(&next, 1, -1) == 1 && !(next.revents & POLLHUP)) {
		struct seccomp_notif call = { 0 };
		struct seccomp_notif_resp reply = { 0 };

		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call))
			continue;
		reply.id = call.id;
		if (call.data.nr == SYS_brk)
			reply.val = call.data.args[0] ? call.data.args[0] : break_for_it;
		ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &reply);
	}
}

/* ---- Starts that the kernel must refuse, or must not ---- */

static const struct {
	const char *name;
	step steps[STEPS];
} starts[] = {
	{ "user", { user } },
	{ "root", { NULL } },

	{ "no_new_privs", { user, no_new_privs } },
	{ "no_new_privs, root", { no_new_privs } },
	{ "no_new_privs, CAP_SYS_RAWIO", { user_with_rawio, no_new_privs } },

	{ "filter", { user, no_new_privs, filter } },
	{ "filter of root's", { filter, user } },

	{ "traced", { user, trace_me } },
	{ "traced with root's credentials", { trace_me, user } },
	{ "traced, root", { trace_me } },
	{ "traced, root without CAP_SYS_PTRACE", { without_ptrace, trace_me } },

	{ "shared directory", { user, share_directory } },
	{ "shared directory, root", { share_directory } },
	{ "second thread", { user, second_thread } },
	{ "posix_spawn", { user, by_spawn } },

	{ "namespace", { user, own_namespace } },
	{ "namespace of root's", { own_namespace } },
	{ "namespace, marker of its own", { user, own_namespace, own_marker } },
	{ "namespace, traced", { user, own_namespace, trace_me } },

	{ "bounding set", { bounded, user } },
	{ "bounding set, root", { bounded } },

	{ "script", { user, by_script } },
	{ "script, no_new_privs", { user, by_script, no_new_privs } },
	{ "descriptor", { user, by_descriptor } },
	{ "descriptor, no_new_privs", { user, by_descriptor, no_new_privs } },
	{ "set-user-ID marker", { user, set_user_id_marker } },
	{ "set-user-ID marker, no_new_privs", { user, set_user_id_marker, no_new_privs } },
	{ "set-user-ID marker, traced", { user, set_user_id_marker, trace_me } },
};

static const struct {
	const char *name;
	step steps[STEPS];
	void (*beside)(pid_t pid);
} pairs[] = {
	{ "filter that answers brk()", { user, no_new_privs, listener }, answer },
	{ "traced from outside", { user }, seize },
};

static void start_one(const char *name, const step steps[STEPS], void (*beside)(pid_t pid))
{
	char *const exits[] = { "exit", "44", NULL };

	/* `beside` runs in a separate process, too. */
	if (split()) {
		wait(NULL);
		return;
	}
	OK("%s: %s", name, came_of(begin(steps, beside, exits)));
	fflush(stdout);
	_exit(0);
}

static void start(void)
{
	set_canary();
	copy_file(getenv("UKL"), "/data/set-user-id-marker", 04755, 0);
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		start_one(starts[i].name, starts[i].steps, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		start_one(pairs[i].name, pairs[i].steps, pairs[i].beside);
	OK("memory of the kernel: %s", canary_now());
	CHECK(!put(canary, "/sbin/poweroff"));
	unlink("/data/set-user-id-marker");
}

const struct check starting_checks[] = {
	{ "starting.start", start },
	{ "starting.state", state },
	{ "starting.moved", moved },
	{ "starting.access", access_it },
	{ "starting.events", events },
	{ "starting.tracer", tracer },
	{ "starting.sigreturn", sigreturns },
	{ "starting.log", log_lines },
	{ NULL, NULL },
};
