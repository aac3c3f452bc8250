/* SPDX-License-Identifier: MIT */
/* The inventory in the broker: what is on record is counted, and a store with nothing else in it counts as empty. */
#include "core/inventory.h"
#include "core/mem.h"
#include "vault_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void begin(struct vault_world *world)
{
	vault_world_begin(world);
	world->w.config->inventory = true;
	world->w.config->inventory_max = 100;
	world->w.config->inventory_keep_secs = 400 * 86400;
	vault_world_open(world);
}

static void look(const char *tenant, const char *user, const struct mauth_inventory_row *row, void *context)
{
	*(struct mauth_inventory_row *)context = *row;
	assert_string_equal(tenant, CONTOSO);
	assert_string_equal(user, ALICE);
}

static struct mauth_inventory_row only(struct vault_world *world)
{
	static const struct mauth_inventory_filter any = { .tenant = NULL };
	struct mauth_inventory_counts counts;
	struct mauth_inventory_row row;

	mauth_inventory_affected(mauth_broker_inventory(world->w.broker), &any, look, &row, &counts);
	assert_int_equal(counts.users, 1);
	return row;
}

static void every_outcome_is_counted_once(void **state)
{
	struct mauth_upstream_report report = {
		.user = "Alice@Contoso.com", .service = MAUTH_SERVICE_IMAP, .result = MAUTH_UPSTREAM_REFUSED,
		.client_ip = "192.0.2.7", .tls_protocol = "TLSv1.2",
	};
	struct mauth_inventory_row row;
	struct vault_world world;
	struct outcome outcome;

	begin(&world);
	world_refuse(&world.w, ALICE, "wr0ng", 50126);
	world_fetch(&world.w, ALICE, GOOD, 3600);
	world_login(&world.w, "ALICE@contoso.com", GOOD);
	memset(&outcome, 0, sizeof(outcome));
	world_start(&world.w, ALICE, "an0ther", &outcome);
	mauth_login_cancel(&outcome.login);
	world_login(&world.w, "bob@elsewhere.example", GOOD);
	mauth_broker_upstream(world.w.broker, &report);
	row = only(&world);
	assert_int_equal(row.outcomes[MAUTH_INVENTORY_OK], 2);
	assert_int_equal(row.outcomes[MAUTH_INVENTORY_REFUSED], 1);
	assert_int_equal(row.outcomes[MAUTH_INVENTORY_OTHER] + row.outcomes[MAUTH_INVENTORY_FAILED], 0);
	assert_int_equal(row.actions[MAUTH_INVENTORY_UPGRADE], 2);
	assert_int_equal(row.error_code, 50126);
	assert_int_equal(row.exchange_refused, 1);
	assert_string_equal(row.tls_version, "1.2");
	vault_world_end(&world);
}

static void what_could_not_be_recorded_has_failed(void **state)
{
	struct mauth_inventory_row row;
	struct vault_world world;

	begin(&world);
	world_fetch(&world.w, ALICE, GOOD, 3600);
	world.w.sinks.audit_broken = true;
	world_expect(&world.w, ALICE, GOOD, MAUTH_AUDIT);
	row = only(&world);
	assert_int_equal(row.outcomes[MAUTH_INVENTORY_OK], 1);
	assert_int_equal(row.outcomes[MAUTH_INVENTORY_FAILED], 1);
	assert_int_equal(row.last_status, MAUTH_AUDIT);
	vault_world_end(&world);
}

static void it_survives_the_process(void **state)
{
	struct vault_world world;

	begin(&world);
	world_fetch(&world.w, ALICE, GOOD, 3600);
	vault_world_restart(&world);
	assert_int_equal(only(&world).outcomes[MAUTH_INVENTORY_OK], 1);
	/* Rows are not sealed: a new key changes nothing. */
	assert_int_equal(fake_store_count(world.store, MAUTH_INVENTORY_KIND), 1);
	vault_world_end(&world);
}

static void a_store_of_nothing_else_needs_no_key(void **state)
{
	struct vault_world world;

	vault_world_begin(&world);
	fake_store_put(world.store, MAUTH_INVENTORY_DAY_KIND, "2023-11-14", "1 imap 3");
	world.w.config->inventory = true;
	world.w.config->inventory_max = 100;
	world.w.config->inventory_keep_secs = 400 * 86400;
	vault_world_open(&world);
	assert_int_equal(world.key_writes, 1);
	assert_int_equal(fake_store_count(world.store, MAUTH_META_KIND), 1);
	vault_world_end(&world);
}

static void keep_line(const char *line, void *context)
{
	struct mauth_buf *lines = context;

	mauth_buf_puts(lines, line);
	mauth_buf_putc(lines, '\n');
}

static void imported(const struct mauth_error *error, void *context)
{
	assert_null(error);
	++*(unsigned int *)context;
}

static void it_is_exported_and_is_no_obstacle_to_an_import(void **state)
{
	struct mauth_import *import = mauth_import_new();
	struct mauth_buf lines = { 0 };
	unsigned int calls = 0;
	struct mauth_error error;
	struct vault_world world;
	char *line, *rest;
	size_t rows;

	begin(&world);
	world_fetch(&world.w, ALICE, GOOD, 3600);
	vault_world_restart(&world);
	if (mauth_vault_export(world.vault, keep_line, &lines, &rows, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	/* The device key, the row, the day. */
	assert_int_equal(rows, 3);
	assert_null(strstr(lines.data, ALICE));
	for (rest = lines.data; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
		if (mauth_import_line(import, world.vault, line, &error) != MAUTH_OK)
			fail_msg("%s", error.text);
	}
	if (mauth_import_finish(import, world.vault, false, imported, &calls, &rows, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	mauth_inventory_discard(mauth_broker_inventory(world.w.broker));
	world_turn(&world.w);
	assert_int_equal(calls, 1);
	vault_world_restart(&world);
	assert_int_equal(only(&world).outcomes[MAUTH_INVENTORY_OK], 1);
	mauth_import_free(&import);
	mauth_buf_free(&lines);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_outcome_is_counted_once),
		cmocka_unit_test(what_could_not_be_recorded_has_failed),
		cmocka_unit_test(it_survives_the_process),
		cmocka_unit_test(a_store_of_nothing_else_needs_no_key),
		cmocka_unit_test(it_is_exported_and_is_no_obstacle_to_an_import),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
