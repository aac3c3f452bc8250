/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_INVENTORY_PRIVACY_H
#define MAUTH_INVENTORY_PRIVACY_H
/* The inventory under privacy { }: with users "pseudonym" it has the names, since an admin acts on it; with "hash" it has what the
 * records have, or it would be the list that undoes them. Addresses follow "ips". privacy NULL: everything is as it is. */

#include "core/inventory.h"
#include "core/privacy.h"

/* Who is in the inventory under the name of user; the name itself or, in scratch, its pseudonym. */
const char *mauth_inventory_user(const struct mauth_privacy *privacy, const char *user, char scratch[static MAUTH_PSEUDONYM_SIZE]);
/* mauth_inventory_note() and mauth_inventory_note_upstream() with what the inventory may have of it. */
void mauth_inventory_note_private(struct mauth_inventory *inventory, const struct mauth_privacy *privacy,
				  const struct mauth_attempt_record *record);
void mauth_inventory_note_upstream_private(struct mauth_inventory *inventory, const struct mauth_privacy *privacy, const char *tenant,
					   const char *user, const struct mauth_upstream_report *report);
/* Rows of before become what they may be; how many that were. */
size_t mauth_inventory_make_private(struct mauth_inventory *inventory, const struct mauth_privacy *privacy);

#endif
