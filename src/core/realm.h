/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_REALM_H
#define MAUTH_REALM_H
/* Is a domain managed by Entra or federated? For a federated one without cloud password validation every password grant
 * fails with 50126, right or wrong (HDInsight troubleshooting, entra-docs), so the code then says nothing about the password. */

#include "core/entra.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"

struct mauth_realms;
struct mauth_realm_waiter;

struct mauth_realms *mauth_realms_new(const struct mauth_loop *loop, const struct mauth_http *http,
				      const struct mauth_log *log);
/* No waiter may be left. */
void mauth_realms_free(struct mauth_realms **realms);

/* What is known about the domain of upn: remembered for a day, "unknown" for a quarter of an hour. */
bool mauth_realm_known(const struct mauth_realms *realms, const struct mauth_tenant *tenant, const char *upn,
		       enum mauth_realm *realm_r);
/* Asks; whoever asks about the same domain meanwhile shares the request. One callback, not before this returns, none after
 * cancel. An answer that does not come in 5 s is MAUTH_REALM_UNKNOWN. */
typedef void mauth_realm_fn(enum mauth_realm realm, void *context);
struct mauth_realm_waiter *mauth_realm_ask(struct mauth_realms *realms, const struct mauth_tenant *tenant,
					   const char *upn, mauth_realm_fn *done, void *context);
void mauth_realm_cancel(struct mauth_realm_waiter **waiter);

#endif
