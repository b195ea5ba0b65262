/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FRAMES_H
#define FRAMES_H

#include <setjmp.h>

#include "fuzz.h"

extern sigjmp_buf again;

unsigned short ring(void);
void restore_bases(void);
void survive(void);
bool far_returns(void);

void frames(struct random *random);
void raw_frames(struct random *random);
void segments(struct random *random);
void ldt(struct random *random);

#endif /* FRAMES_H */
