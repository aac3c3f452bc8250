/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HANDOVER_H
#define MAUTH_HANDOVER_H
/* What a leaving broker gives to its successor, over the socket whose name ends in "-handover": the configuration in force, the
 * verifier key, cached tokens, what Graph said of accounts, and remembered refusals. Nothing of it ever touches a disk. */

#include "broker/session.h"

/* Begins to send; waits up to a second for token requests that are under way. settings.left() is called at the end,
 * whatever comes of it, never before this returns. */
void mauth_handover_send(struct mauth_service_state *service);
void mauth_handover_abort(struct mauth_service_state *service);

/* TAKE: one piece, as the successor receives it. */
bool mauth_handover_verb(struct mauth_session *session, const struct mauth_wire_line *line);
void mauth_handover_forget(struct mauth_service_state *service);

#endif
