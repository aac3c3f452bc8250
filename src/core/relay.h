/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_RELAY_H
#define MAUTH_RELAY_H
/* MTAs that log in at Exchange Online themselves: which way their requests go, and what they tell of it afterwards. */

#include "core/broker.h"

enum mauth_relay_result { MAUTH_RELAY_ACCEPTED, MAUTH_RELAY_REFUSED, MAUTH_RELAY_DEFERRED };
/* "accepted", "refused", "deferred". */
const char *mauth_relay_result_name(enum mauth_relay_result result);

/* What became of a mail, or of one recipient of it. */
struct mauth_relay_outcome {
	const struct mauth_relay_client *client;
	const char *identity;                /* as in the attempt */
	const char *session, *token_id;      /* NULL: no token was given */
	enum mauth_relay_result result;
	bool token_refused;                  /* by the upstream: it takes this token no more */
	const char *dsn;                     /* "5.7.139" */
	const char *reply;                   /* the upstream's words, or the MTA's */
};
/* Puts a record in line for mauth_broker_record_reports(), says it in the log, and drops a refused token. The answer is what to do
 * about it, one line that lives for ever; NULL: nothing is known. */
const char *mauth_broker_relay_outcome(struct mauth_broker *broker, const struct mauth_relay_outcome *outcome);

/* May the mail be given up, now that there is no token? Only where a rule says so; whatever an admin, or time, can mend is none
 * of the mail's fault. */
bool mauth_relay_is_temporary(const struct mauth_error *error);

#endif
