/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FUZZ_H
#define FUZZ_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))
#define PAGE		4096UL
#define KERNEL_HALF	(1UL << 63)
#define IMAGE_SIZE	(64UL << 20)	/* at most */

#define ATTACKER	1000	/* uid and gid */
#define WORKERS		4
#define VICTIMS		5
#define MAX_ACTIONS	64
#define MAX_ERRNO	134
#define MAX_FOUND	512
#define MAX_TOLD	3	/* most findings of one kind by one action to print */
#define SYMBOLS		16

#define MARKER		"/ukl/fuzz"

/* Bytes of a marker file that execve() looks at, with room to spare, and where its note is */
#define HEAD	512
#define NOTE	64
#define TOP		"/tmp/fuzz"		/* a separate file system */
#define ATTACKER_NAME	"attacker"		/* name of processes before execve() */
#define SECRET		"/sentinel/secret"	/* only root may read it */
#define PUBLIC		"/sentinel/public"	/* only root may write it */

/* Statuses of processes that report something; no other process exits with them. */
enum {
	ENDED_STARTED	= 44,	/* an application that ended at once, as it should */
	ENDED_REFUSED	= 85,	/* execve() failed */
	ENDED_BROKEN	= 86,	/* its memory has changed */
	ENDED_FAULT	= 87,	/* a fault that is not its own */
	ENDED_LIMIT	= 88,	/* a fault at a limit that an attacker set */
	ENDED_RING0	= 99,	/* a normal process in ring 0 */
};

/* Findings: what must not happen */
#define FINDINGS(X)							\
	X(RING0,	"a normal process in ring 0")			\
	X(PRIVILEGE,	"uid, gid or capabilities of an attacker")	\
	X(SENTINEL,	"a file of root's")				\
	X(ACCESS,	"access to an application")			\
	X(ADDRESS,	"a kernel address shown")			\
	X(FORGED,	"a marker that is not root's started")		\
	X(STARTED,	"started where that is to be refused")		\
	X(VICTIM,	"an application's memory or faults")		\
	X(REFUSED,	"an ordinary start was refused")		\
	X(STUCK,	"a process that does not end")			\
	X(COMPLAINT,	"the kernel complains")

#define FINDING_NAME(name, text)	FOUND_##name,
enum finding { FINDINGS(FINDING_NAME) MAX_FINDINGS };

struct found {
	enum finding what;
	int worker;			/* -1: no worker */
	unsigned long number;		/* of its action */
	uint64_t when;			/* nanoseconds */
	atomic_bool complete;
	char text[200];
};

struct progress {
	atomic_int action;
	atomic_ulong number;		/* of the action */
	atomic_ulong when;		/* start of it, in nanoseconds */
};

/* Shared by supervisor and workers, but not by the processes that a worker starts. */
struct shared {
	atomic_bool stop;
	atomic_bool quiet;		/* run at most one worker, so that processors are idle */
	atomic_int victims[VICTIMS];
	atomic_ulong done[MAX_ACTIONS], steps[MAX_ACTIONS], cut[MAX_ACTIONS];
	atomic_ulong started, refused[MAX_ERRNO], killed, ended;
	struct progress workers[WORKERS];
	atomic_ulong count[MAX_FINDINGS];
	atomic_uint told[MAX_FINDINGS][MAX_ACTIONS];
	atomic_int n_found;
	struct found found[MAX_FOUND];
};

/* ---- Random numbers ---- */

struct random {
	uint64_t state;
};

static inline uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
	return z ^ (z >> 31);
}

static inline uint64_t draw(struct random *random)
{
	return mix(random->state += 0x9e3779b97f4a7c15UL);
}

static inline unsigned long below(struct random *random, unsigned long n)
{
	return draw(random) % n;
}

static inline bool one_in(struct random *random, unsigned long n)
{
	return !below(random, n);
}

#define PICK(random, array)	((array)[below(random, ARRAY_SIZE(array))])

/* ---- Attackers ---- */

/*
 * An attack. Each runs in a separate process, which may be left in any state, and which
 * reports its findings; steps are counted.
 */
struct action {
	const char *name;
	void (*run)(struct random *random);
	unsigned int weight;
	unsigned int milliseconds;	/* after which the worker ends it */
	bool quiet;			/* it finds more when others are idle */
};

extern const struct action entry_actions[], reach_actions[], start_actions[],
			   confined_actions[];

extern struct shared *shared;
extern uint64_t seed;
extern uint64_t symbols[SYMBOLS];	/* addresses that an attacker might have learned */
extern unsigned int n_symbols;
extern uint64_t image, linked;		/* the kernel's address, and the linked one */
extern int n_cpus;
extern pid_t victims[VICTIMS];		/* at the start of the action */

/* The actions of all topics, NULL after the last one */
const struct action *action_at(unsigned int index);
_Noreturn void attack(int worker, const bool *wanted);

void step(void);
void found(enum finding what, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Report the result of a marker's execve(), 0 or an errno; and the end of the process. */
void say_start(int error);
void say_end(int status);
/* Wait until a child is a zombie, and check its credentials; false after the timeout. */
bool zombie(pid_t pid, int milliseconds);
/* Kill a child in any state, and wait until it is a zombie. */
void finish(pid_t pid);
/* Whether it is executing, or has executed, a program that is not the attackers'. */
bool executed(pid_t pid);
/* Check in the process itself for anything that an attacker must not have. */
void check_self(void);
/* Send an application's standard error to the worker. */
void listen_to_applications(void);

uint64_t nanoseconds(void);
void milliseconds(unsigned int n);
void microseconds(unsigned int n);
int put(const char *path, const char *text);
ssize_t get(const char *path, char *buffer, size_t size);

/* ---- Values ---- */

extern char *scratch;
#define SCRATCH		(64UL << 10)

void values_begin(struct random *random);
void values_shuffle(struct random *random);
uint64_t any_value(struct random *random);
uint64_t any_address(struct random *random);
uint64_t kernel_address(struct random *random);
int any_signal(struct random *random);
const char *any_path(struct random *random);

/* ---- Victims, as other processes see them ---- */

struct target {
	pid_t pid;
	unsigned long long born;
};

/* Choose a victim, or a child of one, that runs in application mode. */
bool any_target(struct random *random, struct target *target);
/* Whether it is still that process, and hence was all the time. */
bool still(const struct target *target);
pid_t any_victim(struct random *random);

/*
 * Find an address in the kernel half, or one of the kernel's image, in the text. Returns
 * where it is, or NULL.
 */
const char *address_in(const char *text, bool image_only);
void move(struct random *random, pid_t pid);

/* Entries into the kernel with all registers given; enter.S */
struct registers {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, flags;
};

unsigned long enter_syscall(const struct registers *registers);
unsigned long enter_int80(const struct registers *registers);
unsigned long enter_sysenter(const struct registers *registers);
_Noreturn void enter_sigreturn(const void *frame);
void landing(void);
extern uint64_t landing_sp;

/* ---- The other roles ---- */

void scene(void);
void know_symbols(void);
/* A file of root's that has changed, or NULL */
const char *changed_file(void);

int supervise(int count, char **words);
int victim(int count, char **words);

#endif /* FUZZ_H */
