/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_EXPLAIN_PRIVATE_H
#define MAUTH_EXPLAIN_PRIVATE_H
/* What explain.c (whose login it is, and what the rules say) and explain-grant.c (who verifies, which way to a token) share. */

#include "core/explain.h"
#include "core/request-private.h"

struct explaining {
	struct mauth_login login;            /* in no list and without callbacks: only looked at */
	const struct mauth_explain_question *question;
	mauth_explain_fn *fn;
	void *context;
};

void explain_say(const struct explaining *e, const char *item, const char *name, const char *fmt, ...) MAUTH_PRINTF(4, 5);
/* The last line: what would happen to a login "with a device password". */
void explain_refused(const struct explaining *e, const char *name, const char *who, const struct mauth_error *error);

/* explain-grant.c: everything about an upgrade. login_take_grants() has been called. */
void explain_grants(struct explaining *e);

#endif
