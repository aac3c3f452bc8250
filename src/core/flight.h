/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FLIGHT_H
#define MAUTH_FLIGHT_H
/* Token requests under way. Attempts that want the same token share one (single flight): of the password grant those with
 * the same user and password, and only so many different passwords of a user are under way at once that their refusal cannot
 * lock the account; of an enrolment those of the account; of the application all of its tenant. Whatever a flight learns goes
 * to cache, shield, breaker and enrolments, whether or not anybody still waits for it. */

#include "core/cache.h"
#include "core/entra.h"
#include "core/enrolments.h"
#include "core/realm.h"
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
	struct mauth_enrolments **enrolments;        /* *enrolments is NULL while there is no store */
};

/* The account by whose name the application's token for Microsoft Graph goes; no UPN looks like this. */
#define MAUTH_FLIGHT_GRAPH "#graph"

/* The token that is wanted. */
struct mauth_flight_want {
	const struct mauth_tenant *tenant;
	enum mauth_grant_type grant;
	const char *account;                         /* the UPN; of the application "" for Exchange, MAUTH_FLIGHT_GRAPH */
	const struct mauth_secret *password;         /* of the password grant; otherwise NULL */
};

/* What the audit keeps of an answer; zeros and "": it has said none. */
struct mauth_flight_ids {
	int code;                            /* AADSTS */
	unsigned int http_status;
	char suberror[64], correlation_id[64], trace_id[64], policy_id[64];
};

/* How a flight ended. Lives only during the callback. */
struct mauth_flight_result {
	enum mauth_status status;
	struct mauth_error error;            /* text and advice unless MAUTH_OK */
	const struct mauth_secret *token;
	char token_id[MAUTH_TOKEN_ID_SIZE];
	int64_t expires_at;                  /* wall clock, seconds */
	struct mauth_flight_ids ids;
};
/* result NULL: nothing was asked for this waiter; another flight of the same user has ended: look at cache and shield again. */
typedef void mauth_flight_fn(const struct mauth_flight_result *result, void *context);

struct mauth_flights *mauth_flights_new(const struct mauth_flight_deps *deps);
/* Drops all flights; waiters must have been cancelled. */
void mauth_flights_stop(struct mauth_flights *flights);
/* The same, and frees. */
void mauth_flights_free(struct mauth_flights **flights);

/* Waits for the token: joins a flight, begins one, or lines up behind those of other passwords. NULL with *error_r: none may
 * begin now (breaker, too many, a refusal that is remembered). One callback, never before this returns, none after cancel.
 * joined_r: true if another attempt began it. */
struct mauth_flight_waiter *mauth_flight_join(struct mauth_flights *flights, const struct mauth_flight_want *want,
					      mauth_flight_fn *done, void *context, bool *joined_r,
					      struct mauth_error *error_r);
void mauth_flight_cancel(struct mauth_flight_waiter **waiter);
/* Could a token be asked for now? Anything but MAUTH_OK is what mauth_flight_join() would fail with. */
enum mauth_status mauth_flights_may_begin(const struct mauth_flights *flights, const struct mauth_flight_want *want,
					  struct mauth_error *error_r);
/* Fetches in the background, if nothing speaks against it. */
void mauth_flight_refresh(struct mauth_flights *flights, const struct mauth_flight_want *want);
/* What is known about the domain of upn; false: nothing. */
bool mauth_flights_realm(const struct mauth_flights *flights, const struct mauth_tenant *tenant, const char *upn,
			 enum mauth_realm *realm_r);
/* Is it known that the domain of upn is federated, so that the password grant is of no use? */
bool mauth_flights_federated(const struct mauth_flights *flights, const struct mauth_tenant *tenant, const char *upn);
/* Finds that out, as mauth_realm_ask() does. NULL: it is known already, or not to be asked (user_realm). */
struct mauth_realm_waiter *mauth_flights_ask_realm(struct mauth_flights *flights, const struct mauth_tenant *tenant,
						   const char *upn, mauth_realm_fn *done, void *context);

/* Are no requests sent for tenant at the moment, because they failed or Entra asked for it? */
bool mauth_flights_paused(const struct mauth_flights *flights, const struct mauth_tenant *tenant);

/* How one of the tenant's credentials does. */
struct mauth_credential_state {
	bool in_use;
	int refused_code;                    /* AADSTS of the last refusal since it was last accepted; 0: none */
};
void mauth_flights_credential(const struct mauth_flights *flights, const struct mauth_tenant *tenant, size_t credential,
			      struct mauth_credential_state *state_r);
/* For others who ask Entra in the tenant's name (core/enrol.c). What the application proves itself with now: the secrets are
 * the tenant's and live until the next call. */
enum mauth_status mauth_flights_proof(struct mauth_flights *flights, const struct mauth_tenant *tenant,
				      struct mauth_entra_proof *proof_r, size_t *credential_r,
				      struct mauth_error *error_r);
/* Entra has refused this credential as the application's (HTTP 401): the next one is used from now on. false: *tried, 0
 * at first, says that there is none left to try. */
bool mauth_flights_proof_refused(struct mauth_flights *flights, const struct mauth_tenant *tenant, size_t credential,
				 const struct mauth_error *error, size_t *tried);

struct mauth_flight_stats {
	uint64_t requests, succeeded, refused, failed, retried, joined;
	uint64_t flying;
};
void mauth_flights_stats(const struct mauth_flights *flights, struct mauth_flight_stats *stats_r);
/* The threshold of bad passwords that applies to tenant. */
unsigned int mauth_lockout_threshold(const struct mauth_config *config, const struct mauth_tenant *tenant);

#endif
