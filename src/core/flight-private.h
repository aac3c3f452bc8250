/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FLIGHT_PRIVATE_H
#define MAUTH_FLIGHT_PRIVATE_H
/* What flight.c (who waits for what) and flight-ask.c (asking and understanding Entra) share. */

#include "core/assertion.h"
#include "core/breaker.h"
#include "core/flight.h"
#include "core/limiter.h"
#include "core/realm.h"

/* Attempts and flights of one account by one grant. */
struct group {
	struct mauth_node node;
	struct flight *flights;
	struct mauth_flight_waiter *parked;  /* wait for an allowance */
	unsigned int flying, holds;
	unsigned char salt[MAUTH_SALT_SIZE];
	char upn[];
};

struct mauth_flight_waiter {
	struct mauth_flight_waiter *next, **link;
	mauth_flight_fn *done;
	void *context;
};

struct flight {
	struct flight *next, **link;         /* of the group */
	struct flight *all_next, **all_link;
	struct mauth_flights *flights;
	struct group *group;
	const struct mauth_tenant *tenant;
	enum mauth_grant_type grant;
	struct mauth_secret *password, *form;
	struct flight_rotation *rotation;    /* being written */
	unsigned int generation;             /* of the enrolment that was asked with */
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	struct mauth_http_call *call;
	struct mauth_realm_waiter *realm;
	struct mauth_timer *retry;
	struct mauth_limiter_slot slot;
	struct mauth_flight_waiter *waiters;
	struct mauth_flight_result result;
	struct mauth_entra_reply reply;
	int64_t started_msecs, asked_wall;
	size_t credential, credentials_refused;      /* what was sent; how many were, in vain */
	enum mauth_assertion_alg alg;        /* of the assertion that was sent */
	bool retried;
};

/* A refresh token on its way to the disk. The write cannot be cancelled: it outlives its flight. */
struct flight_rotation {
	struct flight *flight;               /* NULL: gone meanwhile */
};

/* What is known of a tenant besides its configuration. */
struct tenant_state {
	struct mauth_breaker breaker;
	struct mauth_limiter limiter;
	size_t credential;                   /* the one in use */
	int refused_codes[MAUTH_CREDENTIALS_MAX];
	struct mauth_assertion assertions[MAUTH_CREDENTIALS_MAX];
	struct mauth_error config_error;     /* what Entra said of our app, good until: */
	int64_t config_until;                /* monotonic msecs */
};

struct mauth_flights {
	struct mauth_flight_deps deps;
	struct mauth_realms *realms;
	struct mauth_table groups;
	struct tenant_state *tenants;        /* by mauth_tenant.index */
	struct flight *all;
	struct mauth_flight_stats stats;
};

static inline int64_t flights_now_msecs(const struct mauth_flights *flights)
{
	return mauth_mono_msecs(flights->deps.loop);
}

static inline struct tenant_state *flight_tenant_state(const struct flight *flight)
{
	return &flight->flights->tenants[flight->tenant->index];
}

static inline uint32_t flight_key(const struct flight *flight)
{
	return flight->tenant->keys[flight->grant];
}

/* Sends the request, or lets it stand in line, or fails through the loop. Ends in flight_end(). */
void flight_ask(struct flight *flight);
/* Frees flight, tells its waiters result and lets those that stood in line look again. */
void flight_end(struct flight *flight, const struct mauth_flight_result *result);

/* flight-learn.c: what an answer teaches. Ends the flight, which is gone afterwards. */
void flight_finish(struct flight *flight, enum mauth_status status);
/* Entra has given a token: is it the right one? */
void flight_judge_token(struct flight *flight);
/* Was it the application that was refused, and is there something else to prove it with? Then the flight may ask again. */
bool flight_may_prove_otherwise(struct flight *flight, unsigned int http_status);
/* What the application proves itself with now. */
enum mauth_status flight_proof(struct mauth_flights *flights, const struct mauth_tenant *tenant,
			       struct mauth_entra_proof *proof_r, struct mauth_error *error_r);

#endif
