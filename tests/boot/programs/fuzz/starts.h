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
/* The descriptor where execute() writes just before the system call */
void tell_at(int fd);
/* In another process, so that the reader does not wait for it */
void close_starting(void);
/* Remove the files that execute() created */
void remove_files(void);

/* What we do to a process while it becomes an application */
enum {
	MEDDLE_MOVE	= 1 << 0,
	MEDDLE_SIGNAL	= 1 << 1,
	MEDDLE_LIMIT	= 1 << 2,
	MEDDLE_LOOK	= 1 << 3,
	MEDDLE_ALL	= (1 << 4) - 1,
	/* Only one of these: */
	MEDDLE_ATTACH	= 1 << 4,	/* retry until it succeeds; then the start must fail */
	MEDDLE_TRACE	= 1 << 5,	/* traced from the start of the process, and stops */
	MEDDLE_STEP	= 1 << 6,	/* the same, by single steps */
	MEDDLE_TRACES	= MEDDLE_ATTACH | MEDDLE_TRACE | MEDDLE_STEP,
};

struct start {
	const char *path;
	unsigned long bits;		/* preparations */
	/* One more preparation; returns whether it succeeded */
	bool (*confine)(struct random *random);
	enum way way;
	bool hostile;
	unsigned int meddle;
	const char *refused;		/* why the start must fail */
	enum finding otherwise;		/* the finding if it does not */
	long clone_flags;		/* 0: fork() */
	bool by_thread;
	void *(*others)(void *);	/* what its other threads do */
	/* Called when the process exists, and at its end */
	void (*begin)(struct random *random, pid_t pid);
	void (*end)(void);
};

/* Start one, and check the result; true if it was started. */
bool start_one(struct random *random, const struct start *start);
enum way any_way(struct random *random);

#endif /* STARTS_H */
