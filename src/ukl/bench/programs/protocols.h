/* SPDX-License-Identifier: GPL-2.0 */
/* Requests to the servers that are measured */
#ifndef PROTOCOLS_H
#define PROTOCOLS_H

#include <stdint.h>

#define MAX_ANSWER	131072

#define VALUE	"0123456789012345678901234567890123456789012345678901234567890123456789" \
		"012345678901234567890123456789"	/* 100 bytes */

#define ECHOED	"0123456789012345678901234567890123456789012345678901234567890123"

_Static_assert(sizeof(VALUE) == 100 + 1, "what the requests say");

struct request {
	const char *row;
	const char *text;
	const char *begin;	/* first bytes of each answer */
};

struct protocol {
	const char *name;
	uint16_t port;
	struct request requests[3];	/* a request that writes before one that reads it */
};

static const struct protocol protocols[] = {
	{ "redis", 6379, {
		{ "SET 100 B", "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100\r\n" VALUE "\r\n", "+OK" },
		{ "GET 100 B", "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "$100\r\n" VALUE },
	} },
	{ "memcached", 11211, {
		{ "set 100 B", "set key 0 0 100\r\n" VALUE "\r\n", "STORED" },
		{ "get 100 B", "get key\r\n", "VALUE key 0 100\r\n" VALUE },
	} },
	{ "tcp-echo", 5555, {
		{ "echo 64 B", ECHOED, ECHOED },
	} },
	{ "nginx", 80, {
		{ "GET 1 KiB", "GET /index.html HTTP/1.1\r\nHost: guest\r\n\r\n", "HTTP/1.1 200 " },
	} },
};

#endif
