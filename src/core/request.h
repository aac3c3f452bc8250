/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_REQUEST_H
#define MAUTH_REQUEST_H
/* One login attempt on its way through the broker, and the broker's insides that it needs. */

#include "core/broker.h"
#include "core/mem.h"
#include "core/upn.h"

struct mauth_broker {
	struct mauth_host host;
	struct mauth_config *config;
	struct mauth_verifier_key key;
	struct mauth_cache *cache;
	struct mauth_shield *shield;
	struct mauth_flights *flights;
	struct mauth_login *ready;           /* to be advanced in the next turn of the loop, oldest first */
	struct mauth_login **ready_tail;
	struct mauth_login *finishing;       /* decided in this turn, to be recorded together and then answered */
	struct mauth_login **finishing_tail;
	struct mauth_buf records;
	struct mauth_login *waiting;         /* for a flight, or for the end of a pause */
	struct mauth_timer *turn;
	bool paused;
	struct mauth_broker_stats stats;
};

/* Runs every ready login as far as it goes. */
void mauth_logins_turn(struct mauth_broker *broker);
/* Makes all waiting logins without a flight ready again. */
void mauth_logins_wake(struct mauth_broker *broker);

#endif
