/* SPDX-License-Identifier: GPL-2.0 */
#ifndef STARTS_H
#define STARTS_H

#include "fuzz.h"

/* Preparations, in the order of prepare.c's table */
enum {
	PREPARE_LIMITS		= 1 << 0,
	PREPARE_STACK		= 1 << 1,
	PREPARE_TIMERS		= 1 << 2,
	PREPARE_DESCRIPTORS	= 1 << 3,
	PREPARE_SIGNALS		= 1 << 4,
	PREPARE_PERSONALITY	= 1 << 5,
	PREPARE_CONTROLS	= 1 << 6,
	PREPARE_RING		= 1 << 7,
	PREPARE_FAULTS		= 1 << 8,
	PREPARE_LDT		= 1 << 9,
	PREPARE_AFFINITY	= 1 << 10,
	PREPARE_SCHEDULER	= 1 << 11,
	PREPARE_BASES		= 1 << 12,
	PREPARE_KEYS		= 1 << 13,
	PREPARATIONS		= 14,
};

void prepare(struct random *random, unsigned long bits);

enum way {
	WAY_PATH, WAY_RELATIVE, WAY_DESCRIPTOR, WAY_PROC, WAY_SCRIPT, WAY_LINK, WAY_STEPPED, WAYS
};

/* Execute a marker file in one of these ways; returns an errno. */
int execute(struct random *random, enum way way, const char *path, bool hostile);
/* Where execute() says that the next thing is the system call */
void tell_at(int fd);
/* In a process beside it, that is not to be waited for */
void close_starting(void);
/* What it has made in the file system */
void remove_files(void);

/* What others do while a process becomes an application */
enum {
	MEDDLE_MOVE	= 1 << 0,
	MEDDLE_SIGNAL	= 1 << 1,
	MEDDLE_LIMIT	= 1 << 2,
	MEDDLE_LOOK	= 1 << 3,
	MEDDLE_ALL	= (1 << 4) - 1,
	/* Alone: */
	MEDDLE_ATTACH	= 1 << 4,	/* until that succeeds; then it must not be started */
	MEDDLE_TRACE	= 1 << 5,	/* it is traced from its beginning, and stops */
	MEDDLE_STEP	= 1 << 6,	/* the same, by single steps */
	MEDDLE_TRACES	= MEDDLE_ATTACH | MEDDLE_TRACE | MEDDLE_STEP,
};

struct start {
	const char *path;
	unsigned long bits;		/* preparations */
	/* One more preparation, which says whether it came about */
	bool (*confine)(struct random *random);
	enum way way;
	bool hostile;
	unsigned int meddle;
	const char *refused;		/* why it has to be */
	enum finding otherwise;		/* what it is if it is not */
	long clone_flags;		/* fork(), if none */
	bool by_thread;
	void *(*others)(void *);	/* what its other threads do */
	/* Called when there is the process, and at its end */
	void (*begin)(struct random *random, pid_t pid);
	void (*end)(void);
};

/* Start one, and look at what comes of it; true if it was started. */
bool start_one(struct random *random, const struct start *start);
enum way any_way(struct random *random);

#endif /* STARTS_H */
