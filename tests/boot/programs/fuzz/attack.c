// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: runs one attack after the other, each in a separate process, and cleans up
 * after it. It trusts only messages of that process that come through a pipe with a
 * number that only our code knows.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fuzz.h"

#define REPORT	900	/* descriptor */

enum { SAY_FOUND, SAY_START, SAY_END, SAY_WORDS };

struct message {
	uint64_t nonce;
	int type, value;
	char text[200];
};

struct shared *shared;
uint64_t seed, symbols[SYMBOLS], image, linked;
unsigned int n_symbols;
int n_cpus;
pid_t victims[VICTIMS];

static const struct action *const topics[] = {
	entry_actions, reach_actions, start_actions, confined_actions,
};

static struct {
	int index, report, words, said;
	bool apart;			/* in an action's process */
	uint64_t nonce;
	const struct action *action;
	unsigned int kind;		/* its index */
	unsigned long number;
	atomic_ulong *steps;
	char space[64];			/* the user namespace */
} worker;

const struct action *action_at(unsigned int index)
{
	for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
		for (const struct action *action = topics[i]; action->name; action++) {
			if (!index--)
				return action;
		}
	}
	return NULL;
}

/* ---- Reports ---- */

void step(void)
{
	(*worker.steps)++;
}

static void send_message(int type, int value, const char *text)
{
	struct message message = { .nonce = worker.nonce, .type = type, .value = value };

	snprintf(message.text, sizeof(message.text), "%s", text);
	if (write(REPORT, &message, sizeof(message)) < 0)
		return;
}

static void record(enum finding what, const char *text)
{
	struct found *found;
	int i;

	shared->count[what]++;
	if (shared->told[what][worker.kind]++ >= MAX_TOLD)
		return;
	i = atomic_fetch_add(&shared->n_found, 1);
	if (i >= MAX_FOUND)
		return;
	found = &shared->found[i];
	found->what = what;
	found->worker = worker.index;
	found->number = worker.number;
	found->when = nanoseconds();
	snprintf(found->text, sizeof(found->text), "%s: %s",
		 worker.action ? worker.action->name : "worker", text);
	for (char *at = found->text; *at; at++)
		*at = *at < ' ' ? ' ' : *at;
	found->complete = true;
}

void found(enum finding what, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (worker.apart)
		send_message(SAY_FOUND, what, text);
	else
		record(what, text);
}

void say_start(int error)
{
	send_message(SAY_START, error, "");
}

void say_end(int status)
{
	send_message(SAY_END, status, "");
}

/* Read the messages of an action's process, and of applications that it started */
static void hear(void)
{
	struct message message;
	char words[1024], *line, *rest = words;
	ssize_t n;

	while (read(worker.report, &message, sizeof(message)) == sizeof(message)) {
		if (message.nonce != worker.nonce)
			continue;
		message.text[sizeof(message.text) - 1] = '\0';
		if (message.type == SAY_FOUND && message.value < MAX_FINDINGS)
			record((enum finding)message.value, message.text);
		else if (message.type == SAY_START && !message.value)
			shared->started++;
		else if (message.type == SAY_START)
			shared->refused[message.value % MAX_ERRNO]++;
		else if (message.type == SAY_END)
			WIFEXITED(message.value) ? shared->ended++ : shared->killed++;
	}
	while ((n = read(worker.words, words, sizeof(words) - 1)) > 0) {
		words[n] = '\0';
		for (rest = words; (line = strsep(&rest, "\n")); ) {
			if (!strncmp(line, "victim ", 7))
				record(FOUND_VICTIM, line);
		}
	}
}

void listen_to_applications(void)
{
	dup2(worker.said, 2);
}

/* ---- Processes ---- */

static bool field_is(const char *text, const char *key, const char *value)
{
	const char *at = strstr(text, key);

	return at && !strncmp(at + strlen(key), value, strlen(value));
}

