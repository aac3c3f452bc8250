/* SPDX-License-Identifier: MIT */
#include "core/inventory-private.h"

#include <stdlib.h>
#include <string.h>

static bool in_networks(const struct mauth_inventory_filter *filter, const struct mauth_inventory_row *row)
{
	for (size_t i = 0; row->network.bits > 0 && i < filter->networks_count; i++) {
		if (mauth_networks_overlap(&filter->networks[i], &row->network))
			return true;
	}
	return false;
}

bool mauth_inventory_matches(const struct mauth_inventory_filter *filter, const char *tenant, const char *user,
			     const struct mauth_inventory_row *row)
{
	if (filter->tenant != NULL && strcmp(filter->tenant, tenant) != 0)
		return false;
	if (filter->user != NULL && !mauth_glob_match(filter->user, user))
		return false;
	if (filter->services != 0 && (filter->services & 1u << row->service) == 0)
		return false;
	if (row->last_seen < filter->since || (filter->works && !mauth_inventory_row_works(row)))
		return false;
	return filter->networks_count == 0 || in_networks(filter, row);
}

/* One client may have several rows: of several protocols, with TLS and without. */
static bool same_client(const struct mauth_inventory_row *a, const struct mauth_inventory_row *b)
{
	if (a->network.bits != b->network.bits ||
	    memcmp(a->network.address, b->network.address, sizeof(a->network.address)) != 0)
		return false;
	return a->client == NULL || b->client == NULL ? a->client == b->client : strcmp(a->client, b->client) == 0;
}

static bool is_first(const struct inventory_user *user, const struct mauth_inventory_filter *filter,
		     const struct mauth_inventory_row *row)
{
	for (const struct mauth_inventory_row *other = user->rows; other != row; other = other->next) {
		if (same_client(other, row) && mauth_inventory_matches(filter, user->tenant, user->user, other))
			return false;
	}
	return true;
}

static void count_row(struct mauth_inventory_counts *counts, const struct inventory_user *user,
		      const struct mauth_inventory_filter *filter, const struct mauth_inventory_row *row)
{
	counts->clients += is_first(user, filter, row);
	for (size_t i = 0; i < MAUTH_INVENTORY_OUTCOMES; i++)
		counts->logins += row->outcomes[i];
}

/* Are there any? counts may be NULL. */
static bool visit(const struct inventory_user *user, const struct mauth_inventory_filter *filter, mauth_inventory_fn *fn,
		  void *context, struct mauth_inventory_counts *counts)
{
	bool any = false;

	for (const struct mauth_inventory_row *row = user->rows; row != NULL; row = row->next) {
		if (!mauth_inventory_matches(filter, user->tenant, user->user, row))
			continue;
		any = true;
		if (counts != NULL)
			count_row(counts, user, filter, row);
		if (fn != NULL)
			fn(user->tenant, user->user, row, context);
	}
	return any;
}

void mauth_inventory_affected(const struct mauth_inventory *inventory, const struct mauth_inventory_filter *filter,
			      mauth_inventory_fn *fn, void *context, struct mauth_inventory_counts *counts_r)
{
	memset(counts_r, 0, sizeof(*counts_r));
	for (struct mauth_node *node = inventory->users.oldest; node != NULL; node = node->newer)
		counts_r->users += visit(inventory_user_of(node), filter, fn, context, counts_r);
}

struct mauth_inventory_cursor *mauth_inventory_cursor_new(struct mauth_inventory *inventory)
{
	struct mauth_inventory_cursor *cursor = mauth_new(sizeof(*cursor));

	cursor->inventory = inventory;
	cursor->at = inventory_user_of(inventory->users.oldest);
	cursor->next = inventory->cursors;
	cursor->link = &inventory->cursors;
	if (cursor->next != NULL)
		cursor->next->link = &cursor->next;
	inventory->cursors = cursor;
	return cursor;
}

void mauth_inventory_cursor_free(struct mauth_inventory_cursor **cursor)
{
	struct mauth_inventory_cursor *c = *cursor;

	if (c == NULL)
		return;
	if (c->inventory != NULL) {
		*c->link = c->next;
		if (c->next != NULL)
			c->next->link = c->link;
	}
	free(c);
	*cursor = NULL;
}

bool mauth_inventory_cursor_next(struct mauth_inventory_cursor *cursor, const struct mauth_inventory_filter *filter,
				 mauth_inventory_fn *fn, void *context)
{
	const struct inventory_user *user = cursor->at;

	if (user == NULL)
		return false;
	cursor->at = inventory_user_of(user->node.newer);
	(void)visit(user, filter, fn, context, NULL);
	return true;
}
