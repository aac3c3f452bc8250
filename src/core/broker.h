/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_BROKER_H
#define MAUTH_BROKER_H
/* The broker without its sockets: attempts in, grants or refusals out, every one of them on record first. */

#include "core/cache.h"
#include "core/config.h"
#include "core/enrol.h"
#include "core/flight.h"
#include "core/mailbox.h"
#include "core/shield.h"
#include "modernauth/audit.h"
#include "modernauth/files.h"
#include "modernauth/worker.h"
#include "modernauth/run.h"

struct mauth_broker;
struct mauth_inventory;
struct mauth_hybrid;
struct mauth_map_news;
struct mauth_privacy;
struct mauth_login;

/* What the host lends. Everything outlives the broker. */
struct mauth_host {
	const struct mauth_loop *loop;
	const struct mauth_http *http;
	const struct mauth_log *log;
	const struct mauth_audit_sink *audit;
	const struct mauth_worker *worker;   /* for files that change; NULL: there is none, as for the next */
	const struct mauth_files *files;
	const struct mauth_run *run;         /* for notices; NULL: nothing is run */
	const struct mauth_map_news *map_news;       /* who is told of mailbox maps that are in force; NULL: nobody */
	const struct mauth_privacy *privacy; /* what the inventory may have; audit and log are behind it; NULL: everything */
};

/* Takes a reference to config. key: a predecessor's, or NULL for a fresh one. */
struct mauth_broker *mauth_broker_new(const struct mauth_host *host, struct mauth_config *config,
				      const struct mauth_verifier_key *key);
/* No login may be open, nor a callback be running. */
void mauth_broker_free(struct mauth_broker **broker);

/* grant is set if error is NULL. One callback, never before mauth_login_start() has returned, none after cancel. The record
 * of the attempt is in the audit, and on disk if the sink can say so, before the callback runs. */
typedef void mauth_login_fn(const struct mauth_grant *grant, const struct mauth_error *error, void *context);
struct mauth_login *mauth_login_start(struct mauth_broker *broker, const struct mauth_attempt *attempt,
				      mauth_login_fn *done, void *context);
/* Runs what was started, and what has been answered since, now instead of in the next turn of the loop: for a host that has
 * read all there was to read and has nothing on its stack that callbacks must not see. */
void mauth_broker_turn(struct mauth_broker *broker);
/* The front end went away. The attempt is recorded as cancelled; a flight it began goes on and fills the cache. Does nothing
 * to a login whose callback is running. */
void mauth_login_cancel(struct mauth_login **login);
/* Forgets it without a record: a successor will answer and record it. */
void mauth_login_abandon(struct mauth_login **login);

/* Do the grants of tenant (NULL: of any), or those of a rule, have this one? */
bool mauth_config_has_grant(const struct mauth_config *config, const struct mauth_tenant *tenant,
			    enum mauth_grant_type grant);
/* Does a tenant of ours serve this user? */
bool mauth_broker_serves(const struct mauth_broker *broker, const char *user);

/* What the upstream said: drops a refused token, and puts a record of it in line for mauth_broker_record_reports(). */
void mauth_broker_upstream(struct mauth_broker *broker, const struct mauth_upstream_report *report);
/* A session that was accepted has ended; the same for its record. */
void mauth_broker_session_ended(struct mauth_broker *broker, const struct mauth_upstream_report *about,
				const struct mauth_session_end *end);
/* The upstream accepted the token, and then said (about->reply) that there is no mailbox: where it is is looked up again. The
 * same for the record. */
void mauth_broker_unconnected(struct mauth_broker *broker, const struct mauth_upstream_report *about);
/* Writes the records of all reports since the last call, in one append. MAUTH_OK once they are in the audit; if not, none of
 * them is, and they are forgotten: whoever reported may do so again. */
enum mauth_status mauth_broker_record_reports(struct mauth_broker *broker, struct mauth_error *error_r);

/* true: calls done, once and later, when all records so far are on disk, or not. false: nobody has to wait for that
 * (audit { durability = "os" }). It outlives whoever asks. */
bool mauth_broker_commit(const struct mauth_broker *broker, mauth_audit_commit_fn *done, void *context);

/* While paused, cached tokens are given, but nothing that would have to ask Entra is begun: it waits, each attempt within
 * its deadline, until resumed. A successor is paused until its predecessor has finished. */
void mauth_broker_pause(struct mauth_broker *broker, bool paused);

/* Drops the token requests under way and begins no more: cache and shield change no longer. */
void mauth_broker_stop(struct mauth_broker *broker);

/* Token requests under way: a predecessor waits a little for them before it hands over. */
unsigned int mauth_broker_flying(const struct mauth_broker *broker);

/* The store is open (vault, which outlives its use here), or not: error then says why. Whatever waits for it goes on. Before a
 * vault is closed: with NULL. */
void mauth_broker_set_vault(struct mauth_broker *broker, struct mauth_vault *vault, const struct mauth_error *error);
struct mauth_vault *mauth_broker_vault(struct mauth_broker *broker);
/* NULL: the configuration wants none. */
struct mauth_inventory *mauth_broker_inventory(const struct mauth_broker *broker);
struct mauth_enrols *mauth_broker_enrols(struct mauth_broker *broker);
struct mauth_notices *mauth_broker_notices(struct mauth_broker *broker);
/* Why there is no vault. */
const struct mauth_error *mauth_broker_vault_error(const struct mauth_broker *broker);

/* Whose tokens a login uses, as the configuration and the store say now. */
enum mauth_status mauth_broker_resolve(const struct mauth_broker *broker, const char *user, struct mauth_mailbox *where_r,
				       struct mauth_error *error_r);
/* Drops the cached tokens of the accounts behind where, and what is remembered against them. */
void mauth_broker_forget(struct mauth_broker *broker, const struct mauth_mailbox *where, unsigned int *tokens_r,
			 unsigned int *refusals_r);

struct mauth_broker_stats {
	uint64_t logins, granted_cached, granted_fetched, granted_joined, verified, refused, failed, not_ours;
	uint64_t monitored, denied, basic, local;    /* by rule */
	uint64_t from_memory;                /* refused without asking Entra */
	uint64_t passed;                     /* with the client's own token */
	uint64_t upstream_accepted, upstream_refused, upstream_failed;
	uint64_t sessions_ended, unconnected;        /* of those that were accepted */
	uint64_t open;
	/* of MTAs: not counted above */
	uint64_t relay_requests, relay_cached, relay_fetched, relay_wrong_keys, relay_refused, relay_failed;
	uint64_t relay_tokens_refused;       /* by the upstream */
	uint64_t relay_accepted, relay_rejected, relay_deferred;   /* mails, or recipients of them */
};
void mauth_broker_stats(const struct mauth_broker *broker, struct mauth_broker_stats *stats_r);
struct mauth_cache *mauth_broker_cache(struct mauth_broker *broker);
struct mauth_shield *mauth_broker_shield(struct mauth_broker *broker);
struct mauth_accounts *mauth_broker_accounts(struct mauth_broker *broker);
const struct mauth_flights *mauth_broker_flights(const struct mauth_broker *broker);
struct mauth_hybrid *mauth_broker_hybrid(struct mauth_broker *broker);
/* For who asks for tokens without a login: the diagnosis. */
struct mauth_flights *mauth_broker_lend_flights(struct mauth_broker *broker);
const struct mauth_verifier_key *mauth_broker_key(const struct mauth_broker *broker);
const struct mauth_config *mauth_broker_config(const struct mauth_broker *broker);

#endif
