/* SPDX-License-Identifier: MIT */
#include "broker/affected.h"

#include "core/exceptions.h"
#include "core/inventory-privacy.h"

#include <string.h>

struct passing {
	mauth_affected_row_fn *row;
	void *context;
};

static void pass_row(const char *tenant, const char *user, const struct mauth_inventory_row *row, void *context)
{
	struct passing *passing = context;
	char network[MAUTH_NETWORK_TEXT_SIZE] = "";

	if (row->network.bits > 0)
		mauth_network_format(&row->network, network);
	passing->row(&(struct mauth_affected){ .user = user, .client = row->client, .service = row->service,
					       .network = network[0] == '\0' ? NULL : network, .last_seen = row->last_seen },
		     passing->context);
}

/* Those who are denied must show: whether a row ever worked does not matter. */
bool mauth_affected_by_inventory(struct mauth_service_state *service, const struct mauth_exception_new *what,
				 mauth_affected_row_fn *row, void *context, struct mauth_affected_counts *counts_r)
{
	const struct mauth_inventory *inventory = mauth_broker_inventory(service->broker);
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
	/* A pattern matches no pseudonym, a name does. */
	const bool pattern = what->user != NULL && strpbrk(what->user, "*?") != NULL;
	const struct mauth_inventory_filter filter = {
		.user = pattern ? what->user : mauth_inventory_user(service->privacy, what->user, pseudonym), .services = what->services, .networks = what->network,
		.networks_count = what->network != NULL,
	};
	struct passing passing = { row, context };
	struct mauth_inventory_counts counts;

	if (inventory == NULL)
		return false;
	mauth_inventory_affected(inventory, &filter, pass_row, &passing, &counts);
	*counts_r = (struct mauth_affected_counts){ .users = counts.users, .clients = counts.clients };
	return true;
}
