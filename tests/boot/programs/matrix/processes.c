// SPDX-License-Identifier: GPL-2.0
/*
 * Processes: fork, vfork, posix_spawn, exec, all statuses of wait, credentials,
 * namespaces, control groups, processors that come and go.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "matrix.h"

/* ---- fork ---- */

static int data[65536];

static void both_run_on(void)
{
	pid_t pids[4];
	int pipes[2], bad = 0;

	CHECK(!pipe(pipes));
	for (int i = 0; i < (int)ARRAY_SIZE(data); i++)
		data[i] = i;
	for (int n = 0; n < 4; n++) {
		pids[n] = split();
		if (pids[n])
			continue;
		for (int round = 0; round < 5; round++) {
			for (int i = 0; i < (int)ARRAY_SIZE(data); i += 64)
				data[i] += n + 1;
			sched_yield();
		}
		for (int i = 0; i < (int)ARRAY_SIZE(data); i += 64)
			bad += data[i] != i + 5 * (n + 1);
		_exit(bad ? 1 : 20 + n);
	}
	for (int round = 0; round < 5; round++)
		for (int i = 0; i < (int)ARRAY_SIZE(data); i += 64)
			data[i] -= 3;
	for (int n = 0; n < 4; n++)
		OK("child: %s", end_of(pids[n]));
	for (int i = 0; i < (int)ARRAY_SIZE(data); i += 64)
		bad += data[i] != i - 15;
	OK("parent: %d wrong", bad);
	/* Generations, each forked by the one before. */
	int depth = 0, status = 0;
	while (depth < 20) {
		pid_t pid = split();

		if (pid) {
			CHECK(waitpid(pid, &status, 0) == pid);
			break;
		}
		depth++;
	}
	if (depth)
		_exit(depth == 20 ? 20 : WEXITSTATUS(status));
	OK("generations: %d", WEXITSTATUS(status));
}

/* ---- vfork, posix_spawn, exec ---- */

static void spawning(void)
{
	char *normal[] = { "/bin/busybox", "sh", "-c", "cat; exit 5", NULL };
	char *same[] = { "matrix", "exit", "21", NULL };
	char *absent[] = { "/nothing", NULL }, *none[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t signals;
	volatile int seen = 0;
	int pipes[2];
	pid_t pid;

	CHECK(!pipe(pipes) && write(pipes[1], "through a pipe\n", 15) == 15);
	close(pipes[1]);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipes[0], 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/tmp/spawned", O_CREAT | O_WRONLY | O_TRUNC, 0600);
	posix_spawnattr_init(&attributes);
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	sigaddset(&signals, SIGUSR1);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
				 POSIX_SPAWN_SETPGROUP);
	CHECK(!posix_spawn(&pid, normal[0], &actions, &attributes, normal, environ));
	OK("normal: %s", end_of(pid));
	CHECK(!posix_spawn(&pid, self(), NULL, &attributes, same, environ));
	OK("same: %s", end_of(pid));
	OK("absent: %d", posix_spawn(&pid, absent[0], NULL, NULL, absent, environ));
	OK("a directory: %d", posix_spawn(&pid, "/tmp", NULL, NULL, none, environ));
	for (int i = 0; i < 50; i++) {
		pid = vfork();
		if (!pid) {
			seen++;
			_exit(6);
		}
		CHECK(pid > 0 && !strcmp(end_of(pid), "exited 6"));
	}
	OK("vfork: %d", seen);
	fflush(stdout);
	pid = vfork();
	if (!pid) {
		execv(self(), same);
		_exit(1);
	}
	OK("vfork and exec: %s", end_of(pid));
	/* clone3 with a separate stack, and with a pidfd */
	for (int i = 0; i < 20; i++) {
		pid = split();
		if (!pid)
			execv(self(), same);
		CHECK(!strcmp(end_of(pid), "exited 21"));
	}
	OK("started 20 times more");
}

