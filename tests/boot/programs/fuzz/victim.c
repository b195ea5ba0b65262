// SPDX-License-Identifier: GPL-2.0
/*
 * An application that checks its memory for patterns that nothing should change, while
 * threads and children do what applications do.
 *
 * Processes of the same user may send it any signal, stop and kill it, and change its
 * limits, priority and processors; none of that may change what it computes. It retries
 * what fails for lack of resources.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

#include "fuzz.h"
#include "victim.h"

#define ENOUGH	(4UL << 20)	/* bytes of each kind of memory */
#define REST	40		/* a thread rests this many times as long as it works */

static uint64_t initialized[WORDS] = { 1 };
static uint64_t zeroed[WORDS];
static __thread uint64_t of_thread[WORDS / 8];
static __thread volatile bool begun;
static uint64_t *heap, *mapped;
static const uint64_t *volatile constants;
static struct rlimit limits[3];	/* stack, address space, data */
static atomic_ulong rounds;
static bool quick;		/* exit instead of executing again */

__thread char *volatile expected;
__thread volatile unsigned long faults;
atomic_ulong handled;

static const uint64_t constant[8] = {
	0x0123456789abcdef, 0xfedcba9876543210, 0xa5a5a5a5a5a5a5a5, 0x5a5a5a5a5a5a5a5a,
	0x00ff00ff00ff00ff, 0xff00ff00ff00ff00, 0x1111111111111111, 0xeeeeeeeeeeeeeeee,
};