/* Check a process's credentials, even a zombie's; in another user namespace only its ids. */
static void check_status(pid_t pid)
{
	static const char *const empty[] = { "\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapAmb:" };
	char path[64], text[4096], space[64] = "";
	bool same;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (get(path, text, sizeof(text)) <= 0)
		return;
	if (!field_is(text, "\nUid:", "\t1000\t1000\t1000\t1000\n") ||
	    !field_is(text, "\nGid:", "\t1000\t1000\t1000\t1000\n"))
		found(FOUND_PRIVILEGE, "%.120s", strstr(text, "\nUid:") ?: text);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	n = readlink(path, space, sizeof(space) - 1);
	same = n > 0 && !strcmp(space, worker.space);
	for (size_t i = 0; same && i < ARRAY_SIZE(empty); i++) {
		if (!field_is(text, empty[i], "\t0000000000000000\n"))
			found(FOUND_PRIVILEGE, "%.60s", strstr(text, empty[i]) ?: text);
	}
}

void check_self(void)
{
	unsigned short cs;
	int fd;

	__asm__ volatile("mov %%cs, %0" : "=r" (cs));
	if (!(cs & 3))
		found(FOUND_RING0, "cs %#x", cs);
	fd = open(SECRET, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		found(FOUND_SENTINEL, SECRET " opened");
	close(fd);
	fd = open(PUBLIC, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		found(FOUND_SENTINEL, PUBLIC " opened for writing");
	close(fd);
}

bool zombie(pid_t pid, int patience)
{
	uint64_t until = nanoseconds() + patience * 1000000UL;
	unsigned int pause = 500;
	siginfo_t info;

	for (;;) {
		info.si_pid = 0;
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL)) {
			if (errno != EINTR)
				return false;
		} else if (info.si_pid) {
			break;
		}
		if (nanoseconds() > until)
			return false;
		microseconds(pause);
		pause = pause < 8000 ? pause * 2 : pause;
	}
	check_status(pid);
	return true;
}

void finish(pid_t pid)
{
	kill(pid, SIGKILL);
	zombie(pid, 20000);
}

bool executed(pid_t pid)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	return get(path, text, sizeof(text)) > 0 && strcmp(text, ATTACKER_NAME "\n");
}

/* Kill all children, and their children when we have adopted them. */
static void sweep(void)
{
	char path[64], text[2048], *rest, *word;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", gettid());
	for (int i = 0; ; i++) {
		pid_t pid;

		while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
			;
		if (pid < 0)
			return;
		if (get(path, text, sizeof(text)) < 0)
			return;
		for (rest = text; (word = strsep(&rest, " ")); ) {
			if (*word)
				kill(atoi(word), SIGKILL);
		}
		if (i == 4000) {
			record(FOUND_STUCK, text);
			return;
		}
		milliseconds(i < 20 ? 1 : 10);
	}
}

/* In the action's process */
static _Noreturn void perform(struct random *random)
{
	setpgid(0, 0);
	worker.apart = true;
	prctl(PR_SET_NAME, ATTACKER_NAME);
	dup3(worker.report, REPORT, O_CLOEXEC);
	values_begin(random);
	worker.action->run(random);
	check_self();
	_exit(0);
}

