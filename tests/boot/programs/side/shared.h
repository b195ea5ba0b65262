/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHARED_H
#define SHARED_H

/* What both sides know. */
struct totals {
	unsigned long calls;
	unsigned long bytes;
};

#endif
