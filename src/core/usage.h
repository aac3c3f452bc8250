/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_USAGE_H
#define MAUTH_USAGE_H
/* Who of the inventory would meet a rule or an exception now. */

#include "core/exceptions.h"
#include "core/inventory.h"
#include "core/notices.h"

/* The attempt that the row is a summary of, as rules look at it, at that time. ip has room for an address; both live on. */
#define MAUTH_USAGE_IP_SIZE 64u
void mauth_usage_question(const char *user, const struct mauth_inventory_row *row, int64_t now,
			  char ip_r[static MAUTH_USAGE_IP_SIZE], struct mauth_policy_question *question_r);

/* Who has logged in over service in the last MAUTH_NOTICE_USERS_DAYS days; zero without an inventory. */
void mauth_usage_of_service(const struct mauth_broker *broker, enum mauth_service service, const char *tenant,
			    struct mauth_inventory_counts *counts_r);

/* Lets notices know: exceptions end, too, and who is affected. Once per broker. */
void mauth_usage_tell_notices(struct mauth_broker *broker);

#endif