/* Without stdio, since handlers use it too. */
void say(const char *format, ...)
{
	char text[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (write(2, text, n < (int)sizeof(text) ? n : (int)sizeof(text) - 1) < 0)
		return;
}

_Noreturn void broken(const char *what, const void *where, uint64_t is, uint64_t should)
{
	say("victim broken: %s at %p is %#lx, not %#lx\n", what, where, is, should);
	_exit(ENDED_BROKEN);
}

/* ---- Patterns ---- */

static uint64_t pattern(const void *address, uint64_t key)
{
	return mix((uintptr_t)address ^ key);
}

__attribute__((noipa)) void fill(uint64_t *words, size_t n, uint64_t key)
{
	for (size_t i = 0; i < n; i++)
		words[i] = pattern(words + i, key);
}

__attribute__((noipa))
void verify(const char *what, const uint64_t *words, size_t n, uint64_t key)
{
	for (size_t i = 0; i < n; i++) {
		if (words[i] != pattern(words + i, key))
			broken(what, words + i, words[i], pattern(words + i, key));
	}
}

void verify_all(void)
{
	uint64_t sum = 0;

	verify("data", initialized, WORDS, 1);
	verify("bss", zeroed, WORDS, 2);
	verify("thread-local data", of_thread, ARRAY_SIZE(of_thread), 3);
	if (heap)
		verify("heap", heap, WORDS, 4);
	if (mapped)
		verify("mapping", mapped, WORDS, 5);
	for (size_t i = 0; i < ARRAY_SIZE(constant); i++)
		sum += mix(constants[i]);
	if (sum != 0xbd151f01a932510e)
		broken("constants", constants, sum, 0);
	rounds++;
}

static void patterns_begin(void)
{
	constants = constant;
	fill(initialized, WORDS, 1);
	fill(zeroed, WORDS, 2);
	heap = malloc(WORDS * sizeof(*heap));
	if (heap)
		fill(heap, WORDS, 4);
	mapped = mmap(NULL, WORDS * sizeof(*mapped), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapped == MAP_FAILED)
		mapped = NULL;
	else
		fill(mapped, WORDS, 5);
}

void thread_begin(void)
{
	fill(of_thread, ARRAY_SIZE(of_thread), 3);
	begun = true;
}

/* ---- Signals ---- */

/*
 * Whether a process can run out of memory: its limits are not the ones that this process
 * began with, or they were too low from the start.
 */
bool limited(pid_t pid)
{
	static const int which[] = { RLIMIT_STACK, RLIMIT_AS, RLIMIT_DATA };

	for (size_t i = 0; i < ARRAY_SIZE(which); i++) {
		struct rlimit now;

		if (prlimit(pid, which[i], NULL, &now) || now.rlim_cur < ENOUGH ||
		    memcmp(&now, &limits[i], sizeof(now)))
			return true;
	}
	return false;
}

static void on_fault(int sig, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	uintptr_t sp = context->uc_mcontext.gregs[REG_RSP];
	uintptr_t address = (uintptr_t)info->si_addr;
	int saved = errno;

	/* Another process sent it. */
	if (info->si_code <= 0) {
		handled++;
		return;
	}
	if (sig == SIGSEGV && expected && info->si_code == SEGV_ACCERR &&
	    (char *)info->si_addr == expected) {
		faults++;
		if (mprotect((void *)(address & ~(PAGE - 1)), PAGE, PROT_READ | PROT_WRITE))
			_exit(ENDED_LIMIT);	/* too many mappings */
		errno = saved;
		return;
	}
	/* The stack could not grow. */
	if (sig == SIGSEGV && address - (sp - 16 * PAGE) < 32 * PAGE && limited(0))
		_exit(ENDED_LIMIT);
	say("victim fault: signal %d code %d address %#lx ip %#llx sp %#lx\n", sig, info->si_code,
	    address, context->uc_mcontext.gregs[REG_RIP], sp);
	_exit(ENDED_FAULT);
}

static void on_signal(int sig, siginfo_t *info, void *data)
{
	uint64_t local[16];
	int saved = errno;

	(void)sig;
	(void)info;
	(void)data;
	fill(local, ARRAY_SIZE(local), 6);
	if (begun)
		verify("thread-local data", of_thread, ARRAY_SIZE(of_thread), 3);
	verify("a handler's stack", local, ARRAY_SIZE(local), 6);
	handled++;
	errno = saved;
}

/* All signals, including the C library's own, 32 and 33. */
void mask_all(int how)
{
	uint64_t all = ~0UL;

	syscall(SYS_rt_sigprocmask, how, &all, NULL, sizeof(all));
}

static void signals_begin(void)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } ignore = {
		.handler = SIG_IGN
	};

	/* Handlers block all signals, so that many signals do not overflow the stack. */
	sigfillset(&action.sa_mask);
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		bool fault = sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE ||
			     sig == SIGTRAP || sig == SIGSYS;

		if (sig == SIGCHLD)
			continue;
		if (sig == 32 || sig == 33) {
			syscall(SYS_rt_sigaction, sig, &ignore, NULL, sizeof(ignore.mask));
			continue;
		}
		action.sa_sigaction = fault ? on_fault : on_signal;
		action.sa_flags ^= sig % 2 ? 0 : SA_RESTART;
		sigaction(sig, &action, NULL);
	}
}

/* ---- Life ---- */

struct job {
	void (*run)(void);
	pthread_t thread;
	char *stack;			/* for its signal handlers */
};

static struct job jobs[] = {
	{ .run = use_memory }, { .run = use_children }, { .run = use_pipe }, { .run = use_lock },
	{ .run = use_lock }, { .run = use_timers }, { .run = use_registers },
};

static void *run(void *argument)
{
	struct job *job = argument;
	stack_t alternate = { .ss_sp = job->stack, .ss_size = ALTERNATE };

	if (job->stack)
		sigaltstack(&alternate, NULL);
	thread_begin();
	for (;;) {
		uint64_t local[64], before = nanoseconds();

		fill(local, ARRAY_SIZE(local), 7);
		job->run();
		verify("a thread's stack", local, ARRAY_SIZE(local), 7);
		verify_all();
		/* Leave time for the others, also on a slow machine. */
		if (!quick)
			microseconds(5000 + REST * (unsigned int)((nanoseconds() - before) / 1000));
	}
	return NULL;
}

