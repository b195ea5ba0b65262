// SPDX-License-Identifier: GPL-2.0
/*
 * The supervisor, which runs as root. It starts and restarts the victims and the workers,
 * reads the kernel's log, and reports in the end what was done.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <regex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fuzz.h"

#define SECOND		1000000000UL
#define PATIENCE	(300 * SECOND)	/* to wait for a worker, on a busy machine */
#define PERIOD		100		/* turns between changes of settings */
#define QUIET		3		/* one period in QUIET is quiet */
#define CONTEXT		60		/* lines of the log after a complaint */

#define FINDING_TEXT(name, text)	text,
#define FINDING_WORD(name, text)	#name,
static const char *const meanings[] = { FINDINGS(FINDING_TEXT) };
static const char *const findings[] = { FINDINGS(FINDING_WORD) };

static struct {
	uid_t uid;
	bool dumpable;
	pid_t pid;
	int words;			/* pipe for its reports */
	uint64_t resume;		/* when to resume it, if it is stopped */
	struct rlimit limits[3];
} all_victims[VICTIMS] = {
	{ .uid = ATTACKER }, { .uid = ATTACKER, .dumpable = true }, { .uid = 0 },
	{ .uid = 0, .dumpable = true }, { .uid = ATTACKER + 1, .dumpable = true },
};

static const int limited[] = { RLIMIT_STACK, RLIMIT_AS, RLIMIT_DATA };

static pid_t workers[WORKERS];
static bool wanted[MAX_ACTIONS];
static unsigned int n_actions;
static bool attackers;
static uint64_t begin;
static regex_t complaint;
static int kmsg, printed;
static struct {
	unsigned long started, restarted, refused, killed, broken, limited, rounds, signals, workers;
	unsigned long not_dumpable;
} counts;

static double since(uint64_t when)
{
	return (double)(when - begin) / (double)SECOND;
}

static void find(enum finding what, const char *text)
{
	unsigned long n = shared->count[what]++;

	if (n < 20)
		printf("found %s at %.1f s: %s\n", findings[what], since(nanoseconds()), text);
}

/* ---- The kernel's log ---- */

static void listen_to_the_kernel(void)
{
	static int context;
	char record[2048], *text;
	ssize_t n;

	for (;;) {
		n = read(kmsg, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE)
			continue;		/* some were overwritten */
		if (n <= 0)
			return;
		record[n] = '\0';
		text = strchr(record, ';');
		text = text ? text + 1 : record;
		text[strcspn(text, "\n")] = '\0';
		if (!regexec(&complaint, text, 0, NULL, 0)) {
			find(FOUND_COMPLAINT, text);
			context = printed < 5 * CONTEXT ? CONTEXT : 0;
		}
		if (context > 0) {
			printf("!!! %s\n", text);
			context--;
			printed++;
		}
	}
}

/* ---- Victims ---- */

static void start_victim(int i)
{
	static const struct rlimit processes = { 2000, 2000 }, cores = { 0, 0 };
	int ends[2], error = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return;
	pid = fork();
	if (!pid) {
		char dumpable[2] = { (char)('0' + all_victims[i].dumpable), '\0' };
		char length[16];
		char *words[] = { "fuzz", "victim", dumpable, length, "0", NULL };
		uint64_t all = ~0UL;
		uid_t uid = all_victims[i].uid;

		snprintf(length, sizeof(length), "%d", 3000 + 700 * i);
		dup2(ends[1], 2);
		setsid();
		put("/proc/self/oom_score_adj", "-500");
		setrlimit(RLIMIT_NPROC, &processes);
		setrlimit(RLIMIT_CORE, &cores);
		/* Block signals until it has handlers: then only a fault ends it by a signal. */
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
		if (chdir("/") || setgroups(0, NULL) || setresgid(uid, uid, uid) ||
		    setresuid(uid, uid, uid))
			_exit(1);
		execv(MARKER, words);
		error = errno;
		dprintf(2, "refused %d\n", error);
		_exit(ENDED_REFUSED);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return;
	}
	all_victims[i].pid = pid;
	all_victims[i].words = ends[0];
	all_victims[i].resume = 0;
	for (size_t n = 0; n < ARRAY_SIZE(limited); n++)
		getrlimit(limited[n], &all_victims[i].limits[n]);
	shared->victims[i] = pid;
	counts.started++;
}

