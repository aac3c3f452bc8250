/* SPDX-License-Identifier: MIT */
/* The inventory on disk: what survives, what is left alone, and what is forgotten. */
#include "inventory_world.h"

/* -- the store ---------------------------------------------------------------------------------------------- */

static void everything_survives_a_restart(void **state)
{
	struct mauth_upstream_report report = {
		.service = MAUTH_SERVICE_IMAP, .result = MAUTH_UPSTREAM_REFUSED, .client_ip = "192.0.2.7", .tls_protocol = "TLSv1.2",
	};
	const struct mauth_inventory_day *days;
	struct mauth_inventory_row before;
	struct inventory_world world;
	size_t count;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_BAD_CREDENTIALS);
	fake_loop_run(world.loop, 1000);
	note(&world, MAUTH_OK);
	mauth_inventory_note_upstream(world.inventory, "contoso", ALICE, &report);
	only(&world);
	before = world.row;
	restart(&world, false);
	only(&world);
	assert_string_equal(world.client, "Thunderbird 115.1");
	before.client = world.row.client;
	before.next = world.row.next;
	assert_memory_equal(&world.row, &before, sizeof(before));
	days = mauth_inventory_days(world.inventory, &count);
	assert_int_equal(count, 1);
	assert_int_equal(days[0].day, NOW / DAY);
	assert_int_equal(days[0].counts[MAUTH_SERVICE_IMAP][MAUTH_INVENTORY_OK], 1);
	assert_int_equal(days[0].counts[MAUTH_SERVICE_IMAP][MAUTH_INVENTORY_REFUSED], 1);
	end(&world);
}

static void a_crash_costs_a_minute(void **state)
{
	struct inventory_world world;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_OK);
	fake_loop_run(world.loop, 61000);
	note(&world, MAUTH_OK);
	restart(&world, true);
	only(&world);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 1);
	end(&world);
}

static void what_was_seen_before_the_store_was_open_is_added(void **state)
{
	struct inventory_world world;
	const struct mauth_inventory_day *days;
	size_t count;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_OK);
	mauth_inventory_close(world.inventory);
	assert_int_equal(mauth_inventory_count(world.inventory), 0);
	fake_loop_run(world.loop, 1000);
	note(&world, MAUTH_OK);
	note(&world, MAUTH_TIMEOUT);
	note_user(&world, "bob@contoso.com", MAUTH_OK);
	open_store(&world);
	restart(&world, false);
	assert_int_equal(mauth_inventory_count(world.inventory), 2);
	ask(&world, &(struct mauth_inventory_filter){ .user = ALICE });
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 2);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_FAILED], 1);
	assert_int_equal(world.row.first_seen, NOW);
	assert_int_equal(world.row.last_seen, NOW + 1);
	assert_int_equal(fake_store_count(world.store, MAUTH_INVENTORY_KIND), 2);
	days = mauth_inventory_days(world.inventory, &count);
	assert_int_equal(days[0].counts[MAUTH_SERVICE_IMAP][MAUTH_INVENTORY_OK], 3);
	end(&world);
}

static void what_cannot_be_written_is_tried_again(void **state)
{
	struct inventory_world world;

	begin(&world);
	open_store(&world);
	fake_store_fail(world.store, "disk full");
	note(&world, MAUTH_OK);
	fake_loop_run(world.loop, 61000);
	assert_int_equal(fake_store_count(world.store, NULL), 0);
	assert_non_null(strstr(world.sinks.lines, "inventory: 2 rows could not be written"));
	fake_store_fail(world.store, NULL);
	fake_loop_run(world.loop, 61000);
	restart(&world, true);
	only(&world);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 1);
	end(&world);
}

static void nothing_is_written_while_nothing_happens(void **state)
{
	struct inventory_world world;
	unsigned int writes;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_OK);
	fake_loop_run(world.loop, 61000);
	writes = fake_store_writes(world.store);
	fake_loop_run(world.loop, 600000);
	assert_int_equal(fake_store_writes(world.store), writes);
	end(&world);
}

