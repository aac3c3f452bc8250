/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_EXPLAIN_H
#define MAUTH_EXPLAIN_H
/* What would become of a login, and why, without making an attempt: no request is sent, nothing is counted, remembered or put
 * on record. Asks the functions that a login goes through (request-private.h), so that both say the same. */

#include "core/broker.h"

struct mauth_explain_question {
	const char *user;                    /* as the client would send it */
	enum mauth_service service;
	const char *client_ip, *mechanism, *client_id;   /* NULL: unknown */
	bool tls;
	const char *tls_protocol;
	int64_t at;                          /* wall clock, seconds: what rules say then; 0: now */
	bool verbose;                        /* also why the rules before the one that decides do not match */
};

/* item is what it is about ("rule", "grant", ...), name which or what of it. Texts live during the call. */
typedef void mauth_explain_fn(const char *item, const char *name, const char *value, void *context);
/* fn must not call the broker. */
void mauth_broker_explain(struct mauth_broker *broker, const struct mauth_explain_question *question, mauth_explain_fn *fn,
			  void *context);

#endif
