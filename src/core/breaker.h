/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_BREAKER_H
#define MAUTH_BREAKER_H
/* Circuit breaker of one tenant: after several failures in a row, or when Entra says Retry-After, nobody asks for a
 * while; then one request tries, and its success opens the way for all. */

#include "modernauth/modernauth.h"

struct mauth_breaker {
	unsigned int failures;           /* in a row */
	unsigned int pause_secs;         /* the last pause, 0: closed since the last success */
	int64_t open_until;              /* monotonic msecs */
	bool probing;                    /* the one request of the half-open state is under way */
	bool asked_to_wait;              /* by Retry-After */
};

/* May a request be sent now? Taking the probe of the half-open state counts as asking. left_secs_r (may be NULL): how
 * long the pause still lasts. Every true must be followed by one success(), failure() or abandoned(). */
bool mauth_breaker_allow(struct mauth_breaker *breaker, int64_t mono_msecs, unsigned int *left_secs_r);
/* Would the next request not be sent? Asks without taking anything. left_secs_r as above. */
bool mauth_breaker_is_open(const struct mauth_breaker *breaker, int64_t mono_msecs, unsigned int *left_secs_r);
/* Does not end a pause that the server asked for: answers of earlier requests come late. */
void mauth_breaker_success(struct mauth_breaker *breaker, int64_t mono_msecs);
/* retry_after_secs: what the server asked for, 0: nothing. true: the breaker has opened with this failure. */
bool mauth_breaker_failure(struct mauth_breaker *breaker, int64_t mono_msecs, unsigned int retry_after_secs);
/* The request ended without telling anything about the server. */
void mauth_breaker_abandoned(struct mauth_breaker *breaker);

#endif
