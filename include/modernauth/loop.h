/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_LOOP_H
#define MODERNAUTH_LOOP_H
/* The event loop that the host lends: timers, descriptors and the two clocks. Core never sleeps and never asks
 * the system for the time. After hiredis' idea of an injected loop (async.h): few hooks, all idempotent. */

#include <stdbool.h>
#include <stdint.h>

struct mauth_timer;     /* one shot */
struct mauth_watch;     /* one descriptor, both directions */

typedef void mauth_timer_fn(void *context);
typedef void mauth_watch_fn(bool readable, bool writable, void *context);

struct mauth_loop_vfuncs {
	/* Seconds and microseconds since the epoch; may jump. */
	int64_t (*wall_usecs)(void *loop);
	/* Microseconds of a clock that never jumps. */
	int64_t (*mono_usecs)(void *loop);
	/* Calls fn once, not before this function has returned, when msecs have passed. Removing a timer that
	   has fired is the caller's error: the pointer is dead once fn is entered. */
	struct mauth_timer *(*timer_add)(void *loop, unsigned int msecs, mauth_timer_fn *fn, void *context);
	void (*timer_remove)(void *loop, struct mauth_timer **timer);
	/* Watches fd until removed. NULL for loops without descriptors (the tests' virtual clock). */
	struct mauth_watch *(*watch_add)(void *loop, int fd, mauth_watch_fn *fn, void *context);
	void (*watch_set)(void *loop, struct mauth_watch *watch, bool read, bool write);
	void (*watch_remove)(void *loop, struct mauth_watch **watch);
};

struct mauth_loop {
	const struct mauth_loop_vfuncs *v;
	void *context;
};

static inline int64_t mauth_wall_usecs(const struct mauth_loop *loop)
{
	return loop->v->wall_usecs(loop->context);
}

static inline int64_t mauth_wall_secs(const struct mauth_loop *loop)
{
	return loop->v->wall_usecs(loop->context) / 1000000;
}

static inline int64_t mauth_mono_usecs(const struct mauth_loop *loop)
{
	return loop->v->mono_usecs(loop->context);
}

static inline int64_t mauth_mono_msecs(const struct mauth_loop *loop)
{
	return loop->v->mono_usecs(loop->context) / 1000;
}

static inline struct mauth_timer *
mauth_timer_add(const struct mauth_loop *loop, unsigned int msecs, mauth_timer_fn *fn, void *context)
{
	return loop->v->timer_add(loop->context, msecs, fn, context);
}

/* *timer may be NULL and is NULL afterwards. */
static inline void mauth_timer_remove(const struct mauth_loop *loop, struct mauth_timer **timer)
{
	if (*timer != 0)
		loop->v->timer_remove(loop->context, timer);
	*timer = 0;
}

static inline struct mauth_watch *
mauth_watch_add(const struct mauth_loop *loop, int fd, mauth_watch_fn *fn, void *context)
{
	return loop->v->watch_add(loop->context, fd, fn, context);
}

static inline void mauth_watch_set(const struct mauth_loop *loop, struct mauth_watch *watch, bool read, bool write)
{
	loop->v->watch_set(loop->context, watch, read, write);
}

static inline void mauth_watch_remove(const struct mauth_loop *loop, struct mauth_watch **watch)
{
	if (*watch != 0)
		loop->v->watch_remove(loop->context, watch);
	*watch = 0;
}

#endif
