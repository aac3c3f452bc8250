/* SPDX-License-Identifier: MIT */
#ifndef INVENTORY_WORLD_H
#define INVENTORY_WORLD_H
/* An inventory in a world of fakes: attempts in, rows out, and a store that outlives it. */

#include "core/inventory.h"
#include "core/mem.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "fake_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1795688400            /* 2026-11-26T10:20:00Z */
#define DAY 86400
#define MAX 100u
#define ALICE "alice@contoso.com"
#define THUNDERBIRD "\"name\" \"Thunderbird\" \"version\" \"115.1\""

struct inventory_world {
	struct fake_loop *loop;
	struct fake_sinks sinks;
	struct fake_store *store;
	struct mauth_verifier_key key;
	struct mauth_inventory *inventory;
	size_t seen;                     /* rows, and the last of them */
	struct mauth_inventory_row row;
	char tenant[64], user[MAUTH_USER_MAX + 1], client[MAUTH_INVENTORY_CLIENT_SIZE];
	unsigned int done, failed;
};

static inline void start(struct inventory_world *world)
{
	struct mauth_inventory_deps deps = {
		.loop = fake_loop_loop(world->loop), .log = &world->sinks.log, .process_key = &world->key,
		.max = MAX, .keep_secs = 400 * DAY,
	};

	world->inventory = mauth_inventory_new(&deps);
}

static inline void open_store(struct inventory_world *world)
{
	struct mauth_error error;

	assert_int_equal(mauth_inventory_open(world->inventory, fake_store_store(world->store), &error), MAUTH_OK);
}

static inline void begin(struct inventory_world *world)
{
	memset(world, 0, sizeof(*world));
	world->loop = fake_loop_new(NOW);
	fake_sinks_init(&world->sinks);
	world->store = fake_store_new(fake_loop_loop(world->loop));
	mauth_verifier_key_new(&world->key);
	start(world);
}

static inline void end(struct inventory_world *world)
{
	mauth_inventory_free(&world->inventory);
	fake_loop_run(world->loop, 0);
	fake_store_free(&world->store);
	fake_sinks_free(&world->sinks);
	fake_loop_free(&world->loop);
}

/* Another process takes the same store. crash: the old one wrote nothing at its end. */
static inline void restart(struct inventory_world *world, bool crash)
{
	if (!crash)
		mauth_inventory_close(world->inventory);
	mauth_inventory_free(&world->inventory);
	fake_loop_run(world->loop, 0);
	start(world);
	open_store(world);
}

static inline struct mauth_attempt_record attempt(const struct inventory_world *world)
{
	return (struct mauth_attempt_record){
		.started_usecs = mauth_wall_usecs(fake_loop_loop(world->loop)), .user = ALICE, .upn = ALICE,
		.tenant_name = "contoso", .service = MAUTH_SERVICE_IMAP, .mechanism = "PLAIN", .client_ip = "192.0.2.7",
		.tls = true, .client_id = THUNDERBIRD, .decision = "upgrade", .status = MAUTH_OK,
	};
}

static inline void note(struct inventory_world *world, enum mauth_status status)
{
	struct mauth_attempt_record record = attempt(world);

	record.status = status;
	record.decision = status == MAUTH_OK ? "upgrade" : "refuse";
	record.code = status == MAUTH_BAD_CREDENTIALS ? 50126 : 0;
	mauth_inventory_note(world->inventory, &record);
}

static inline void note_user(struct inventory_world *world, const char *user, enum mauth_status status)
{
	struct mauth_attempt_record record = attempt(world);

	record.upn = user;
	record.status = status;
	mauth_inventory_note(world->inventory, &record);
}

static inline void look(const char *tenant, const char *user, const struct mauth_inventory_row *row, void *context)
{
	struct inventory_world *world = context;

	world->seen++;
	world->row = *row;
	snprintf(world->tenant, sizeof(world->tenant), "%s", tenant);
	snprintf(world->user, sizeof(world->user), "%s", user);
	snprintf(world->client, sizeof(world->client), "%s", row->client == NULL ? "-" : row->client);
}

static inline struct mauth_inventory_counts ask(struct inventory_world *world, const struct mauth_inventory_filter *filter)
{
	static const struct mauth_inventory_filter any = { .tenant = NULL };
	struct mauth_inventory_counts counts;

	world->seen = 0;
	mauth_inventory_affected(world->inventory, filter == NULL ? &any : filter, look, world, &counts);
	return counts;
}

static inline void only(struct inventory_world *world)
{
	ask(world, NULL);
	assert_int_equal(world->seen, 1);
}

static inline bool has(struct inventory_world *world, const char *user)
{
	return ask(world, &(struct mauth_inventory_filter){ .user = user }).users == 1;
}

static inline void done(const struct mauth_error *error, void *context)
{
	struct inventory_world *world = context;

	world->done++;
	world->failed += error != NULL;
}

static inline size_t forget(struct inventory_world *world, const char *user, bool *waits_r)
{
	size_t rows;

	*waits_r = mauth_inventory_forget(world->inventory, NULL, user, done, world, &rows);
	assert_int_equal(world->done, 0);
	return rows;
}

#endif
