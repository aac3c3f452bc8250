/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ENROL_H
#define MAUTH_ENROL_H
/* Enrolment by device code (RFC 8628): somebody is shown a code, enters it on Microsoft's page and signs in there; we ask until
 * that has happened, check that it was the right one, and keep the refresh token. An admin begins it with doveadm, or a user
 * with his first login (self-service). Codes that are waited for survive a restart. */

#include "core/flight.h"
#include "core/vault.h"
#include "modernauth/audit.h"

#define MAUTH_ENROLS_MAX 10000u

struct mauth_enrols_deps {
	const struct mauth_loop *loop;
	const struct mauth_http *http;
	const struct mauth_log *log;
	const struct mauth_audit_sink *audit;
	const struct mauth_config *config;
	struct mauth_flights *flights;       /* lends what the application proves itself with */
	struct mauth_vault **vault;          /* *vault is NULL while there is none */
};
struct mauth_enrols;
struct mauth_enrols *mauth_enrols_new(const struct mauth_enrols_deps *deps);
void mauth_enrols_free(struct mauth_enrols **enrols);
/* Takes up what a predecessor has begun. Call it when *vault has been opened, and mauth_enrols_stop() before it goes. */
void mauth_enrols_load(struct mauth_enrols *enrols);
/* Stops asking: codes wait in the store for whoever opens it next. Listeners are told FAILED. */
void mauth_enrols_stop(struct mauth_enrols *enrols);

/* Who shall be enrolled. Strings are copied. */
struct mauth_enrol_want {
	const struct mauth_tenant *tenant;
	const char *login;                   /* as mauth_upn.name has it */
	const char *account;                 /* who has to sign in */
	const char *mailbox;                 /* what the login opens */
	const char *device;                  /* name of the first device password */
	/* self-service, otherwise NULL: */
	const char *ip;                      /* where the login came from */
	const struct mauth_secret *password; /* what was typed there */
};

enum mauth_enrol_event { MAUTH_ENROL_CODE, MAUTH_ENROL_PENDING, MAUTH_ENROL_DONE, MAUTH_ENROL_FAILED };
struct mauth_enrol_news {
	enum mauth_enrol_event event;
	const char *user_code, *uri;         /* CODE and PENDING */
	int64_t expires_at, interval;        /* wall clock, seconds; seconds */
	unsigned int polls;
	const char *account, *mailbox;
	const char *device_id;               /* DONE; NULL: none was made */
	const struct mauth_secret *device_password;  /* DONE, to the first listener only */
	const struct mauth_error *error;     /* FAILED */
};
/* Never before mauth_enrol_start() has returned, none after mauth_enrol_unlisten(). After DONE and FAILED the listener is gone. */
typedef void mauth_enrol_fn(const struct mauth_enrol_news *news, void *context);
struct mauth_enrol_listener;
/* Begins, or listens to what has begun for this login (and address) already. NULL with *error_r: no store, too many,
 * one with another account or mailbox has begun, another password typed at the same address is waiting for its code. */
struct mauth_enrol_listener *mauth_enrol_start(struct mauth_enrols *enrols, const struct mauth_enrol_want *want,
					       mauth_enrol_fn *fn, void *context, struct mauth_error *error_r);
/* It goes on without. */
void mauth_enrol_unlisten(struct mauth_enrol_listener **listener);
/* Drops what waits for this login. */
void mauth_enrol_forget(struct mauth_enrols *enrols, const struct mauth_tenant *tenant, const char *login);

/* What is under way, for lists: fn for each. */
void mauth_enrols_each(const struct mauth_enrols *enrols,
		       void (*fn)(const char *tenant, const char *login, const struct mauth_enrol_news *news, void *context),
		       void *context);
size_t mauth_enrols_count(const struct mauth_enrols *enrols);

/* The name of a device password that is good for one login, which makes another one (self_service_password = "generated"). */
#define MAUTH_ENROL_ONE_TIME "self-service, first login"

#endif
