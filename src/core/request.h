/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_REQUEST_H
#define MAUTH_REQUEST_H
/* One login attempt on its way through the broker, and the broker's insides that it needs. */

#include "core/account-check.h"
#include "core/broker.h"
#include "core/hybrid.h"
#include "core/mailbox.h"
#include "core/mem.h"
#include "core/notices.h"
#include "core/policy.h"

struct mauth_broker {
	struct mauth_host host;
	struct mauth_config *config;
	struct mauth_verifier_key key;
	struct mauth_cache *cache;
	struct mauth_shield *shield;
	struct mauth_flights *flights;
	struct mauth_accounts *accounts;
	struct mauth_vault *vault;           /* NULL: not open (yet); then: */
	struct mauth_error vault_error;      /* why not */
	struct mauth_enrolments *enrolments; /* the vault's */
	struct mauth_enrols *enrols;
	struct mauth_inventory *inventory;   /* NULL: the configuration wants none */
	struct mauth_hybrid *hybrid;
	struct mauth_notices *notices;
	struct mauth_notice_source exception_notices;
	struct mauth_notice_usage usage;
	struct mauth_timer *tend;
	int64_t credentials_day;             /* on which ends of credentials were looked at */
	struct mauth_login *ready;           /* to be advanced in the next turn of the loop, oldest first */
	struct mauth_login **ready_tail;
	struct mauth_login *finishing;       /* decided in this turn, to be recorded together and then answered */
	struct mauth_login **finishing_tail;
	struct mauth_buf records;
	struct mauth_buf reported;           /* records of reports that have not been written yet */
	struct mauth_login *waiting;         /* for a flight, or for the end of a pause */
	struct mauth_timer *turn;
	bool paused;
	bool audit_failing;                  /* the last records could not be written */
	int64_t heartbeat_at;                /* monotonic secs: when the next one is due */
	struct mauth_broker_stats stats;
};

/* broker.c, session-end.c: reports of login processes. */

/* What Exchange says when there is no such mailbox there (any more), among other things. */
#define MAUTH_NOT_CONNECTED "authenticated but not connected"
struct mauth_upstream_record;
/* Whose session record->report is about: *where_r, and the record's fields. false: no tenant of ours serves him (any more),
 * where_r->tenant is NULL. */
bool mauth_upstream_record_fill(const struct mauth_broker *broker, struct mauth_upstream_record *record,
				struct mauth_mailbox *where_r);

/* What an enrolment has noted about this login, unless the configuration or the user himself says something else. */
void mauth_follow_link(const struct mauth_broker *broker, struct mauth_mailbox *where);
/* What the upstream's words usually mean, and what to do; NULL: nothing is known. For people: nothing is decided by text. */
const char *mauth_upstream_advice(const char *reply);
/* The same where the words say nothing. */
const char *mauth_upstream_advice_for(enum mauth_service service);
/* An MTA says what the upstream made of this token of where (token_id NULL: of none). */
void mauth_broker_relay_learn(struct mauth_broker *broker, const struct mauth_mailbox *where, const char *token_id,
			      enum mauth_upstream_result result);
/* tend.c: from now on, what has to be done without anybody asking. */
void mauth_broker_tend(struct mauth_broker *broker);
/* Runs every ready login as far as it goes. */
void mauth_logins_turn(struct mauth_broker *broker);
/* Makes all waiting logins without a flight ready again. */
void mauth_logins_wake(struct mauth_broker *broker);
/* The vault goes: those that wait for something of it begin anew. */
void mauth_logins_leave_vault(struct mauth_broker *broker);

#endif
