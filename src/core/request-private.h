/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_REQUEST_PRIVATE_H
#define MAUTH_REQUEST_PRIVATE_H
/* What request.c (the way of an attempt) and finish.c (its end) share. */

#include "core/request.h"

/* Where an attempt is. */
enum step {
	STEP_ROUTE,      /* whose user is this? */
	STEP_CACHE,      /* a live token whose password was this one? */
	STEP_SHIELD,     /* known to be refused? */
	STEP_FETCH,      /* ask Entra, alone or together */
	STEP_WAIT,
	STEP_FINISH
};

struct mauth_login {
	struct mauth_login *next, **link;    /* in ready or waiting */
	struct mauth_broker *broker;
	enum step step;
	/* the attempt */
	char *user, *mechanism, *client_ip, *local_ip, *session, *client_id;
	struct mauth_secret *password;
	enum mauth_service service;
	unsigned int client_port, local_port, timeout_msecs;
	bool tls, verified_by_dovecot;
	mauth_login_fn *done;
	void *context;
	/* on the way */
	int64_t started_wall, started_mono;
	struct mauth_upn upn;
	struct mauth_timer *deadline;
	struct mauth_flight_waiter *waiter;
	bool joined, asked, recorded;
	/* the outcome */
	const char *decision, *rule, *source;
	struct mauth_error error;
	struct mauth_flight_result flight;   /* ids and codes; token is not used */
	struct mauth_secret *token;
	char token_id[MAUTH_TOKEN_ID_SIZE];
	int64_t expires_at;
};

/* Not the user's fault, nor anybody's who only waits. */
bool mauth_login_is_outage(enum mauth_status status);
void mauth_login_unlink(struct mauth_login *login);
void mauth_login_free(struct mauth_login *login);

/* Ends every login of broker->finishing: all are recorded in one write, and only then counted, told, answered and freed. */
void mauth_logins_finish(struct mauth_broker *broker);
/* Ends one whose client went away: recorded, counted, freed. */
void mauth_login_finish_gone(struct mauth_login *login);

#endif
