/* SPDX-License-Identifier: GPL-2.0 */
/* Limits that both sides of the cache know, in bytes */
#ifndef CACHE_H
#define CACHE_H

#define KEY_SIZE	250		/* memcached's limit */
#define VALUE_SIZE	4096
#define LINE_SIZE	(KEY_SIZE + 6)	/* "get KEY\r\n" */
/* "VALUE KEY FLAGS SIZE\r\n", the value, "\r\n" and "END\r\n" */
#define REPLY_SIZE	(KEY_SIZE + VALUE_SIZE + 64)

#endif