static void listen_to_victim(int i)
{
	char text[4096], *line, *rest = text;
	unsigned long rounds, signals;
	int error;
	ssize_t n;

	while ((n = read(all_victims[i].words, text, sizeof(text) - 1)) > 0) {
		text[n] = '\0';
		for (rest = text; (line = strsep(&rest, "\n")); ) {
			if (!strncmp(line, "victim ", 7)) {
				find(FOUND_VICTIM, line);
			} else if (sscanf(line, "rounds %lu signals %lu", &rounds, &signals) == 2) {
				counts.rounds += rounds;
				counts.signals += signals;
			} else if (sscanf(line, "refused %d", &error) == 1 ||
				   sscanf(line, "again refused %d", &error) == 1) {
				counts.refused++;
				shared->refused[(unsigned int)error % MAX_ERRNO]++;
				if (error == EPERM || error == EACCES || error == ENOEXEC)
					find(FOUND_REFUSED, line);
			} else if (!strncmp(line, "dumpable ", 9)) {
				counts.not_dumpable += line[9] != '0';
			} else if (*line) {
				printf("victim %d: %.200s\n", i, line);
			}
		}
	}
}

/* Whether an attacker changed its limits; also for a zombie */
static bool was_limited(int i)
{
	struct rlimit now;

	for (size_t n = 0; n < ARRAY_SIZE(limited); n++) {
		if (prlimit(all_victims[i].pid, limited[n], NULL, &now) ||
		    memcmp(&now, &all_victims[i].limits[n], sizeof(now)))
			return true;
	}
	return false;
}

static void end_of_victim(int i, const siginfo_t *info)
{
	char text[100];

	listen_to_victim(i);
	snprintf(text, sizeof(text), "victim %d (uid %d) ended by %s %d", i, all_victims[i].uid,
		 info->si_code == CLD_EXITED ? "exit" : "signal", info->si_status);
	if (info->si_code == CLD_EXITED && info->si_status == ENDED_REFUSED) {
		/* Already counted. */
	} else if (info->si_code == CLD_EXITED && info->si_status == ENDED_LIMIT) {
		counts.limited++;
	} else if (info->si_code == CLD_EXITED) {
		counts.broken++;
		find(FOUND_VICTIM, text);
	} else if (info->si_status == SIGKILL) {
		counts.killed++;
	} else if (was_limited(i)) {
		counts.limited++;
	} else {
		counts.broken++;
		find(FOUND_VICTIM, text);
	}
	close(all_victims[i].words);
	all_victims[i].pid = 0;
	shared->victims[i] = 0;
}

/* ---- All children ---- */

static int index_of(pid_t pid, bool *is_victim)
{
	for (int i = 0; i < VICTIMS; i++) {
		if (all_victims[i].pid == pid) {
			*is_victim = true;
			return i;
		}
	}
	*is_victim = false;
	for (int i = 0; i < WORKERS; i++) {
		if (workers[i] == pid)
			return i;
	}
	return -1;
}

/* Handle the next child that has ended, or stopped; false if there is none. */
static bool reap(void)
{
	siginfo_t info = { .si_pid = 0 };
	bool is_victim;
	int i;

	if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) || !info.si_pid)
		return false;
	i = index_of(info.si_pid, &is_victim);
	if (info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED) {
		/* Resume a victim after a while; an unknown process is an orphan. */
		if (i >= 0 && is_victim)
			all_victims[i].resume = nanoseconds() + info.si_pid % 16 * (SECOND / 64);
		else
			kill(info.si_pid, i < 0 ? SIGKILL : SIGCONT);
		waitpid(info.si_pid, NULL, WUNTRACED | WNOHANG | __WALL);
		return true;
	}
	if (i >= 0 && is_victim) {
		end_of_victim(i, &info);
	} else if (i >= 0) {
		workers[i] = 0;
		counts.workers++;
	}
	waitpid(info.si_pid, NULL, __WALL);
	return true;
}

