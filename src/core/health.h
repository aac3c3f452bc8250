/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HEALTH_H
#define MAUTH_HEALTH_H
/* How the broker itself is doing, as events (modernauth/log.h lists them). */

#include "core/request.h"

/* Records could, or could not, be written. what: "attempts" or "reports". */
void mauth_health_audit(struct mauth_broker *broker, const char *what, enum mauth_status status);
/* Once in a while: a heartbeat of each tenant when it is due. */
void mauth_health_tend(struct mauth_broker *broker);

#endif