/* exec with an argument that is too long, with many, with a bad address, by descriptor. */
static void executing(void)
{
	static char *many[3000];
	char *big = malloc(200000), *huge[] = { "matrix", big, NULL };
	char *same[] = { "matrix", "exit", "22", NULL };
	int fd = open(self(), O_RDONLY | O_CLOEXEC), status;
	pid_t pid;

	memset(big, 'x', 199999);
	big[199999] = 0;
	OK("too long: errno %d", ERROR(execv(self(), huge)));
	many[0] = "matrix";
	many[1] = "exit";
	many[2] = "23";
	for (size_t i = 3; i < ARRAY_SIZE(many) - 1; i++)
		many[i] = "an argument of thirty letters..";
	pid = split();
	if (!pid)
		execv(self(), many);
	OK("many: %s", end_of(pid));
	OK("bad address: errno %d", ERROR(syscall(SYS_execve, self(), 8, environ)));
	pid = split();
	if (!pid)
		fexecve(fd, same, environ);
	OK("by descriptor: %s", end_of(pid));
	OK("busy: errno %d", open(self(), O_WRONLY) < 0 ? errno : 0);
	/* State that exec keeps, and state that it resets. */
	pid = split();
	if (!pid) {
		char *sh[] = { "sh", "-c", "kill -USR1 $$; trap; exit 24", NULL };

		signal(SIGUSR1, SIG_IGN);
		signal(SIGUSR2, SIG_IGN);
		execv("/bin/sh", sh);
	}
	OK("ignored signals stay: %s", end_of(pid));
	pid = split();
	if (!pid) {
		/* Another thread of the thread group executes. */
		setenv("MATRIX_WAS", "here", 1);
		char *sh[] = { "sh", "-c", "test $MATRIX_WAS = here && exit 25", NULL };
		prctl(PR_SET_NAME, "renamed");
		execv("/bin/sh", sh);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	OK("environment: %d", WEXITSTATUS(status));
}

/* ---- wait ---- */

static void waiting(void)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGSEGV, 64 };
	struct rlimit second = { 1, 1 };
	siginfo_t info;
	struct rusage usage;
	int status;
	pid_t pid, first;

	for (int i = 0; i < 256; i += 51) {
		pid = split();
		if (!pid)
			_exit(i);
		CHECK(!waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
		CHECK(info.si_code == CLD_EXITED && info.si_status == i && info.si_pid == pid);
		CHECK(wait4(pid, &status, 0, &usage) == pid && WEXITSTATUS(status) == i);
		OK("exit %d", i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		pid = split();
		if (!pid)
			pause();
		kill(pid, signals[i]);
		CHECK(!waitid(P_PID, pid, &info, WEXITED));
		CHECK(info.si_status == signals[i]);
		OK("signal %d: code %d", signals[i], info.si_code);
	}
	pid = split();
	if (!pid) {
		raise(SIGSTOP);
		_exit(3);
	}
	CHECK(!waitid(P_PID, pid, &info, WSTOPPED) && info.si_code == CLD_STOPPED);
	CHECK(waitpid(pid, &status, WNOHANG) == 0);
	kill(pid, SIGCONT);
	OK("%s", end_of(pid));
	OK("none: errno %d", ERROR(waitpid(-1, &status, 0)));
	pid = split();
	if (!pid) {
		setrlimit(RLIMIT_CPU, &second);
		for (;;)
			__asm__ volatile("");
	}
	OK("its time is over: %s", end_of(pid));
	/* The subreaper adopts orphans; a child gets a signal at its parent's death. */
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	first = split();
	if (!first) {
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGUSR2);
			alarm(10);
			for (;;)
				pause();
		}
		milliseconds(80);
		_exit(0);
	}
	CHECK(waitpid(first, &status, 0) == first);
	pid = wait(&status);
	OK("orphan: %d, signal %d", pid > 0 && pid != first, WTERMSIG(status));
}

/* ---- Credentials: those of the file that was executed ---- */

