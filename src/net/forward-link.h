/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FORWARD_LINK_H
#define MAUTH_FORWARD_LINK_H
/* A connection to a log collector: to a socket of this machine, by UDP or TCP. Never blocks: names are resolved by the worker. */

#include "core/mem.h"
#include "modernauth/loop.h"
#include "modernauth/worker.h"
#include "net/forward.h"

enum mauth_link_result {
	MAUTH_LINK_SENT,
	MAUTH_LINK_LATER,                    /* ready() is called when it may go on */
	MAUTH_LINK_TOO_LONG,                 /* this one will never go through */
};
struct mauth_link;
struct mauth_link_callbacks {
	/* Data may be sent. A stream that was broken begins with a whole message. */
	void (*ready)(void *context);
	/* It is broken, or cannot be made; the next attempt is made later by itself. error lives during the call. */
	void (*down)(void *context, const struct mauth_error *error);
	void *context;
};

/* target's strings are copied. worker may be NULL: then host must be an address. Does nothing before mauth_link_want(). */
struct mauth_link *mauth_link_new(const struct mauth_forward_target *target, const struct mauth_loop *loop,
				  const struct mauth_worker *worker, const struct mauth_link_callbacks *callbacks);
void mauth_link_free(struct mauth_link **link);
/* Something is to be sent: connects, unless that is under way. */
void mauth_link_want(struct mauth_link *link);
bool mauth_link_is_up(const struct mauth_link *link);
bool mauth_link_is_stream(const struct mauth_link *link);
/* Sends a datagram, or as much as goes of a stream from *sent_r on, which it moves. */
enum mauth_link_result mauth_link_send(struct mauth_link *link, const char *data, size_t size, size_t *sent_r);

#endif
