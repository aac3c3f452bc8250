/* SPDX-License-Identifier: MIT */
#include "lib.h"
/* Dovecot's, not the one beside this file. */
#include <ioloop.h>
#include "time-util.h"

#include "compat/ioloop.h"
#include "core/mem.h"

#include <stdlib.h>
#include <time.h>

struct mauth_timer {
	struct timeout *to;
	mauth_timer_fn *fn;
	void *context;
};

/* One io per direction: Dovecot panics when a descriptor has two of the same direction, and an io for both
 * directions could not tell the callback which one is ready. */
struct mauth_watch {
	int fd;
	struct io *in, *out;
	mauth_watch_fn *fn;
	void *context;
};

static int64_t ioloop_wall_usecs(void *loop ATTR_UNUSED)
{
	struct timeval now;

	/* ioloop_timeval is as old as the last poll; a token must not be used past its end because of that. */
	i_gettimeofday(&now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_usec;
}

static int64_t ioloop_mono_usecs(void *loop ATTR_UNUSED)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
		i_fatal("clock_gettime(CLOCK_MONOTONIC) failed: %m");
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void timer_fired(struct mauth_timer *timer)
{
	mauth_timer_fn *fn = timer->fn;
	void *context = timer->context;

	timeout_remove(&timer->to);
	free(timer);
	fn(context);
}

static struct mauth_timer *ioloop_timer_add(void *loop ATTR_UNUSED, unsigned int msecs, mauth_timer_fn *fn,
					    void *context)
{
	struct mauth_timer *timer = mauth_new(sizeof(*timer));

	timer->fn = fn;
	timer->context = context;
	timer->to = timeout_add(msecs, timer_fired, timer);
	return timer;
}

static void ioloop_timer_remove(void *loop ATTR_UNUSED, struct mauth_timer **timer)
{
	if (*timer == NULL)
		return;
	timeout_remove(&(*timer)->to);
	free(*timer);
	*timer = NULL;
}

static struct mauth_watch *ioloop_watch_add(void *loop ATTR_UNUSED, int fd, mauth_watch_fn *fn, void *context)
{
	struct mauth_watch *watch = mauth_new(sizeof(*watch));

	watch->fd = fd;
	watch->fn = fn;
	watch->context = context;
	return watch;
}

static void watch_readable(struct mauth_watch *watch)
{
	watch->fn(true, false, watch->context);
}

static void watch_writable(struct mauth_watch *watch)
{
	watch->fn(false, true, watch->context);
}

static void ioloop_watch_set(void *loop ATTR_UNUSED, struct mauth_watch *watch, bool read, bool write)
{
	if (!read)
		io_remove(&watch->in);
	else if (watch->in == NULL)
		watch->in = io_add(watch->fd, IO_READ, watch_readable, watch);
	if (!write)
		io_remove(&watch->out);
	else if (watch->out == NULL)
		watch->out = io_add(watch->fd, IO_WRITE, watch_writable, watch);
}

static void ioloop_watch_remove(void *loop ATTR_UNUSED, struct mauth_watch **watch)
{
	if (*watch == NULL)
		return;
	io_remove(&(*watch)->in);
	io_remove(&(*watch)->out);
	free(*watch);
	*watch = NULL;
}

const struct mauth_loop *mauth_ioloop(void)
{
	static const struct mauth_loop_vfuncs vfuncs = {
		.wall_usecs = ioloop_wall_usecs,
		.mono_usecs = ioloop_mono_usecs,
		.timer_add = ioloop_timer_add,
		.timer_remove = ioloop_timer_remove,
		.watch_add = ioloop_watch_add,
		.watch_set = ioloop_watch_set,
		.watch_remove = ioloop_watch_remove,
	};
	static const struct mauth_loop loop = { .v = &vfuncs };

	return &loop;
}
