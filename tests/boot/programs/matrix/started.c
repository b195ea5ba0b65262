// SPDX-License-Identifier: GPL-2.0
/*
 * What an application inherits of a prepared environment: as little as a set-user-ID
 * program, unless root starts it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "matrix.h"
#include "starting.h"

static char *const variables[] = {
	"LD_PRELOAD=/tmp/none.so", "LD_LIBRARY_PATH=/tmp", "GCONV_PATH=/tmp", "LOCPATH=/tmp",
	"TMPDIR=/tmp", "GLIBC_TUNABLES=glibc.malloc.check=1", "MALLOC_ARENA_MAX=1", "OTHER=1",
};

static void set_variables(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		CHECK(!putenv(variables[i]));
}

static void close_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		close(fd);
}

static void set_personality(void)
{
	CHECK(personality(ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT | MMAP_PAGE_ZERO |
			  READ_IMPLIES_EXEC) >= 0);
}

static void fix_addresses(void)
{
	CHECK(personality(ADDR_NO_RANDOMIZE) >= 0);
}

static void unlimited_stack(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	CHECK(!setrlimit(RLIMIT_STACK, &limit));
}

static void die_with_parent(void)
{
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGUSR1));
}

static const struct {
	const char *name;
	step before;
	char *word;
	int twice;	/* start it twice, and compare */
} states[] = {
	{ "AT_SECURE", NULL, "secure", 0 },
	{ "environment", set_variables, "environment", 0 },
	{ "standard descriptors", close_standard, "descriptors", 0 },
	{ "personality", set_personality, "personality", 0 },
	{ "address of the stack", fix_addresses, "stack", 1 },
	{ "address of a mapping", fix_addresses, "mapping", 1 },
	{ "limit of the stack", unlimited_stack, "limit", 0 },
	{ "signal when the parent dies", die_with_parent, "death", 0 },
};

static const struct {
	const char *name;
	step steps[3];
} ways[] = {
	{ "user", { user } },
	{ "user, script", { user, by_script } },
	{ "user, descriptor", { user, by_descriptor } },
	{ "user, set-user-ID marker", { user, set_user_id_marker } },
	{ "user, set-user-ID program", { user, set_user_id } },
	{ "root", { NULL } },
	{ "CAP_SYS_RAWIO", { user_with_rawio } },
	{ "user, normal program", { user, normal } },
};

void state(void)
{
	copy_file(getenv("UKL"), "/data/set-user-id-marker", 04755, 0);
	copy_file(self(), "/data/set-user-id", 04755, 2000);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		char *const told[] = { "started", states[i].word, NULL };

		for (size_t n = 0; n < ARRAY_SIZE(ways); n++) {
			step steps[STEPS] = { ways[n].steps[0], ways[n].steps[1], states[i].before };
			char text[512];

			strcpy(text, came_of(begin(steps, NULL, told)));
			if (states[i].twice)
				strcpy(text, strcmp(text, came_of(begin(steps, NULL, told))) ?
				       "another" : "the same");
			OK("%s, %s: %s", states[i].name, ways[n].name, text);
		}
	}
	unlink("/data/set-user-id-marker");
	unlink("/data/set-user-id");
}

static void secure(char **words)
{
	(void)words;
	dprintf(REPORT, "%lu\n", getauxval(AT_SECURE));
}

/* Print the variables that still have their value. */
static void environment(char **words)
{
	char text[256] = "", name[32];

	(void)words;
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		const char *value, *given = strchr(variables[i], '=') + 1;

		snprintf(name, sizeof(name), "%.*s", (int)(given - variables[i] - 1), variables[i]);
		value = getenv(name);
		if (value && !strcmp(value, given))
			sprintf(text + strlen(text), " %s", name);
	}
	dprintf(REPORT, "has%s\n", text);
}

static void descriptors(char **words)
{
	(void)words;
	dprintf(REPORT, "%d %d %d\n", fcntl(0, F_GETFD) >= 0, fcntl(1, F_GETFD) >= 0,
		fcntl(2, F_GETFD) >= 0);
}

static void personality_of_it(char **words)
{
	(void)words;
	dprintf(REPORT, "%#x\n", personality(0xffffffff));
}

static void stack(char **words)
{
	dprintf(REPORT, "%p\n", (void *)words);
}

static void mapping(char **words)
{
	(void)words;
	dprintf(REPORT, "%p\n", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void limit(char **words)
{
	struct rlimit limit;

	(void)words;
	CHECK(!getrlimit(RLIMIT_STACK, &limit));
	if (limit.rlim_cur == RLIM_INFINITY)
		dprintf(REPORT, "none\n");
	else
		dprintf(REPORT, "%lu KiB\n", limit.rlim_cur / 1024);
}

static void death(char **words)
{
	int number;

	(void)words;
	CHECK(!prctl(PR_GET_PDEATHSIG, &number));
	dprintf(REPORT, "%d\n", number);
}

/* Take page faults for a while. */
static void fault(char **words)
{
	const size_t size = 256 * 4096;
	volatile char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)words;
	CHECK(map != MAP_FAILED);
	for (size_t i = 0; i < size; i += 4096)
		map[i] = 1;
	_exit(44);
}

const struct act says[] = {
	{ "secure", secure },
	{ "environment", environment },
	{ "descriptors", descriptors },
	{ "personality", personality_of_it },
	{ "stack", stack },
	{ "mapping", mapping },
	{ "limit", limit },
	{ "death", death },
	{ "fault", fault },
	{ NULL, NULL },
};

int started(char **words)
{
	const struct act *const lists[] = { says, stays, is_led };

	for (size_t i = 0; words[0] && i < ARRAY_SIZE(lists); i++) {
		for (const struct act *act = lists[i]; act->name; act++) {
			if (!strcmp(act->name, words[0])) {
				act->run(words + 1);
				return 0;
			}
		}
	}
	return 2;
}

/* ---- On another processor ---- */

static void run_on(pid_t pid, int processor)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	sched_setaffinity(pid, sizeof(one), &one);
}

/*
 * Move processes back and forth while each becomes the application. A processor that
 * loaded the address space before the start then sees it again, without having loaded
 * another one.
 */
void moved(void)
{
	int starts = atoi(words[0]), good = 0, others = sysconf(_SC_NPROCESSORS_ONLN) - 1;

	CHECK(others > 1);
	srandom(1);
	run_on(0, 0);
	for (int i = 0; i < starts; i++) {
		pid_t pid = split();
		int status;

		if (!pid) {
			user();
			execl(getenv("UKL"), "matrix", "started", "fault", NULL);
			_exit(1);
		}
		while (!waitpid(pid, &status, WNOHANG)) {
			run_on(pid, 1 + random() % others);
			for (volatile long n = random() % 20000; n > 0; n--)
				;
		}
		good += WIFEXITED(status) && WEXITSTATUS(status) == 44;
	}
	OK("exited 44: %d of %d", good, starts);
}