static void threads_begin(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
		/* In every other thread, handlers run on the thread's stack. */
		if (i % 2)
			jobs[i].stack = malloc(ALTERNATE);
		for (int n = 0; pthread_create(&jobs[i].thread, NULL, run, &jobs[i]); n++) {
			if (n > 100)
				return;
			milliseconds(10);
		}
	}
}

/* Execute the same program again, while its threads are running */
static void again(char **words, unsigned long round)
{
	char number[24];

	snprintf(number, sizeof(number), "%lu", round + 1);
	words[4] = number;
	mask_all(SIG_BLOCK);
	execv(MARKER, words);
	mask_all(SIG_UNBLOCK);
	say("again refused %d\n", errno);
}

/* Kill the children of the program that this process executed before */
static void bury(void)
{
	char path[64], text[600], *rest, *word;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (int i = 0; i < 500; i++) {
		pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0)
			return;
		if (pid || get(path, text, sizeof(text)) <= 0)
			continue;
		for (rest = text; (word = strsep(&rest, " ")); ) {
			if (*word)
				kill(atoi(word), SIGKILL);
		}
		milliseconds(1);
	}
}

static void live(char **words)
{
	bool dumpable = atoi(words[2]);
	unsigned long length = atol(words[3]), round = atol(words[4]);
	uint64_t begin = nanoseconds(), told = begin;
	unsigned long counted = 0;

	if (dumpable)
		say("dumpable %d\n", prctl(PR_SET_DUMPABLE, 1) ? errno : 0);
	threads_begin();
	for (;;) {
		uint64_t local[64];

		fill(local, ARRAY_SIZE(local), 8);
		milliseconds(20);
		verify("the first thread's stack", local, ARRAY_SIZE(local), 8);
		verify_all();
		if (nanoseconds() - told > 500000000UL) {
			unsigned long now = rounds;

			say("rounds %lu signals %lu\n", now - counted,
			    atomic_exchange(&handled, 0));
			counted = now;
			told = nanoseconds();
		}
		if (nanoseconds() - begin > length * 1000000UL) {
			if (quick)
				_exit(ENDED_STARTED);
			again(words, round);
			begin = nanoseconds();
		}
	}
}

/*
 * Touch the stack before there are handlers. If a low limit leaves too little stack, that is
 * a fault that nothing handles, and which the log shows.
 */
static void use_stack(void)
{
	volatile char room[48 << 10];

	for (size_t i = sizeof(room); i; i -= 1024)
		room[i - 1024] = 1;
}

/* Check for a moment what an application finds at its start, and a child. */
static int start_only(void)
{
	uint64_t local[64];
	int status;
	pid_t pid;

	fill(local, ARRAY_SIZE(local), 8);
	verify_all();
	pid = fork();
	if (!pid) {
		verify_all();
		fill(local, ARRAY_SIZE(local), 9);
		_exit(ENDED_STARTED);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	    WEXITSTATUS(status) != ENDED_STARTED)
		return WEXITSTATUS(status);
	use_memory();
	use_registers();
	verify("the first thread's stack", local, ARRAY_SIZE(local), 8);
	verify_all();
	return ENDED_STARTED;
}

int victim(int count, char **words)
{
	static char alternate[ALTERNATE];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	int fd;

	/* Keep descriptors 0 to 2 in use, so that no pipe of ours becomes standard error. */
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd < 3);
	close(fd);
	getrlimit(RLIMIT_STACK, &limits[0]);
	getrlimit(RLIMIT_AS, &limits[1]);
	getrlimit(RLIMIT_DATA, &limits[2]);
	sigaltstack(&stack, NULL);
	use_stack();
	patterns_begin();
	thread_begin();
	signals_begin();
	mask_all(SIG_UNBLOCK);
	if (count < 5 || strcmp(words[1], "victim"))
		return start_only();
	/* Other processes recognize a victim by this name. */
	prctl(PR_SET_NAME, "victim");
	bury();
	quick = words[5] && !strcmp(words[5], "quick");
	live(words);
	return 0;
}
