/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_PASSDB_HOLD_H
#define MAUTH_PASSDB_HOLD_H
/* The broker's answers that a login process has no room for yet. */

#include "modernauth/client.h"

struct auth_request;
struct mauth_passdb_holds;

/* answer gets what was held, and the context that came with it. loop must outlive the holds. */
struct mauth_passdb_holds *mauth_passdb_holds_new(const struct mauth_loop *loop, mauth_client_login_fn *answer);
/* Answers everything, then frees. */
void mauth_passdb_holds_free(struct mauth_passdb_holds **holds);

/* Must request's answer wait until its client has read others? Then reply is copied, and answered when the client has read them or
 * is gone. false: answer it now. */
bool mauth_passdb_hold(struct mauth_passdb_holds *holds, const struct auth_request *request,
		       const struct mauth_client_reply *reply, void *context);

#endif