#define GOOD_NAME "contoso/" ALICE "/0123456789abcdef"
#define GOOD_ROW \
	"1 imap PLAIN tls - 00000000000000000000ffffc0000200/120 00000000000000000000ffffc0000207 1795688400 1795688400 " \
	"1,0,0,0 0,1 0 upgrade ok 0 ok 0 Thunderbird 115.1"

static void rows_that_cannot_be_read_are_left_alone(void **state)
{
	static const struct {
		const char *name, *value;
	} cases[] = {
		{ "contoso", GOOD_ROW }, { "contoso/" ALICE, GOOD_ROW }, { "contoso/" ALICE "/xyz", GOOD_ROW },
		{ "/" ALICE "/0123456789abcdef", GOOD_ROW }, { GOOD_NAME, "" }, { GOOD_NAME, "1" }, { GOOD_NAME, "2 imap" },
		{ GOOD_NAME, "1 imap PLAIN tls" }, { GOOD_NAME, "1 ftp PLAIN tls - 0/0 0 1 1 1 1 0 x ok 0 ok 0 -" },
		{ GOOD_NAME, "1 imap PLAIN tls - zz/120 zz 1 1 1 1 0 upgrade ok 0 ok 0 -" },
		{ GOOD_NAME,
		  "1 imap PLAIN tls - 00000000000000000000ffffc0000200/120 00000000000000000000ffffc0000207 1 1 a 0 0 upgrade ok 0 "
		  "ok 0 -" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct inventory_world world;

		begin(&world);
		fake_store_put(world.store, MAUTH_INVENTORY_KIND, cases[i].name, cases[i].value);
		fake_store_put(world.store, MAUTH_INVENTORY_KIND, "contoso/bob@contoso.com/0123456789abcdef", GOOD_ROW);
		fake_store_put(world.store, MAUTH_INVENTORY_DAY_KIND, "2026-13-01", "1 imap 1,0,0,0");
		open_store(&world);
		assert_non_null(strstr(world.sinks.lines, "inventory: 2 rows of the store cannot be read and are left alone"));
		only(&world);
		assert_string_equal(world.user, "bob@contoso.com");
		note_user(&world, "bob@contoso.com", MAUTH_OK);
		restart(&world, false);
		assert_string_equal(fake_store_value(world.store, MAUTH_INVENTORY_KIND, cases[i].name), cases[i].value);
		end(&world);
	}
}

static void a_row_of_a_later_release_keeps_what_is_known(void **state)
{
	struct inventory_world world;

	begin(&world);
	fake_store_put(world.store, MAUTH_INVENTORY_KIND, GOOD_NAME,
		       "1 imap PLAIN tls 1.3 00000000000000000000ffffc0000200/120 00000000000000000000ffffc0000207 1795688400 "
		       "1795688401 1,2,3,4,5 0,1,0,0,0,0,0,0,0,9,9 7 hand-stand ok 0 bad_credentials 50126 Thunderbird 115.1");
	fake_store_put(world.store, MAUTH_INVENTORY_DAY_KIND, "2026-11-26", "1 imap 1,2 jmap 7,7,7,7,7");
	open_store(&world);
	only(&world);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OTHER], 4);
	assert_int_equal(world.row.exchange_refused, 7);
	assert_int_equal(world.row.last_action, MAUTH_INVENTORY_ACTION_OTHER);
	assert_int_equal(world.row.error_code, 50126);
	assert_string_equal(world.client, "Thunderbird 115.1");
	/* It is the row that the next login counts in. */
	note(&world, MAUTH_OK);
	only(&world);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 2);
	end(&world);
}

static void two_rows_of_the_same_become_one(void **state)
{
	struct inventory_world world;

	begin(&world);
	fake_store_put(world.store, MAUTH_INVENTORY_KIND, "contoso/" ALICE "/0000000000000001", GOOD_ROW);
	fake_store_put(world.store, MAUTH_INVENTORY_KIND, "contoso/" ALICE "/0000000000000002", GOOD_ROW);
	open_store(&world);
	only(&world);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 2);
	restart(&world, false);
	only(&world);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 2);
	assert_int_equal(fake_store_count(world.store, MAUTH_INVENTORY_KIND), 1);
	end(&world);
}

