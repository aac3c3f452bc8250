/* SPDX-License-Identifier: MIT */
#include "poll_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct mauth_timer {
	struct mauth_timer *prev, *next;        /* by due time, equal ones in the order in which they were added */
	int64_t due_usecs;
	uint64_t serial;
	mauth_timer_fn *fn;
	void *context;
};

struct mauth_watch {
	struct mauth_watch *next;
	int fd;                                 /* -1: removed, freed once nobody walks the list */
	bool read, write;
	size_t slot;                            /* in the poll set of this turn; SLOT_NONE: not in it */
	mauth_watch_fn *fn;
	void *context;
};
#define SLOT_NONE ((size_t)-1)

struct poll_loop {
	struct mauth_loop loop;
	struct mauth_timer *first, *last;
	struct mauth_watch *watches;
	struct pollfd *set;
	size_t set_alloc, watches_count;
	unsigned int timers_count;
	uint64_t serial;
};

static void *must(void *data)
{
	if (data == NULL)
		abort();
	return data;
}

static int64_t clock_usecs(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		abort();
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t loop_wall_usecs(void *context)
{
	return clock_usecs(CLOCK_REALTIME);
}

static int64_t loop_mono_usecs(void *context)
{
	return clock_usecs(CLOCK_MONOTONIC);
}

static struct mauth_timer *loop_timer_add(void *context, unsigned int msecs, mauth_timer_fn *fn, void *fn_context)
{
	struct poll_loop *loop = context;
	struct mauth_timer *timer = must(calloc(1, sizeof(*timer)));
	struct mauth_timer *after = loop->last;

	timer->due_usecs = clock_usecs(CLOCK_MONOTONIC) + (int64_t)msecs * 1000;
	timer->serial = ++loop->serial;
	timer->fn = fn;
	timer->context = fn_context;
	while (after != NULL && after->due_usecs > timer->due_usecs)
		after = after->prev;
	timer->prev = after;
	timer->next = after == NULL ? loop->first : after->next;
	*(timer->prev == NULL ? &loop->first : &timer->prev->next) = timer;
	*(timer->next == NULL ? &loop->last : &timer->next->prev) = timer;
	loop->timers_count++;
	return timer;
}

static void loop_timer_remove(void *context, struct mauth_timer **timer_p)
{
	struct poll_loop *loop = context;
	struct mauth_timer *timer = *timer_p;

	*timer_p = NULL;
	*(timer->prev == NULL ? &loop->first : &timer->prev->next) = timer->next;
	*(timer->next == NULL ? &loop->last : &timer->next->prev) = timer->prev;
	loop->timers_count--;
	free(timer);
}

static struct mauth_watch *loop_watch_add(void *context, int fd, mauth_watch_fn *fn, void *fn_context)
{
	struct poll_loop *loop = context;
	struct mauth_watch *watch = must(calloc(1, sizeof(*watch)));

	watch->fd = fd;
	watch->slot = SLOT_NONE;
	watch->fn = fn;
	watch->context = fn_context;
	watch->next = loop->watches;
	loop->watches = watch;
	loop->watches_count++;
	return watch;
}

static void loop_watch_set(void *context, struct mauth_watch *watch, bool read, bool write)
{
	watch->read = read;
	watch->write = write;
}

static void loop_watch_remove(void *context, struct mauth_watch **watch)
{
	struct poll_loop *loop = context;

	(*watch)->fd = -1;
	loop->watches_count--;
	*watch = NULL;
}

static const struct mauth_loop_vfuncs loop_vfuncs = {
	.wall_usecs = loop_wall_usecs,
	.mono_usecs = loop_mono_usecs,
	.timer_add = loop_timer_add,
	.timer_remove = loop_timer_remove,
	.watch_add = loop_watch_add,
	.watch_set = loop_watch_set,
	.watch_remove = loop_watch_remove,
};

struct poll_loop *poll_loop_new(void)
{
	struct poll_loop *loop = must(calloc(1, sizeof(*loop)));

	loop->loop.v = &loop_vfuncs;
	loop->loop.context = loop;
	return loop;
}

static void free_removed(struct poll_loop *loop)
{
	struct mauth_watch **link = &loop->watches;

	while (*link != NULL) {
		struct mauth_watch *watch = *link;

		if (watch->fd >= 0) {
			link = &watch->next;
			continue;
		}
		*link = watch->next;
		free(watch);
	}
}

void poll_loop_free(struct poll_loop **loop_p)
{
	struct poll_loop *loop = *loop_p;

	if (loop == NULL)
		return;
	*loop_p = NULL;
	while (loop->first != NULL) {
		struct mauth_timer *timer = loop->first;

		loop_timer_remove(loop, &timer);
	}
	for (struct mauth_watch *watch = loop->watches; watch != NULL; watch = watch->next)
		watch->fd = -1;
	free_removed(loop);
	free(loop->set);
	free(loop);
}

const struct mauth_loop *poll_loop_loop(struct poll_loop *loop)
{
	return &loop->loop;
}

unsigned int poll_loop_timers(const struct poll_loop *loop)
{
	return loop->timers_count;
}

unsigned int poll_loop_watches(const struct poll_loop *loop)
{
	return (unsigned int)loop->watches_count;
}

/* Timers added by the callbacks of this turn wait for the next one: a timer that keeps adding itself with 0 must not
   keep descriptors waiting. */
static void run_timers(struct poll_loop *loop)
{
	uint64_t newest = loop->serial;
	int64_t now = clock_usecs(CLOCK_MONOTONIC);

	while (loop->first != NULL && loop->first->due_usecs <= now && loop->first->serial <= newest) {
		struct mauth_timer *timer = loop->first;
		mauth_timer_fn *fn = timer->fn;
		void *context = timer->context;

		loop_timer_remove(loop, &timer);
		fn(context);
	}
}

static size_t fill_set(struct poll_loop *loop)
{
	size_t used = 0;

	if (loop->set_alloc < loop->watches_count) {
		loop->set_alloc = loop->watches_count * 2;
		loop->set = must(realloc(loop->set, loop->set_alloc * sizeof(*loop->set)));
	}
	for (struct mauth_watch *watch = loop->watches; watch != NULL; watch = watch->next) {
		watch->slot = SLOT_NONE;
		if (!watch->read && !watch->write)
			continue;
		watch->slot = used;
		loop->set[used++] = (struct pollfd){
			.fd = watch->fd,
			.events = (short)((watch->read ? POLLIN : 0) | (watch->write ? POLLOUT : 0)),
		};
	}
	return used;
}

static void run_watches(struct poll_loop *loop)
{
	/* Watches that callbacks add stand before the first one: this walk does not meet them. */
	for (struct mauth_watch *watch = loop->watches; watch != NULL; watch = watch->next) {
		short got;
		bool readable, writable;

		if (watch->fd < 0 || watch->slot == SLOT_NONE)
			continue;
		got = loop->set[watch->slot].revents;
		readable = watch->read && (got & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0;
		writable = watch->write && (got & (POLLOUT | POLLHUP | POLLERR | POLLNVAL)) != 0;
		if (readable || writable)
			watch->fn(readable, writable, watch->context);
	}
}

static void turn(struct poll_loop *loop, int64_t end_usecs)
{
	int64_t until = end_usecs, wait;
	size_t used;
	int msecs;

	free_removed(loop);
	used = fill_set(loop);
	if (loop->first != NULL && loop->first->due_usecs < until)
		until = loop->first->due_usecs;
	wait = until - clock_usecs(CLOCK_MONOTONIC);
	msecs = wait <= 0 ? 0 : (int)((wait + 999) / 1000);
	if (poll(loop->set, used, msecs) < 0) {
		if (errno == EINTR)
			return;
		perror("poll_loop: poll()");
		abort();
	}
	run_watches(loop);
	run_timers(loop);
}

bool poll_loop_run_until(struct poll_loop *loop, const bool *done, unsigned int msecs)
{
	int64_t end = clock_usecs(CLOCK_MONOTONIC) + (int64_t)msecs * 1000;

	while (!*done && clock_usecs(CLOCK_MONOTONIC) < end)
		turn(loop, end);
	free_removed(loop);
	return *done;
}