/* Orphans of killed processes */
static void remove_orphans(void)
{
	char path[64], text[4096], *rest, *word;
	bool is_victim;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	if (get(path, text, sizeof(text)) <= 0)
		return;
	for (rest = text; (word = strsep(&rest, " ")); ) {
		if (*word && index_of(atoi(word), &is_victim) < 0)
			kill(atoi(word), SIGKILL);
	}
}

static void start_worker(int i)
{
	pid_t pid = fork();

	if (!pid)
		attack(i, wanted);
	workers[i] = pid > 0 ? pid : 0;
	shared->workers[i].when = nanoseconds();
}

static void watch_worker(int i)
{
	struct progress *progress = &shared->workers[i];
	uint64_t when = progress->when;
	char text[100];

	if (!workers[i] || nanoseconds() < when + PATIENCE)
		return;
	snprintf(text, sizeof(text), "worker %d at action %lu, %s", i, progress->number,
		 action_at((unsigned int)progress->action)->name);
	find(FOUND_STUCK, text);
	kill(workers[i], SIGKILL);
	progress->when = nanoseconds();
}

static void tell_findings(void)
{
	static int told;

	while (told < MAX_FOUND && told < shared->n_found && shared->found[told].complete) {
		const struct found *found = &shared->found[told++];

		printf("found %s at %.1f s: worker %d action %lu: %s\n", findings[found->what],
		       since(found->when), found->worker, found->number, found->text);
	}
}

/* Each action has run once, and the victims have done rounds: only time counts now. */
static bool complete(void)
{
	for (unsigned int i = 0; attackers && i < n_actions; i++) {
		if (wanted[i] && !shared->done[i])
			return false;
	}
	return counts.rounds > 0;
}

static unsigned long total(const atomic_ulong *numbers)
{
	unsigned long sum = 0;

	for (unsigned int i = 0; i < n_actions; i++)
		sum += numbers[i];
	return sum;
}

/*
 * From time to time stop the victims, and all workers except one: this also tests processors
 * that are idle.
 */
static void set_quiet(bool quiet)
{
	shared->quiet = quiet;
	for (int i = 0; i < VICTIMS; i++) {
		if (all_victims[i].pid)
			kill(all_victims[i].pid, quiet ? SIGSTOP : SIGCONT);
	}
}

/* One turn; change the settings that root may choose every few seconds. */
static void turn(unsigned int n)
{
	static const char *const settings[] = { "0", "1", "2" };

	for (int i = 0; i < VICTIMS; i++) {
		if (!all_victims[i].pid) {
			start_victim(i);
			counts.restarted += counts.started > VICTIMS;
		}
		listen_to_victim(i);
		if (!shared->quiet && all_victims[i].resume && nanoseconds() > all_victims[i].resume) {
			all_victims[i].resume = 0;
			kill(all_victims[i].pid, SIGCONT);
		}
	}
	for (int i = 0; attackers && i < WORKERS; i++) {
		if (!workers[i])
			start_worker(i);
		watch_worker(i);
	}
	while (reap())
		;
	if (n % PERIOD == PERIOD - 1) {
		remove_orphans();
		/* With any value, a process that is not dumpable must stay protected. */
		put("/proc/sys/fs/suid_dumpable", settings[n / PERIOD % ARRAY_SIZE(settings)]);
		/* Resume victims whose stop we did not see. */
		set_quiet(attackers && n / PERIOD % QUIET == QUIET - 1);
	}
	if (n % 250 == 249)
		printf("%.0f s: %lu actions, %lu steps, victims %lu rounds, %lu restarts\n",
		       since(nanoseconds()), total(shared->done), total(shared->steps), counts.rounds,
		       counts.restarted);
	listen_to_the_kernel();
	tell_findings();
	milliseconds(20);
}

