/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's init: declarations that its files share.
 */
#ifndef UKL_GUEST_INIT_H
#define UKL_GUEST_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#define RUN_FILE	"/etc/ukl/run"

/* A file system beside the kernel's own: a volume or disk of the host. */
struct volume {
	char *type;		/* 9p, virtiofs, ext4; squashfs, initrd: the root; bind: a file */
	char *source;		/* mount tag, serial number of the disk, or path of the file */
	char *target;		/* created if missing */
	bool read_only;
};

/*
 * The run description: what to start, and how. Written by the host into RUN_FILE,
 * one "key value" per line; src/ukl/guest/rundesc.py is the other side.
 */
struct run {
	char *nonce;		/* sent in each status message */
	char *name;		/* of the application; becomes the host name */
	char *path;		/* for execve(): marker file or executable */
	char **argv;
	char **envp;
	char *cwd;
	struct volume *volumes;
	size_t volume_count;
	uid_t uid;
	gid_t gid;
	gid_t *groups;		/* further ones */
	size_t group_count;
	int stop_signal;	/* asks the application to end */
	bool start;		/* false: only the companion runs */
	bool console_input;	/* standard input is the console, not /dev/null */
	char *streams;		/* kinds of the application's streams; NULL: the console */
	char **companion;	/* a normal program beside it, with which the run ends */
	bool interactive;	/* the companion has the console as its terminal */
	unsigned int rows;
	unsigned int columns;
	unsigned int grace_ms;	/* between SIGTERM and SIGKILL */
	char *address;		/* of the second interface, with its prefix; "dhcp"; or NULL */
	bool cores;		/* the host accepts core files */
	bool dhcp;		/* the first interface asks for its address */
	bool reset;		/* end the machine by a reset: its monitor has no power-off */
};

/* run.c */
const char *run_parse(struct run *run, char *text, size_t size);
const char *run_load(struct run *run, const char *file);

/* status.c */
enum host_request {
	HOST_NOTHING,
	HOST_STOP,		/* end the application */
	HOST_ACK,		/* the last message has arrived */
	HOST_AGENT,		/* start the agent */
	HOST_HOSTS,		/* the guests of the network, already written to /etc/hosts */
	HOST_TIME,		/* what time it is */
	HOST_HOLD,		/* hold the processors, for a snapshot */
	HOST_NEWS,		/* what is new in a copy: status_news() */
	HOST_GO,		/* let the programs go on */
	HOST_COPY,		/* this machine is a copy; only of snapshot_hold() */
	HOST_GONE,		/* the host has closed the channel */
};

long now_ms(void);
int port_open(const char *name, int timeout_ms);
int status_open(const char *nonce, int timeout_ms);
int status_fd(void);
void status_hello(const char *name);
void status_clock(int timeout_ms);
void status_ready(void);
void status_held(void);
const char *status_news(void);
void status_resumed(pid_t pid);
void status_started(const char *who, pid_t pid);
void status_ended(const char *who, int wait_status, const struct rusage *usage,
		  const char *reason);
void status_error(const char *what, int error);
void status_done(int timeout_ms);
enum host_request status_request(void);
unsigned int status_grace(unsigned int usual);

/* child.c */
void child_signals(void);
int child_becomes(const struct run *run);
void child_failed(int report, int error) __attribute__((noreturn));
int child_error(int report);

/* streams.c */
/*
 * The kinds of a program's three streams, one letter each: 'n' (/dev/null, only for input),
 * 'p' (a pipe), 't' (a terminal, the same for all).
 */
#define STREAMS_PIPES		"ppp"
#define STREAMS_TERMINAL	"ttt"

struct streams {
	int ours[3];		/* -1 when closed, and where a terminal's end is counted already */
	int theirs[3];
};

int streams_open(struct streams *streams, const char *kinds);
int streams_take(struct streams *streams, const char *kinds, const struct run *run);
void streams_close(int *fds, size_t count);

/* agent.c */
#define STREAMS_PORT	"org.unikernel-linux.streams"

void agent_main(const char *nonce) __attribute__((noreturn));
void agent_relay(const char *nonce, int port, struct streams *streams, const char *kinds,
		 int ended) __attribute__((noreturn));

/* core.c */
void core_up(void);
int core_main(char **argv);

/* kmsg.c */
#define MAX_REASON	240

bool kmsg_has(const char *text);
int kmsg_open(void);
void kmsg_reason(int fd, pid_t pid, int status, char *line, size_t size);

/* net.c */
int net_up(const struct run *run, const char **what);
bool net_hosts(const char *line);
void net_down(void);
int net_again(const char *address, const char *mac, const char **what);

/* snapshot.c */
enum host_request snapshot_hold(void);
void snapshot_release(void);
void snapshot_connect(void);

/* setup.c */
int setup_mounts(const char **what);
void setup_limits(void);
void setup_huge_pages(void);
void setup_console(const struct run *run);

/* root.c */
int root_up(const char *disk);

/* volumes.c */
int volumes_up(const struct run *run, const char **what);
void volumes_down(const struct run *run);

#endif
