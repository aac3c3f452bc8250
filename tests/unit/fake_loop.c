/* SPDX-License-Identifier: MIT */
#include "fake_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

struct mauth_timer {
	struct mauth_timer *next;
	int64_t due;
	unsigned int seq;
	mauth_timer_fn *fn;
	void *context;
};

struct fake_loop {
	struct mauth_loop loop;
	int64_t wall, mono;
	unsigned int seq;
	struct mauth_timer *timers;
};

static int64_t fake_wall(void *context)
{
	return ((struct fake_loop *)context)->wall;
}

static int64_t fake_mono(void *context)
{
	return ((struct fake_loop *)context)->mono;
}

static struct mauth_timer *fake_timer_add(void *context, unsigned int msecs, mauth_timer_fn *fn, void *fn_context)
{
	struct fake_loop *loop = context;
	struct mauth_timer *timer = calloc(1, sizeof(*timer));

	*timer = (struct mauth_timer){ loop->timers, loop->mono + (int64_t)msecs * 1000, loop->seq++, fn, fn_context };
	loop->timers = timer;
	return timer;
}

static void unlink_timer(struct fake_loop *loop, struct mauth_timer *timer)
{
	struct mauth_timer **p;

	for (p = &loop->timers; *p != NULL && *p != timer; p = &(*p)->next)
		;
	assert_non_null(*p);
	*p = timer->next;
}

static void fake_timer_remove(void *context, struct mauth_timer **timer)
{
	unlink_timer(context, *timer);
	free(*timer);
	*timer = NULL;
}

static const struct mauth_loop_vfuncs fake_vfuncs = {
	.wall_usecs = fake_wall,
	.mono_usecs = fake_mono,
	.timer_add = fake_timer_add,
	.timer_remove = fake_timer_remove,
};

struct fake_loop *fake_loop_new(int64_t wall_secs)
{
	struct fake_loop *loop = calloc(1, sizeof(*loop));

	loop->loop = (struct mauth_loop){ &fake_vfuncs, loop };
	loop->wall = wall_secs * 1000000;
	loop->mono = 1000000;
	return loop;
}

const struct mauth_loop *fake_loop_loop(struct fake_loop *loop)
{
	return &loop->loop;
}

static struct mauth_timer *earliest(struct fake_loop *loop)
{
	struct mauth_timer *best = loop->timers;

	for (struct mauth_timer *t = loop->timers; t != NULL; t = t->next) {
		if (t->due < best->due || (t->due == best->due && t->seq < best->seq))
			best = t;
	}
	return best;
}

void fake_loop_run(struct fake_loop *loop, unsigned int msecs)
{
	int64_t end = loop->mono + (int64_t)msecs * 1000;
	struct mauth_timer *timer;

	while ((timer = earliest(loop)) != NULL && timer->due <= end) {
		struct mauth_timer fired = *timer;

		if (fired.due > loop->mono) {
			loop->wall += fired.due - loop->mono;
			loop->mono = fired.due;
		}
		unlink_timer(loop, timer);
		free(timer);
		fired.fn(fired.context);
	}
	loop->wall += end - loop->mono;
	loop->mono = end;
}

void fake_loop_jump(struct fake_loop *loop, int64_t secs)
{
	loop->wall += secs * 1000000;
}

void fake_loop_lag(struct fake_loop *loop, unsigned int msecs)
{
	loop->wall += (int64_t)msecs * 1000;
	loop->mono += (int64_t)msecs * 1000;
}

unsigned int fake_loop_timers(const struct fake_loop *loop)
{
	unsigned int count = 0;

	for (const struct mauth_timer *t = loop->timers; t != NULL; t = t->next)
		count++;
	return count;
}

void fake_loop_free(struct fake_loop **loop)
{
	assert_null((*loop)->timers);
	free(*loop);
	*loop = NULL;
}