static void run(const struct action *action, unsigned int index)
{
	struct random random = { mix(seed ^ mix(worker.index * 0x10001UL ^ mix(worker.number))) };
	struct progress *progress = &shared->workers[worker.index];
	int report[2], words[2], status;
	pid_t pid;

	progress->action = (int)index;
	progress->number = worker.number;
	progress->when = nanoseconds();
	worker.action = action;
	worker.kind = index;
	worker.nonce = draw(&random);
	*worker.steps = 0;
	for (size_t i = 0; i < VICTIMS; i++)
		victims[i] = shared->victims[i];
	/* New pipes for each action: no earlier process has them. */
	if (pipe2(report, O_CLOEXEC | O_NONBLOCK))
		return;
	if (pipe2(words, O_CLOEXEC | O_NONBLOCK)) {
		close(report[0]);
		close(report[1]);
		return;
	}
	worker.report = report[1];
	worker.said = words[1];
	pid = fork();
	if (!pid)
		perform(&random);
	close(report[1]);
	close(words[1]);
	worker.report = report[0];
	worker.words = words[0];
	if (pid < 0) {
		milliseconds(20);
	} else if (zombie(pid, (int)action->milliseconds)) {
		if (waitpid(pid, &status, __WALL) == pid && WIFEXITED(status) &&
		    WEXITSTATUS(status) == ENDED_RING0)
			record(FOUND_RING0, "by its exit status");
	} else {
		shared->cut[index]++;
		kill(pid, SIGKILL);
	}
	kill(-pid, SIGKILL);
	sweep();
	hear();
	close(report[0]);
	close(words[0]);
	shared->done[index]++;
	shared->steps[index] += *worker.steps < 100000 ? *worker.steps : 0;
}

/* ---- The worker ---- */

static void become_ordinary(void)
{
	struct rlimit processes = { 400, 400 }, space = { 256 << 20, 256 << 20 };
	struct rlimit size = { 2 << 20, 2 << 20 }, files = { 1024, 1024 }, cores = { 0, 0 };
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	syscall(SYS_close_range, 3, ~0U, 0);
	setsid();
	put("/proc/self/oom_score_adj", "1000");
	if (chdir(TOP) || setrlimit(RLIMIT_NPROC, &processes) || setrlimit(RLIMIT_AS, &space) ||
	    setrlimit(RLIMIT_FSIZE, &size) || setrlimit(RLIMIT_NOFILE, &files) ||
	    setrlimit(RLIMIT_CORE, &cores) || setgroups(0, NULL) ||
	    setresgid(ATTACKER, ATTACKER, ATTACKER) || setresuid(ATTACKER, ATTACKER, ATTACKER))
		_exit(1);
	prctl(PR_SET_DUMPABLE, 1);
	umask(0);
}

static bool eligible(unsigned int index, const bool *wanted, bool quiet)
{
	return wanted[index] && (!quiet || action_at(index)->quiet);
}

/* Choose a random one of the wanted actions, by weight */
static const struct action *choose(struct random *random, const bool *wanted, bool quiet,
				   unsigned int *index)
{
	const struct action *action;
	unsigned long all = 0, at;

	for (unsigned int i = 0; (action = action_at(i)); i++)
		all += eligible(i, wanted, quiet) ? action->weight : 0;
	if (!all)
		return quiet ? choose(random, wanted, false, index) : NULL;
	at = below(random, all);
	for (unsigned int i = 0; (action = action_at(i)); i++) {
		if (!eligible(i, wanted, quiet))
			continue;
		if (at < action->weight) {
			*index = i;
			return action;
		}
		at -= action->weight;
	}
	return NULL;
}

_Noreturn void attack(int number, const bool *wanted)
{
	unsigned int count = 0;

	become_ordinary();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	/* Started processes must not see the results of others and the table of victims. */
	madvise(shared, sizeof(*shared), MADV_DONTFORK);
	worker.steps = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	worker.index = number;
	if (readlink("/proc/self/ns/user", worker.space, sizeof(worker.space) - 1) < 0)
		_exit(1);
	while (action_at(count))
		count++;
	/* The successor of a killed worker continues after the action that it was doing. */
	for (worker.number = shared->workers[number].number + 1; !shared->stop; worker.number++) {
		struct random random = { mix(seed + worker.number) ^ (uint64_t)number };
		unsigned int index = (worker.number + (unsigned int)number * count / WORKERS) % count;
		const struct action *action = action_at(index);
		bool quiet;

		while (number && shared->quiet && !shared->stop)
			milliseconds(20);
		quiet = shared->quiet;
		/* First each action once, then at random */
		if (worker.number > count || quiet)
			action = choose(&random, wanted, quiet, &index);
		else if (!wanted[index])
			continue;
		check_status(getpid());
		run(action, index);
	}
	_exit(0);
}
