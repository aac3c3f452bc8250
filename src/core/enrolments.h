/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ENROLMENTS_H
#define MAUTH_ENROLMENTS_H
/* Enrolled accounts: who has signed in once, interactively, so that we hold a refresh token. The picture of all of them is
 * in memory; the refresh tokens are in the store only, sealed, and read one by one. Two rows of the store each, written
 * together: "enrolment" (JSON, for people too) and "refresh-token" (sealed); the name is "tenant/account". */

#include "core/config.h"
#include "core/seal.h"
#include "core/table.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/store.h"

#define MAUTH_ENROLMENT_KIND "enrolment"
#define MAUTH_REFRESH_TOKEN_KIND "refresh-token"
/* A refresh token dies when it was not used for so long (entra-docs refresh-tokens.md). */
#define MAUTH_ENROLMENT_LIFE_SECS (INT64_C(90) * 86400)

struct mauth_enrolment {
	struct mauth_node node;              /* private */
	struct mauth_enrolments *owner;
	char *tenant, *account;
	char oid[64];                        /* object id of who signed in; "" if Entra did not say */
	char app[33];                        /* names the application and directory it was made with, see mauth_enrolment_app() */
	int code;                            /* dead: AADSTS; 0: it lives */
	char reason[160];                    /* dead: why */
	int64_t enrolled_at, refreshed_at;   /* wall clock, seconds */
	int64_t dead_since;
	/* of this process only */
	unsigned int generation;             /* counts new enrolments of the account */
	struct mauth_secret *unsaved;        /* a newer refresh token than the store's, which did not take it */
	struct mauth_error *refusal;         /* what Entra said last, when it was no */
	int64_t refusal_until;               /* monotonic msecs: so long it is not asked again */
	int64_t keep_alive_retry;            /* monotonic msecs: not before */
};

struct mauth_enrolments_deps {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_store *store;
	struct mauth_keyring *const *keyring;        /* *keyring may be replaced at any time */
	const struct mauth_verifier_key *process_key;
	const struct mauth_config *config;
};
struct mauth_enrolments *mauth_enrolments_new(const struct mauth_enrolments_deps *deps);
/* Writes under way go on, and their callbacks come. */
void mauth_enrolments_free(struct mauth_enrolments **enrolments);
/* Reads one row of kind "enrolment", at start. MAUTH_CONFIG: it cannot be read; the text names it. */
enum mauth_status mauth_enrolments_load(struct mauth_enrolments *enrolments, const struct mauth_store_row *row,
					struct mauth_error *error_r);

/* Another process has written this row, or deleted it (value NULL). */
enum mauth_status mauth_enrolments_follow(struct mauth_enrolments *enrolments, const struct mauth_store_row *row,
					  struct mauth_error *error_r);
/* Are the rows another process's, so that refresh tokens are used here, but not renewed? */
bool mauth_enrolments_follows(const struct mauth_enrolments *enrolments);

/* NULL: none. */
const struct mauth_enrolment *mauth_enrolments_find(const struct mauth_enrolments *enrolments, const char *tenant,
						    const char *account);
/* In no particular order: the one after enrolment (NULL: the first); NULL at the end. */
const struct mauth_enrolment *mauth_enrolments_next(const struct mauth_enrolments *enrolments,
						    const struct mauth_enrolment *enrolment);
size_t mauth_enrolments_count(const struct mauth_enrolments *enrolments);
/* Seconds since the epoch at which Entra forgets it unless it is used. */
int64_t mauth_enrolment_expires_at(const struct mauth_enrolment *enrolment);

/* Can a token be had with it? MAUTH_OK, or MAUTH_INTERACTION with why not (none, dead, of another application). */
enum mauth_status mauth_enrolments_usable(const struct mauth_enrolments *enrolments, const struct mauth_tenant *tenant,
					  const char *account, struct mauth_error *error_r);
/* Entra has just said no and is not asked again for a minute: true with what it said (error_r may be NULL). */
bool mauth_enrolments_refused(const struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			      struct mauth_error *error_r);
/* The refresh token; the caller frees. generation_r goes with everything that is said about it later. */
enum mauth_status mauth_enrolments_token(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
					 struct mauth_secret **token_r, unsigned int *generation_r,
					 struct mauth_error *error_r);
/* Do these claims name who signed in? Claims that are "" say nothing; both "" is true. */
bool mauth_enrolments_is_owner(const struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			       const char *upn, const char *oid);

/* Is a write of this account's rows under way? */
bool mauth_enrolments_writing(const struct mauth_enrolments *enrolments, const char *tenant, const char *account);

/* error: NULL when it is on disk. Never before the call has returned; not cancellable. */
typedef void mauth_enrolments_fn(const struct mauth_error *error, void *context);

/* Somebody has signed in: a new enrolment, or again. It is used, and replaces an older one, once it is on disk. */
struct mauth_enrolment_new {
	const struct mauth_tenant *tenant;
	const char *account, *oid;
	const struct mauth_secret *refresh_token;
	/* written together with it */
	const struct mauth_store_row *rows;
	size_t rows_count;
};
void mauth_enrolments_put(struct mauth_enrolments *enrolments, const struct mauth_enrolment_new *what,
			  mauth_enrolments_fn *done, void *context);
/* The refresh grant gave token (NULL: the old one stays good). The old one stays in the store until this one is there. */
void mauth_enrolments_rotated(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			      unsigned int generation, const struct mauth_secret *token, mauth_enrolments_fn *done,
			      void *context);
/* The refresh grant was refused. Codes that mean the end (50173, 700082, 70008, 70000, 70043) mark it dead; others only pause
 * it, since what they name may be mended; nothing deletes it. */
void mauth_enrolments_refusal(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			      unsigned int generation, const struct mauth_error *error, int code);
/* MAUTH_USER_UNKNOWN if there is none. It is gone at once; done when the store has forgotten it, too. */
enum mauth_status mauth_enrolments_remove(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
					  mauth_enrolments_fn *done, void *context, struct mauth_error *error_r);

/* Idle ones that are due to be refreshed now, at most max: fn begins the refresh. Spread over the second half of keep_alive by
 * the account's name, so that those who enrolled together do not come together. Ends and warnings: once a day one line and
 * one event per enrolment that ends within expiry_warning. */
void mauth_enrolments_tend(struct mauth_enrolments *enrolments, unsigned int max,
			   void (*fn)(const struct mauth_enrolment *enrolment, void *context), void *context);
/* Wall clock, seconds: when tend() will want to refresh it. */
int64_t mauth_enrolment_due_at(const struct mauth_enrolment *enrolment);

/* The name of application and directory: authority, tenant_id and client_id. */
void mauth_enrolment_app(const struct mauth_tenant *tenant, char app_r[static 33]);
/* "tenant/account" for the rows; the caller frees. */
char *mauth_store_name(const char *tenant, const char *account);

#endif
