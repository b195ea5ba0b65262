/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NET_HELD_KICK_H
#define _NET_HELD_KICK_H

#include <linux/jump_label.h>
#include <linux/types.h>

/**
 * struct held_kick - a transmit queue whose device can be notified later
 * @kick:	notifies the device; called with bottom halves disabled
 * @next:	private
 * @held:	private: whether a CPU will call @kick
 */
struct held_kick {
	void (*kick)(struct held_kick *held);
	struct held_kick *next;
	bool held;
};

#ifdef CONFIG_UKL_HELD_KICKS
DECLARE_STATIC_KEY_FALSE(held_kick_key);

bool __held_kick_hold(struct held_kick *queue);
void __held_kick_wait(void);
void __held_kick_flush(void);
void __held_kick_tick(void);
void held_kick_drain(void);

/**
 * held_kick_hold - whether to notify a device later
 * @queue:	the transmit queue, which is locked
 *
 * Return: true if @queue->kick will be called; false if the driver has to notify the
 * device now.
 */
static inline bool held_kick_hold(struct held_kick *queue)
{
	return static_branch_unlikely(&held_kick_key) && __held_kick_hold(queue);
}

/* A program asks for events: what it has sent leaves, even if there are some already. */
static inline void held_kick_wait(void)
{
	if (static_branch_unlikely(&held_kick_key))
		__held_kick_wait();
}

/* A task blocks, or the CPU has nothing to do. */
static inline void held_kick_flush(void)
{
	if (static_branch_unlikely(&held_kick_key))
		__held_kick_flush();
}

/* With interrupts disabled */
static inline void held_kick_tick(void)
{
	if (static_branch_unlikely(&held_kick_key))
		__held_kick_tick();
}
#else
static inline bool held_kick_hold(struct held_kick *queue)
{
	return false;
}

static inline void held_kick_wait(void)
{
}

static inline void held_kick_flush(void)
{
}

static inline void held_kick_tick(void)
{
}

static inline void held_kick_drain(void)
{
}
#endif

#endif /* _NET_HELD_KICK_H */