static void credentials(void)
{
	static const char copy[] = "/matrix-suid";	/* must not be on a nosuid mount */
	char *print[] = { "matrix-suid", "processes.print", NULL };
	struct { unsigned int magic, permitted[2], inheritable[2]; } caps = { 0x02000001, { 1 << 10, 0 }, { 0 } };
	char buffer[4096];
	ssize_t n;
	pid_t pid;
	int from = open(self(), O_RDONLY), to;

	for (int i = 0; i < 3; i++) {
		unlink(copy);
		to = open(copy, O_WRONLY | O_CREAT | O_EXCL, 0755);
		lseek(from, 0, SEEK_SET);
		while ((n = read(from, buffer, sizeof(buffer))) > 0)
			CHECK(write(to, buffer, n) == n);
		if (i == 0)
			CHECK(!fchmod(to, 04755));
		if (i == 1)
			CHECK(!fchown(to, 0, 77) && !fchmod(to, 02755));
		if (i == 2)	/* CAP_NET_BIND_SERVICE, effective; not every file system can */
			if (syscall(SYS_fsetxattr, to, "security.capability", &caps, 20, 0))
				CHECK(errno == EOPNOTSUPP);
		close(to);
		pid = split();
		if (!pid) {
			CHECK(!setresgid(55, 55, 55) && !setresuid(1000, 1000, 1000));
			execv(copy, print);
			_exit(1);
		}
		OK("%s", end_of(pid));
	}
	unlink(copy);
}

static void print(void)
{
	uid_t real, effective, saved;
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];

	getresuid(&real, &effective, &saved);
	OK("uid %d %d %d, gid %d %d", real, effective, saved, getgid(), getegid());
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "CapEff:", 7))
			OK("%s", strtok(line, "\n"));
	}
}

/* ---- Namespaces and control groups ---- */

