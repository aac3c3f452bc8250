/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_LIMITER_H
#define MAUTH_LIMITER_H
/* Keeps an endpoint that hangs from tying up the broker: each request to it costs TLS and a stream, in the one thread that
 * everybody's login waits for. While answers come nothing is limited. When many requests are open and none has been answered
 * for a while, further ones stand in line, until an answer comes or open ones end. */

#include "modernauth/loop.h"

/* So many are never too many. */
#define MAUTH_LIMITER_OPEN 64u
/* Nothing for so long, at least: with that many open requests, normal answers come every few milliseconds. Who stands in line
 * of an endpoint that is merely slow loses what its first answer takes beyond this, once. */
#define MAUTH_LIMITER_SILENT_MSECS 500u

typedef void mauth_limiter_fn(void *context);

/* Of one request. Zero-initialise. */
struct mauth_limiter_slot {
	struct mauth_limiter_slot *prev, *next;    /* in line */
	mauth_limiter_fn *go;
	void *context;
	bool waiting, open;              /* one of them, or neither */
};

struct mauth_limiter {
	const struct mauth_loop *loop;
	unsigned int open, waiting;
	bool answered;                   /* since the last tick */
	bool silent;
	struct mauth_timer *tick, *turn;
	struct mauth_limiter_slot *first, *last;
};

void mauth_limiter_init(struct mauth_limiter *limiter, const struct mauth_loop *loop);
/* true: the request may be sent now. false: slot stands in line, and go is called from the loop when it may. Either way it is
 * followed by one mauth_limiter_leave(). */
bool mauth_limiter_enter(struct mauth_limiter *limiter, struct mauth_limiter_slot *slot, mauth_limiter_fn *go,
			 void *context);
/* The request has ended, or need not be sent any more. answered: by the endpoint, whatever it said. Calls nobody back, and
 * does nothing to a slot that has left. Nothing is left to free when all have. */
void mauth_limiter_leave(struct mauth_limiter *limiter, struct mauth_limiter_slot *slot, bool answered);

#endif
