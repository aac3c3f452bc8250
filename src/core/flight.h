/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FLIGHT_H
#define MAUTH_FLIGHT_H
/* Token requests under way. Attempts with the same user and password share one (single flight); different passwords never
 * do, and only so many different ones of a user are under way at once that their refusal cannot lock the account. Whatever a
 * flight learns goes to cache, shield and breaker, whether or not anybody still waits for it. */

#include "core/cache.h"
#include "core/entra.h"
#include "core/shield.h"
#include "modernauth/log.h"

struct mauth_flights;
struct mauth_flight_waiter;

struct mauth_flight_deps {
	const struct mauth_loop *loop;
	const struct mauth_http *http;
	const struct mauth_log *log;
	const struct mauth_config *config;
	const struct mauth_verifier_key *key;
	struct mauth_cache *cache;
	struct mauth_shield *shield;
};

/* How a flight ended. Lives only during the callback. */
struct mauth_flight_result {
	enum mauth_status status;
	struct mauth_error error;            /* text and advice unless MAUTH_OK */
	const struct mauth_secret *token;
	char token_id[MAUTH_TOKEN_ID_SIZE];
	int64_t expires_at;                  /* wall clock, seconds */
	bool locked_now;                     /* with this refusal the shield has locked the user */
	int code;
	unsigned int http_status;
	char suberror[64], correlation_id[64], trace_id[64], policy_id[64];
};
/* result NULL: nothing was asked for this waiter; another flight of the same user has ended: look at cache and shield again. */
typedef void mauth_flight_fn(const struct mauth_flight_result *result, void *context);

struct mauth_flights *mauth_flights_new(const struct mauth_flight_deps *deps);
/* Drops all flights; waiters must have been cancelled. */
void mauth_flights_stop(struct mauth_flights *flights);
/* The same, and frees. */
void mauth_flights_free(struct mauth_flights **flights);

/* Waits for the token of upn and this password: joins a flight, begins one, or lines up behind those of other passwords.
 * NULL with *error_r: none may begin now (breaker, too many). One callback, never before this returns, none after cancel.
 * joined_r: true if another attempt began it. */
struct mauth_flight_waiter *mauth_flight_join(struct mauth_flights *flights, const struct mauth_tenant *tenant,
					      const char *upn, const struct mauth_secret *password,
					      mauth_flight_fn *done, void *context, bool *joined_r,
					      struct mauth_error *error_r);
void mauth_flight_cancel(struct mauth_flight_waiter **waiter);
/* Fetches in the background, if nothing speaks against it. */
void mauth_flight_refresh(struct mauth_flights *flights, const struct mauth_tenant *tenant, const char *upn,
			  const struct mauth_secret *password);

struct mauth_flight_stats {
	uint64_t requests, succeeded, refused, failed, retried, joined;
	uint64_t flying;
};
void mauth_flights_stats(const struct mauth_flights *flights, struct mauth_flight_stats *stats_r);
/* The threshold of bad passwords that applies to tenant. */
unsigned int mauth_lockout_threshold(const struct mauth_config *config, const struct mauth_tenant *tenant);

#endif