static int in_namespaces(void *unused)
{
	char name[65];

	(void)unused;
	CHECK(!sethostname("inside", 6) && !gethostname(name, sizeof(name)));
	CHECK(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK(!mount("proc", "/proc", "proc", 0, NULL));
	OK("pid %d, host %s, self %ld", getpid(), name, field("/proc/self/status", "Pid"));
	char *same[] = { "matrix", "exit", "31", NULL };
	pid_t pid = split();
	if (!pid)
		execv(self(), same);
	OK("pid %d: %s", pid, end_of(pid));
	fflush(stdout);
	return 17;
}

static void namespaces(void)
{
	char *area = malloc(256 << 10);
	int status;
	pid_t pid;

	fflush(stdout);
	pid = clone(in_namespaces, area + (256 << 10), CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS |
		    CLONE_NEWIPC | CLONE_NEWNET | SIGCHLD, NULL);
	CHECK(pid > 0);
	OK("ended: %s", end_of(pid));
	pid = split();
	if (!pid) {
		CHECK(!setresgid(1000, 1000, 1000) && !setresuid(1000, 1000, 1000));
		prctl(PR_SET_DUMPABLE, 1);
		CHECK(!unshare(CLONE_NEWUSER));
		put("/proc/self/setgroups", "deny");
		OK("in a user namespace: uid %d", getuid());
		fflush(stdout);
		/* The kernel refuses to start an application there, see starting.c. */
		pid = split();
		if (!pid)
			_exit(32);
		OK("child there: %s", end_of(pid));
		fflush(stdout);
		_exit(33);
	}
	OK("it ended: %s", end_of(pid));
	CHECK(!unshare(CLONE_NEWTIME));
	CHECK(!put("/proc/self/timens_offsets", "monotonic 1000000 0"));
	pid = split();
	if (!pid) {
		struct timespec t;

		clock_gettime(CLOCK_MONOTONIC, &t);
		_exit(t.tv_sec >= 1000000 ? 8 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	OK("time namespace: %d", WEXITSTATUS(status));
}

#define GROUP "/sys/fs/cgroup/matrix"

static void cgroups(void)
{
	char text[32];
	struct timespec from, to;
	pid_t pid, killed;

	mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	CHECK(!put("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids +cpu"));
	rmdir(GROUP);
	CHECK(!mkdir(GROUP, 0755));
	CHECK(!put(GROUP "/memory.max", "20000000") && !put(GROUP "/pids.max", "3"));
	pid = split();
	if (!pid) {
		CHECK(!put(GROUP "/cgroup.procs", "0"));
		pid_t a = fork(), b = a ? fork() : 0, c = a && b ? fork() : 0;
		if (!a || !b)
			_exit(pause());
		int refused = c < 0 && errno == EAGAIN;
		kill(a, SIGKILL);
		kill(b, SIGKILL);
		_exit(refused ? 41 : 1);
	}
	OK("pids: %s", end_of(pid));
	killed = split();
	if (!killed) {
		CHECK(!put(GROUP "/cgroup.procs", "0"));
		for (;;)
			memset(malloc(1 << 20), 1, 1 << 20);
	}
	OK("memory: %s", end_of(killed));
	pid = split();
	if (!pid) {
		CHECK(!put(GROUP "/cgroup.procs", "0"));
		for (;;)
			__asm__ volatile("");
	}
	milliseconds(100);
	CHECK(!put(GROUP "/cgroup.freeze", "1"));
	for (int i = 0; field(GROUP "/cgroup.events", "frozen") < 1 && i < 100; i++)
		milliseconds(10);
	snprintf(text, sizeof(text), "/proc/%d/status", pid);
	OK("frozen while it computes");
	CHECK(!put(GROUP "/cgroup.freeze", "0"));
	CHECK(!put(GROUP "/cpu.max", "5000 50000"));
	clock_gettime(CLOCK_MONOTONIC, &from);
	milliseconds(500);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CHECK(!put(GROUP "/cgroup.kill", "1"));
	OK("killed with its group: %s", end_of(pid));
	milliseconds(50);
	OK("removed: %d", rmdir(GROUP));
}

/* ---- Processors ---- */

static volatile int stop, come_and_go;
static volatile long progress[4];

static void *wander(void *data)
{
	long n = (long)data, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int expected = 0;
	cpu_set_t one;

	while (!stop) {
		unsigned int x = 1;
		double sum = 0;

		CPU_ZERO(&one);
		CPU_SET((n + progress[n]) % cpus, &one);
		if (!sched_setaffinity(0, sizeof(one), &one))
			CHECK(come_and_go || sched_getcpu() == (n + progress[n]) % cpus);
		for (int i = 0; i < 20000; i++) {
			x = x * 1664525 + 1013904223;
			sum += 0.5;
		}
		if (!progress[n])
			expected = x;
		CHECK(sum == 10000.0 && x == expected);
		progress[n]++;
	}
	return NULL;
}

static void migration(void)
{
	pthread_t threads[4];

	for (long i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, wander, (void *)i));
	milliseconds(1500);
	stop = 1;
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		CHECK(progress[i] > 3);
	}
	OK("on %ld processors, %d allowed", sysconf(_SC_NPROCESSORS_ONLN), 4);
}

static void hotplug(void)
{
	static const char online[] = "/sys/devices/system/cpu/cpu%d/online";
	pthread_t threads[4];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char path[64];

	come_and_go = 1;
	for (long i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, wander, (void *)i));
	for (int round = 0; round < 2; round++) {
		for (int cpu = 1; cpu < cpus; cpu++) {
			snprintf(path, sizeof(path), online, cpu);
			CHECK(!put(path, "0"));
		}
		OK("left: %ld", sysconf(_SC_NPROCESSORS_ONLN));
		for (int cpu = 1; cpu < cpus; cpu++) {
			snprintf(path, sizeof(path), online, cpu);
			CHECK(!put(path, "1"));
		}
		OK("back: %ld", sysconf(_SC_NPROCESSORS_ONLN));
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* ---- its own executable ---- */

static int has_main(struct dl_phdr_info *info, size_t size, void *found)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t at = (uintptr_t)both_run_on - info->dlpi_addr - header->p_vaddr;

		if (header->p_type == PT_LOAD && header->p_flags == (PF_R | PF_X) &&
		    at < header->p_memsz)
			*(uintptr_t *)found = (uintptr_t)both_run_on - info->dlpi_addr;
	}
	return 0;
}

