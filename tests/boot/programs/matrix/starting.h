/* SPDX-License-Identifier: GPL-2.0 */
#ifndef STARTING_H
#define STARTING_H

#include <sys/types.h>

/* Descriptor to which the application reports what it found. */
#define REPORT	99

/* An action of the process before it starts the application. */
typedef void (*step)(void);

#define STEPS	5

/*
 * Run the steps in a new process, and start the marker, or the file that a step has
 * chosen instead, as "matrix WORD...". If BESIDE is given, the process waits for
 * go_on() before the start, and the caller runs BESIDE meanwhile.
 */
pid_t begin(const step steps[STEPS], void (*beside)(pid_t pid), char *const given[]);
void go_on(void);
/* Wait for a line of the application; "" if it ends without one. */
const char *hear(void);
/* Wait for its end; return its report, or the error of execve(), and how it ended. */
const char *came_of(pid_t pid);
/* "done", or the name of the error. */
const char *error_name(int error);
void copy_file(const char *from, const char *to, mode_t mode, uid_t owner);

/* Steps. */
extern const step user_alone[STEPS];
void user(void);		/* uid 1000, without capabilities */
void user_with_rawio(void);	/* uid 1000, with CAP_SYS_RAWIO alone */
void own_namespace(void);	/* root of a user namespace */
void by_script(void);		/* execute a script whose interpreter is the application */
void by_descriptor(void);	/* execute a descriptor */
void set_user_id_marker(void);	/* a marker with the set-user-ID bit, see start() */
void set_user_id(void);		/* a set-user-ID program instead, see state() */
void normal(void);		/* a normal program instead */

struct act {
	const char *name;
	void (*run)(char **words);
};

/* Parts of an application that is started as "matrix started NAME [WORD...]". */
extern const struct act says[], stays[], is_led[];

/* Checks. */
void state(void);
void moved(void);
void access_it(void);
void events(void);
void tracer(void);
void sigreturns(void);
void log_lines(void);

#endif