static void end_all(void)
{
	uint64_t until = nanoseconds() + PATIENCE;

	shared->stop = true;
	set_quiet(false);
	while (nanoseconds() < until) {
		bool busy = false;

		while (reap())
			;
		for (int i = 0; i < WORKERS; i++)
			busy |= workers[i] != 0;
		if (!busy)
			break;
		for (int i = 0; i < VICTIMS; i++) {
			listen_to_victim(i);
			if (all_victims[i].pid)
				kill(all_victims[i].pid, SIGCONT);
		}
		milliseconds(20);
	}
	for (int i = 0; i < WORKERS; i++) {
		if (workers[i])
			kill(workers[i], SIGKILL);
	}
	for (int i = 0; i < VICTIMS; i++) {
		if (all_victims[i].pid)
			kill(all_victims[i].pid, SIGKILL);
	}
	until = nanoseconds() + PATIENCE;
	while (nanoseconds() < until) {
		siginfo_t info;

		while (reap())
			;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL))
			break;			/* ECHILD */
		remove_orphans();
		milliseconds(20);
	}
	if (nanoseconds() >= until)
		find(FOUND_STUCK, "children that do not end");
}

/* After all that, any user can still start an application. */
static void start_once_more(uid_t uid)
{
	char *words[] = { "fuzz", "start", NULL };
	char text[100];
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
			_exit(1);
		execv(MARKER, words);
		_exit(errno);
	}
	waitpid(pid, &status, 0);
	snprintf(text, sizeof(text), "uid %d, at the end: status %#x", uid, status);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != ENDED_STARTED)
		find(FOUND_REFUSED, text);
}

static int verdict(void)
{
	unsigned long bad = 0;

	for (unsigned int i = 0; i < n_actions; i++) {
		if (wanted[i])
			printf("action %s %lu, steps %lu, cut short %lu\n", action_at(i)->name,
			       shared->done[i], shared->steps[i], shared->cut[i]);
	}
	printf("victims: %lu started, %lu started again, %lu killed, %lu ended at a limit, "
	       "%lu by a fault; %lu rounds, %lu signals; dumpable refused %lu\n", counts.started,
	       counts.restarted, counts.killed, counts.limited, counts.broken, counts.rounds,
	       counts.signals, counts.not_dumpable);
	printf("attackers' starts: %lu, of which %lu exited, %lu were killed; workers ended %lu\n",
	       shared->started, shared->ended, shared->killed, counts.workers);
	for (int i = 0; i < MAX_ERRNO; i++) {
		if (shared->refused[i])
			printf("refused %s %lu\n", strerrorname_np(i), shared->refused[i]);
	}
	for (int i = 0; i < MAX_FINDINGS; i++) {
		if (shared->count[i])
			printf("findings %s %lu: %s\n", findings[i], shared->count[i], meanings[i]);
		bad += shared->count[i];
	}
	printf("total: %lu actions, %lu steps in %.0f s\n", total(shared->done), total(shared->steps),
	       since(nanoseconds()));
	printf("verdict: %s\n", bad ? "findings" : "held");
	return bad ? 1 : 0;
}

static void choose_actions(int count, char **words)
{
	bool none = count == 1 && !strcmp(words[0], "none");

	for (; action_at(n_actions); n_actions++) {
		wanted[n_actions] = !count;
		for (int i = 0; i < count; i++)
			wanted[n_actions] |= !strcmp(words[i], action_at(n_actions)->name);
		attackers |= wanted[n_actions];
	}
	if (!attackers && !none) {
		printf("no such action\n");
		exit(2);
	}
}

int supervise(int count, char **words)
{
	uint64_t length;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count < 5 || regcomp(&complaint, words[4], REG_EXTENDED | REG_NOSUB))
		return 2;
	length = strtoul(words[2], NULL, 0) * SECOND;
	seed = strtoul(words[3], NULL, 0);
	choose_actions(count - 5, words + 5);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (shared == MAP_FAILED || kmsg < 0)
		return 2;
	n_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	begin = nanoseconds();
	printf("fuzz: seed %#lx, %lu s, %d processors\n", seed, length / SECOND, n_cpus);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	put("/proc/self/oom_score_adj", "-1000");
	scene();
	know_symbols();
	for (unsigned int n = 0; nanoseconds() < begin + length ||
	     (!complete() && nanoseconds() < begin + 10 * length); n++)
		turn(n);
	end_all();
	put("/proc/sys/fs/suid_dumpable", "0");
	start_once_more(0);
	start_once_more(ATTACKER);
	listen_to_the_kernel();
	tell_findings();
	if (changed_file())
		find(FOUND_SENTINEL, changed_file());
	if (!complete())
		find(FOUND_STUCK, "not every action was done");
	return verdict();
}
