/* SPDX-License-Identifier: MIT */
#include "core/limiter.h"

#include <stddef.h>

/* When the endpoint is back, the line is sent off in portions: the loop must see its descriptors in between. */
#define GO_TOGETHER 16u

void mauth_limiter_init(struct mauth_limiter *limiter, const struct mauth_loop *loop)
{
	*limiter = (struct mauth_limiter){ .loop = loop };
}

static bool may_send(const struct mauth_limiter *limiter)
{
	return !limiter->silent || limiter->open < MAUTH_LIMITER_OPEN;
}

static void tick(void *context);

/* Silence is measured by timers, not by the clock: that nobody has listened for a while, in a long turn of the loop, is not
 * the endpoint's fault. */
static void listen(struct mauth_limiter *limiter)
{
	if (limiter->tick != NULL || limiter->silent || limiter->open < MAUTH_LIMITER_OPEN)
		return;
	limiter->answered = false;
	limiter->tick = mauth_timer_add(limiter->loop, MAUTH_LIMITER_SILENT_MSECS, tick, limiter);
}

static void tick(void *context)
{
	struct mauth_limiter *limiter = context;

	limiter->tick = NULL;
	limiter->silent = limiter->open >= MAUTH_LIMITER_OPEN && !limiter->answered;
	listen(limiter);
}

static void open_slot(struct mauth_limiter *limiter, struct mauth_limiter_slot *slot)
{
	slot->open = true;
	limiter->open++;
	listen(limiter);
}

static void leave_line(struct mauth_limiter *limiter, struct mauth_limiter_slot *slot)
{
	*(slot->prev != NULL ? &slot->prev->next : &limiter->first) = slot->next;
	*(slot->next != NULL ? &slot->next->prev : &limiter->last) = slot->prev;
	slot->prev = slot->next = NULL;
	slot->waiting = false;
	limiter->waiting--;
}

static void turn(void *context);

static void see_to_line(struct mauth_limiter *limiter)
{
	if (limiter->first == NULL || !may_send(limiter))
		mauth_timer_remove(limiter->loop, &limiter->turn);
	else if (limiter->turn == NULL)
		limiter->turn = mauth_timer_add(limiter->loop, 0, turn, limiter);
}

static void turn(void *context)
{
	struct mauth_limiter *limiter = context;

	limiter->turn = NULL;
	for (unsigned int i = 0; i < GO_TOGETHER && limiter->first != NULL && may_send(limiter); i++) {
		struct mauth_limiter_slot *slot = limiter->first;

		leave_line(limiter, slot);
		open_slot(limiter, slot);
		/* It may be gone afterwards, and so may others. */
		slot->go(slot->context);
	}
	see_to_line(limiter);
}

bool mauth_limiter_enter(struct mauth_limiter *limiter, struct mauth_limiter_slot *slot, mauth_limiter_fn *go,
			 void *context)
{
	/* Nobody overtakes those who stand in line already. */
	if (limiter->first == NULL && may_send(limiter)) {
		open_slot(limiter, slot);
		return true;
	}
	slot->go = go;
	slot->context = context;
	slot->waiting = true;
	slot->prev = limiter->last;
	*(limiter->last != NULL ? &limiter->last->next : &limiter->first) = slot;
	limiter->last = slot;
	limiter->waiting++;
	return false;
}

void mauth_limiter_leave(struct mauth_limiter *limiter, struct mauth_limiter_slot *slot, bool answered)
{
	if (slot->waiting)
		leave_line(limiter, slot);
	else if (!slot->open)
		return;
	else
		limiter->open--;
	slot->open = false;
	if (answered)
		limiter->answered = true;
	/* With nothing open there is nothing to judge by. */
	if (answered || limiter->open == 0)
		limiter->silent = false;
	if (limiter->open == 0)
		mauth_timer_remove(limiter->loop, &limiter->tick);
	listen(limiter);
	see_to_line(limiter);
}
