/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ACCOUNT_CHECK_H
#define MAUTH_ACCOUNT_CHECK_H
/* Is the account that logs in enabled? Where the application opens the mailbox and a device password opens the door, nobody at
 * Microsoft is asked about the user: Microsoft Graph is, and its answer is good for one life of a token. */

#include "core/flight.h"

struct mauth_accounts;
struct mauth_account_waiter;

struct mauth_accounts_deps {
	const struct mauth_loop *loop;
	const struct mauth_http *http;
	const struct mauth_log *log;
	const struct mauth_config *config;
	const struct mauth_verifier_key *key;
	struct mauth_cache *cache;
	struct mauth_flights *flights;       /* get the token that Graph is asked with */
};

struct mauth_accounts *mauth_accounts_new(const struct mauth_accounts_deps *deps);
/* Asks no more, and remembers what it knows; waiters must have been cancelled. Before mauth_flights_stop(). */
void mauth_accounts_stop(struct mauth_accounts *accounts);
/* The same, and forgets and frees. */
void mauth_accounts_free(struct mauth_accounts **accounts);

/* true: it is known. MAUTH_OK in *status_r: enabled, and nobody need wait; otherwise MAUTH_DISABLED or MAUTH_USER_UNKNOWN, and
 * *error_r says so. */
bool mauth_account_known(struct mauth_accounts *accounts, const struct mauth_tenant *tenant, const char *upn,
			 enum mauth_status *status_r, struct mauth_error *error_r);
/* Asks in the background if what is known of upn gets old. */
void mauth_account_refresh(struct mauth_accounts *accounts, const struct mauth_tenant *tenant, const char *upn);
/* What was learnt of upn is asked anew. */
void mauth_account_forget(struct mauth_accounts *accounts, const struct mauth_tenant *tenant, const char *upn);

/* Asks; whoever asks about the same account meanwhile shares the request. One callback, not before this returns, none after
 * cancel. error is NULL if the account is enabled. Returns NULL with *error_r: nobody may be asked now. */
typedef void mauth_account_fn(const struct mauth_error *error, void *context);
struct mauth_account_waiter *mauth_account_ask(struct mauth_accounts *accounts, const struct mauth_tenant *tenant,
					       const char *upn, mauth_account_fn *done, void *context,
					       struct mauth_error *error_r);
void mauth_account_cancel(struct mauth_account_waiter **waiter);

/* An answer of Graph's, for a successor. */
struct mauth_account_fact {
	const char *upn;
	uint32_t tenant;                     /* mauth_tenant.key */
	enum mauth_status status;            /* MAUTH_OK, MAUTH_DISABLED or MAUTH_USER_UNKNOWN */
	int64_t good_until, refresh_at;      /* monotonic msecs */
};
/* The next one, oldest first; *at is NULL before the first. false: that was the last. Nothing may be asked in between. */
bool mauth_accounts_next(const struct mauth_accounts *accounts, const struct mauth_node **at,
			 struct mauth_account_fact *fact_r);
/* Takes it over from a predecessor, unless something newer is known. */
void mauth_accounts_adopt(struct mauth_accounts *accounts, const struct mauth_tenant *tenant,
			  const struct mauth_account_fact *fact);

#endif