/* Print the name of the function at an address of the file, as a symbolizer finds it. */
static void symbolize(const char *file, uintptr_t address)
{
	const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)file;
	const ElfW(Shdr) *sections = (const ElfW(Shdr) *)(file + header->e_shoff);
	int lines = 0;

	for (int i = 0; i < header->e_shnum; i++) {
		const ElfW(Shdr) *table = &sections[i];
		const ElfW(Sym) *symbols = (const ElfW(Sym) *)(file + table->sh_offset);
		const char *names = file + sections[header->e_shstrndx].sh_offset;

		lines += !strcmp(names + table->sh_name, ".debug_line");
		if (table->sh_type != SHT_SYMTAB)
			continue;
		names = file + sections[table->sh_link].sh_offset;
		for (size_t n = 0; n < table->sh_size / sizeof(*symbols); n++) {
			if (ELF64_ST_TYPE(symbols[n].st_info) == STT_FUNC &&
			    symbols[n].st_value == address)
				OK("function: %s", names + symbols[n].st_name);
		}
	}
	OK("lines: %d", lines);
}

static void executable(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), pipes[2];
	uintptr_t found = 0;
	struct stat status;
	char name[17] = "";
	const char *file;

	CHECK(fd >= 0 && !fstat(fd, &status));
	file = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(file != MAP_FAILED);
	OK("ELF: %d", !memcmp(file, ELFMAG, SELFMAG));
	dl_iterate_phdr(has_main, &found);
	OK("text: %d", found != 0);
	symbolize(file, found);

	CHECK(!pipe(pipes));
	if (!split()) {
		char *again[] = { "matrix", "processes.name", NULL };

		dup2(pipes[1], 1);
		fexecve(fd, again, environ);
		_exit(1);
	}
	close(pipes[1]);
	CHECK(read(pipes[0], name, sizeof(name) - 1) > 0);
	OK("name: %s", name);
}

static void print_name(void)
{
	char name[17] = "";

	CHECK(!prctl(PR_GET_NAME, name));
	CHECK(write(1, name, strlen(name)) > 0);
	_exit(0);
}

/* A normal user opens its own files in /proc. */
static void own_files(void)
{
	static const char *const writable[] = { "comm", "oom_score_adj", "coredump_filter" };
	static const char *const readable[] = { "environ", "auxv", "pagemap", "mem", "fd" };
	char path[64];

	if (getuid() == 0) {
		char *again[] = { "matrix", "processes.own_files", NULL };

		CHECK(!setgid(65534) && !setuid(65534));
		execv("/proc/self/exe", again);
		CHECK(0);
	}
	for (int i = 0; i < (int)ARRAY_SIZE(writable); i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", writable[i]);
		OK("%s: %ld", writable[i], ERROR(open(path, O_WRONLY)));
	}
	for (int i = 0; i < (int)ARRAY_SIZE(readable); i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", readable[i]);
		OK("%s: %ld", readable[i], ERROR(open(path, O_RDONLY)));
	}
	OK("limits: %ld", ERROR(open("/proc/self/limits", O_WRONLY)));
}

const struct check process_checks[] = {
	{ "processes.executable", executable },
	{ "processes.name", print_name },
	{ "processes.own_files", own_files },
	{ "processes.fork", both_run_on },
	{ "processes.spawn", spawning },
	{ "processes.exec", executing },
	{ "processes.wait", waiting },
	{ "processes.credentials", credentials },
	{ "processes.print", print },
	{ "processes.namespaces", namespaces },
	{ "processes.cgroups", cgroups },
	{ "processors.migration", migration },
	{ "processors.hotplug", hotplug },
	{ NULL, NULL },
};
