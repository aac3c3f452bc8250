/* SPDX-License-Identifier: MIT */
#include "core/inventory-privacy.h"

#include "core/inventory-private.h"
#include "core/privacy-private.h"

#include <stdlib.h>
#include <string.h>

static bool is_hashed(const struct mauth_privacy *privacy)
{
	return privacy != NULL && mauth_privacy_users(privacy) == MAUTH_USERS_HASH;
}

const char *mauth_inventory_user(const struct mauth_privacy *privacy, const char *user, char scratch[static MAUTH_PSEUDONYM_SIZE])
{
	if (user == NULL || !is_hashed(privacy) || mauth_is_pseudonym(user, strlen(user)))
		return user;
	mauth_privacy_pseudonym(privacy, user, scratch);
	return scratch;
}

static const char *address_of(const struct mauth_privacy *privacy, const char *ip, char scratch[static PRIVACY_ADDRESS_SIZE])
{
	bool prefix = privacy != NULL && privacy->config->privacy_ips && ip != NULL &&
		      mauth_privacy_prefix(ip, scratch, PRIVACY_ADDRESS_SIZE);

	return prefix ? scratch : ip;
}

/* What a client calls itself, without who uses it. */
static void put_client(const struct mauth_privacy *privacy, const char *user, const char *pseudonym, const char *client,
		       struct mauth_buf *out)
{
	struct privacy_scrub scrub = { .privacy = privacy, .inside = true };
	size_t local = strcspn(user, "@");

	privacy_scrub_add(&scrub, user, strlen(user), pseudonym);
	if (local >= 3)
		privacy_scrub_add(&scrub, user, local, pseudonym);
	privacy_scrub_text(&scrub, client, strlen(client), out);
}

void mauth_inventory_note_private(struct mauth_inventory *inventory, const struct mauth_privacy *privacy,
				  const struct mauth_attempt_record *record)
{
	char pseudonym[MAUTH_PSEUDONYM_SIZE], address[PRIVACY_ADDRESS_SIZE];
	struct mauth_attempt_record told = *record;
	struct mauth_buf client = { 0 };

	told.client_ip = address_of(privacy, record->client_ip, address);
	if (is_hashed(privacy) && record->upn != NULL) {
		told.upn = mauth_inventory_user(privacy, record->upn, pseudonym);
		if (record->client_id != NULL) {
			put_client(privacy, record->upn, told.upn, record->client_id, &client);
			told.client_id = client.data;
		}
	}
	mauth_inventory_note(inventory, &told);
	mauth_buf_free(&client);
}

void mauth_inventory_note_upstream_private(struct mauth_inventory *inventory, const struct mauth_privacy *privacy, const char *tenant,
					   const char *user, const struct mauth_upstream_report *report)
{
	char pseudonym[MAUTH_PSEUDONYM_SIZE], address[PRIVACY_ADDRESS_SIZE];
	struct mauth_upstream_report told = *report;

	told.client_ip = address_of(privacy, report->client_ip, address);
	mauth_inventory_note_upstream(inventory, tenant, mauth_inventory_user(privacy, user, pseudonym), &told);
}

/* -- rows of before ----------------------------------------------------------------------------------------- */

static bool mask_address(struct mauth_inventory_row *row)
{
	static const unsigned char mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	size_t keep = memcmp(row->address, mapped, sizeof(mapped)) == 0 ? 15 : 6;
	bool changed = false;

	for (size_t i = keep; row->network.bits > 0 && i < sizeof(row->address); i++) {
		changed = changed || row->address[i] != 0;
		row->address[i] = 0;
	}
	/* The inventory's own networks are /64 of IPv6. */
	if (row->network.bits > 48 && keep == 6) {
		memset(row->network.address + 6, 0, sizeof(row->network.address) - 6);
	}
	return changed;
}

static void move_row(struct mauth_inventory *inventory, const struct mauth_privacy *privacy, const struct inventory_user *from,
		     struct inventory_entry *entry, const char *pseudonym)
{
	struct inventory_user *to = inventory_user_get(inventory, from->tenant, pseudonym);
	struct mauth_inventory_row row = entry->pub;
	struct mauth_buf client = { 0 };
	struct inventory_entry *like;

	if (row.client != NULL)
		put_client(privacy, from->user, pseudonym, row.client, &client);
	row.next = NULL;
	row.client = client.data;
	like = to == NULL ? NULL : inventory_entry_like(to, &row);
	if (to != NULL && like == NULL) {
		row.client = mauth_strdup(client.data);
		like = inventory_entry_new(inventory, to, &row);
		mauth_random(&like->id, sizeof(like->id));
		inventory_entry_touch(inventory, like);
		inventory_mark(inventory, like);
	}
	mauth_buf_free(&client);
	inventory_entry_drop(inventory, entry, true);
}

size_t mauth_inventory_make_private(struct mauth_inventory *inventory, const struct mauth_privacy *privacy)
{
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
	struct mauth_node *node, *newer;
	size_t moved = 0;

	if (privacy == NULL)
		return 0;
	/* Who is added meanwhile is a pseudonym already. */
	for (node = inventory->users.oldest; node != NULL; node = newer) {
		struct inventory_user *user = inventory_user_of(node);
		const char *name = mauth_inventory_user(privacy, user->user, pseudonym);

		newer = node->newer;
		for (struct mauth_inventory_row *row = user->rows; privacy->config->privacy_ips && row != NULL; row = row->next) {
			if (mask_address(row))
				inventory_mark(inventory, inventory_entry_of(row));
		}
		if (name == user->user)
			continue;
		/* With the last one the user goes. */
		for (unsigned int left = user->count; left > 0; left--, moved++)
			move_row(inventory, privacy, user, inventory_entry_of(user->rows), name);
	}
	if (moved > 0)
		inventory_sort(inventory);
	return moved;
}