static void a_discarded_one_writes_nothing(void **state)
{
	struct inventory_world world;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_OK);
	mauth_inventory_discard(world.inventory);
	mauth_inventory_close(world.inventory);
	fake_loop_run(world.loop, 61000);
	assert_int_equal(fake_store_writes(world.store), 0);
	end(&world);
}

/* -- forgetting --------------------------------------------------------------------------------------------- */

static void a_person_is_forgotten(void **state)
{
	struct inventory_world world;
	bool waits;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_OK);
	note_user(&world, "bob@contoso.com", MAUTH_OK);
	fake_loop_run(world.loop, 61000);
	/* Seen, but not written yet. */
	note(&world, MAUTH_OK);
	assert_int_equal(forget(&world, ALICE, &waits), 1);
	assert_true(waits);
	fake_loop_run(world.loop, 0);
	assert_int_equal(world.done, 1);
	assert_int_equal(world.failed, 0);
	assert_false(has(&world, ALICE));
	restart(&world, false);
	assert_false(has(&world, ALICE));
	assert_true(has(&world, "bob@contoso.com"));
	end(&world);
}

static void who_is_being_written_is_forgotten_too(void **state)
{
	struct inventory_world world;
	bool waits;

	begin(&world);
	open_store(&world);
	fake_store_hold(world.store, true);
	note(&world, MAUTH_OK);
	fake_loop_run(world.loop, 61000);
	assert_int_equal(forget(&world, ALICE, &waits), 1);
	assert_true(waits);
	/* The write fails, and is not repeated; the deletion does not. */
	fake_store_fail(world.store, "disk full");
	fake_store_finish(world.store);
	assert_int_equal(world.failed, 1);
	fake_store_fail(world.store, NULL);
	fake_store_hold(world.store, false);
	fake_loop_run(world.loop, 125000);
	assert_int_equal(fake_store_count(world.store, MAUTH_INVENTORY_KIND), 0);
	restart(&world, false);
	assert_int_equal(mauth_inventory_count(world.inventory), 0);
	end(&world);
}

static void an_end_does_not_wait_for_who_is_being_forgotten(void **state)
{
	struct inventory_world world;
	bool waits;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_OK);
	fake_loop_run(world.loop, 61000);
	forget(&world, ALICE, &waits);
	mauth_inventory_close(world.inventory);
	mauth_inventory_free(&world.inventory);
	assert_int_equal(world.done, 0);
	fake_loop_run(world.loop, 0);
	assert_int_equal(world.done, 1);
	end(&world);
}

static void everybody_is_forgotten(void **state)
{
	struct inventory_world world;
	size_t days;
	bool waits;

	begin(&world);
	assert_int_equal(forget(&world, ALICE, &waits), 0);
	assert_false(waits);
	open_store(&world);
	for (unsigned int i = 0; i < 50; i++) {
		char user[64];

		snprintf(user, sizeof(user), "user%u@contoso.com", i);
		note_user(&world, user, MAUTH_OK);
	}
	fake_loop_run(world.loop, 61000);
	assert_int_equal(forget(&world, NULL, &waits), 50);
	fake_loop_run(world.loop, 0);
	assert_int_equal(world.done, 1);
	assert_int_equal(fake_store_count(world.store, NULL), 0);
	(void)mauth_inventory_days(world.inventory, &days);
	assert_int_equal(days, 0);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_survives_a_restart),
		cmocka_unit_test(a_crash_costs_a_minute),
		cmocka_unit_test(what_was_seen_before_the_store_was_open_is_added),
		cmocka_unit_test(what_cannot_be_written_is_tried_again),
		cmocka_unit_test(nothing_is_written_while_nothing_happens),
		cmocka_unit_test(rows_that_cannot_be_read_are_left_alone),
		cmocka_unit_test(a_row_of_a_later_release_keeps_what_is_known),
		cmocka_unit_test(two_rows_of_the_same_become_one),
		cmocka_unit_test(a_discarded_one_writes_nothing),
		cmocka_unit_test(a_person_is_forgotten),
		cmocka_unit_test(who_is_being_written_is_forgotten_too),
		cmocka_unit_test(an_end_does_not_wait_for_who_is_being_forgotten),
		cmocka_unit_test(everybody_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
