/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HYBRID_ASK_H
#define MAUTH_HYBRID_ASK_H
/* Autodiscover V2: asks the tenant's Exchange Online, unauthenticated, where a mailbox is. Answers are kept; an old one is good
 * enough to be used while it is asked for again. */

#include "core/config.h"
#include "core/verifier.h"
#include "modernauth/http.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"

struct mauth_autodiscover;
struct mauth_autodiscover_waiter;

struct mauth_autodiscover_deps {
	const struct mauth_loop *loop;
	const struct mauth_http *http;
	const struct mauth_log *log;
	const struct mauth_config *config;
	const struct mauth_verifier_key *key;
};
struct mauth_autodiscover *mauth_autodiscover_new(const struct mauth_autodiscover_deps *deps);
/* Ends what is being asked; who waits hears nothing. */
void mauth_autodiscover_stop(struct mauth_autodiscover *autodiscover);
/* No waiter may be left. */
void mauth_autodiscover_free(struct mauth_autodiscover **autodiscover);

/* What has been answered about address (lower case), MAUTH_SIDE_UNKNOWN if that Exchange does not know it. false: nothing.
 * *is_old_r: it should be asked for again. */
bool mauth_autodiscover_known(const struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
			      const char *address, enum mauth_side *side_r, bool *is_old_r);
/* Asks in the background, if it may be asked now. */
void mauth_autodiscover_refresh(struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
				const char *address);
/* Asks, or joins who does. One callback within 3 s, not before this returns, none after cancel: false if there was no usable
 * answer. NULL: it cannot be asked now, since it has not answered lately, or too much is being asked. */
typedef void mauth_autodiscover_fn(bool known, enum mauth_side side, void *context);
struct mauth_autodiscover_waiter *mauth_autodiscover_ask(struct mauth_autodiscover *autodiscover,
							 const struct mauth_tenant *tenant, const char *address,
							 mauth_autodiscover_fn *done, void *context);
void mauth_autodiscover_cancel(struct mauth_autodiscover_waiter **waiter);
/* Exchange says something else: forgets what was answered, once in a minute. */
void mauth_autodiscover_doubt(struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
			      const char *address);
size_t mauth_autodiscover_count(const struct mauth_autodiscover *autodiscover);

/* Reads an answer; base is what was asked. false: it cannot be understood. */
bool mauth_autodiscover_read(const char *base, const struct mauth_http_reply *reply, enum mauth_side *side_r);

#endif
