/* SPDX-License-Identifier: MIT */
/* The inventory: what is counted, what is bounded, and what is found in it. */
#include "inventory_world.h"

/* -- what is counted ---------------------------------------------------------------------------------------- */

static void attempts_are_counted_by_outcome_and_action(void **state)
{
	struct inventory_world world;

	begin(&world);
	note(&world, MAUTH_OK);
	fake_loop_run(world.loop, 5000);
	note(&world, MAUTH_OK);
	note(&world, MAUTH_BAD_CREDENTIALS);
	note(&world, MAUTH_TIMEOUT);
	note(&world, MAUTH_CANCELLED);
	only(&world);
	assert_string_equal(world.user, ALICE);
	assert_string_equal(world.tenant, "contoso");
	assert_string_equal(world.client, "Thunderbird 115.1");
	assert_int_equal(world.row.first_seen, NOW);
	assert_int_equal(world.row.last_seen, NOW + 5);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 2);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_REFUSED], 1);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_FAILED], 1);
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OTHER], 1);
	assert_int_equal(world.row.actions[MAUTH_INVENTORY_UPGRADE], 2);
	assert_int_equal(world.row.actions[MAUTH_INVENTORY_REFUSE], 3);
	assert_int_equal(world.row.last_action, MAUTH_INVENTORY_REFUSE);
	assert_int_equal(world.row.last_status, MAUTH_CANCELLED);
	end(&world);
}

static void the_last_error_stays_while_logins_work_again(void **state)
{
	struct inventory_world world;

	begin(&world);
	note(&world, MAUTH_BAD_CREDENTIALS);
	note(&world, MAUTH_OK);
	only(&world);
	assert_int_equal(world.row.last_status, MAUTH_OK);
	assert_int_equal(world.row.last_code, 0);
	assert_int_equal(world.row.error_status, MAUTH_BAD_CREDENTIALS);
	assert_int_equal(world.row.error_code, 50126);
	end(&world);
}

static void whoever_has_no_tenant_is_not_in_it(void **state)
{
	struct mauth_attempt_record record;
	struct inventory_world world;
	size_t days;

	begin(&world);
	record = attempt(&world);
	record.tenant_name = NULL;
	record.status = MAUTH_NOT_OURS;
	mauth_inventory_note(world.inventory, &record);
	assert_int_equal(mauth_inventory_count(world.inventory), 0);
	(void)mauth_inventory_days(world.inventory, &days);
	assert_int_equal(days, 0);
	end(&world);
}

/* Each of them is another row; what differs within a network is the same one. */
static void what_differs_makes_a_row(void **state)
{
	struct mauth_attempt_record records[8];
	struct inventory_world world;

	begin(&world);
	for (size_t i = 0; i < 8; i++)
		records[i] = attempt(&world);
	records[1].service = MAUTH_SERVICE_POP3;
	records[2].mechanism = "LOGIN";
	records[3].client_id = "\"name\" \"K-9\"";
	records[4].tls = false;
	records[5].client_ip = "192.0.3.7";
	records[6].tenant_name = "fabrikam";
	records[7].client_id = NULL;
	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < 8; i++)
			mauth_inventory_note(world.inventory, &records[i]);
	}
	assert_int_equal(mauth_inventory_count(world.inventory), 8);
	records[0].client_ip = "192.0.2.99";
	mauth_inventory_note(world.inventory, &records[0]);
	assert_int_equal(mauth_inventory_count(world.inventory), 8);
	ask(&world, &(struct mauth_inventory_filter){ .tenant = "fabrikam" });
	assert_int_equal(world.row.outcomes[MAUTH_INVENTORY_OK], 2);
	end(&world);
}

static void networks_of_both_families(void **state)
{
	static const struct {
		const char *ip, *network, *same;
	} cases[] = {
		{ "192.0.2.7", "192.0.2.0/24", "192.0.2.200" },
		{ "::ffff:192.0.2.7", "192.0.2.0/24", "192.0.2.1" },
		{ "2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1:2:ffff::1" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_attempt_record record;
		char text[MAUTH_NETWORK_TEXT_SIZE];
		struct inventory_world world;

		begin(&world);
		record = attempt(&world);
		record.client_ip = cases[i].ip;
		mauth_inventory_note(world.inventory, &record);
		record.client_ip = cases[i].same;
		mauth_inventory_note(world.inventory, &record);
		only(&world);
		mauth_network_format(&world.row.network, text);
		assert_string_equal(text, cases[i].network);
		end(&world);
	}
}

static void what_exchange_said_is_added_to_the_login_it_was_about(void **state)
{
	struct mauth_upstream_report report = {
		.user = ALICE, .service = MAUTH_SERVICE_IMAP, .result = MAUTH_UPSTREAM_ACCEPTED, .client_ip = "192.0.2.7",
		.tls_protocol = "TLSv1.3",
	};
	struct inventory_world world;

	begin(&world);
	note(&world, MAUTH_OK);
	mauth_inventory_note_upstream(world.inventory, "contoso", ALICE, &report);
	report.result = MAUTH_UPSTREAM_REFUSED;
	mauth_inventory_note_upstream(world.inventory, "contoso", ALICE, &report);
	report.client_ip = "192.0.2.8";
	mauth_inventory_note_upstream(world.inventory, "contoso", ALICE, &report);
	mauth_inventory_note_upstream(world.inventory, "contoso", "bob@contoso.com", &report);
	mauth_inventory_note_upstream(world.inventory, NULL, ALICE, &report);
	only(&world);
	assert_string_equal(world.row.tls_version, "1.3");
	assert_int_equal(world.row.exchange_refused, 1);
	end(&world);
}

static void days_are_counted_by_protocol_and_outcome(void **state)
{
	const struct mauth_inventory_day *days;
	struct inventory_world world;
	size_t count;

	begin(&world);
	note(&world, MAUTH_OK);
	note(&world, MAUTH_BAD_CREDENTIALS);
	fake_loop_run(world.loop, DAY * 1000u);
	note(&world, MAUTH_OK);
	days = mauth_inventory_days(world.inventory, &count);
	assert_int_equal(count, 2);
	assert_int_equal(days[0].day, NOW / DAY);
	assert_int_equal(days[0].counts[MAUTH_SERVICE_IMAP][MAUTH_INVENTORY_OK], 1);
	assert_int_equal(days[0].counts[MAUTH_SERVICE_IMAP][MAUTH_INVENTORY_REFUSED], 1);
	assert_int_equal(days[0].counts[MAUTH_SERVICE_POP3][MAUTH_INVENTORY_OK], 0);
	assert_int_equal(days[1].day, NOW / DAY + 1);
	assert_int_equal(days[1].counts[MAUTH_SERVICE_IMAP][MAUTH_INVENTORY_OK], 1);
	end(&world);
}

/* -- hostile words ------------------------------------------------------------------------------------------ */

static void hostile_words_are_cut_and_cleaned(void **state)
{
	char name[400], ip_text[MAUTH_NETWORK_TEXT_SIZE], long_user[MAUTH_USER_MAX + 20];
	struct mauth_attempt_record record;
	struct inventory_world world;

	begin(&world);
	open_store(&world);
	record = attempt(&world);
	memset(name, 'x', sizeof(name));
	memcpy(name, "\"name\" \"\x1b[31m\xff\n", 15);
	memcpy(name + sizeof(name) - 2, "\"", 2);
	record.client_id = name;
	record.mechanism = "PLAIN WITH\nBLANKS AND MORE";
	record.client_ip = "no address";
	record.upn = "a/b'\"<script>@contoso.com";
	mauth_inventory_note(world.inventory, &record);
	only(&world);
	assert_int_equal(strlen(world.client), MAUTH_INVENTORY_CLIENT_SIZE - 1);
	assert_memory_equal(world.client, "?[31m??", 7);
	assert_string_equal(world.row.mechanism, "PLAIN?WITH?BLAN");
	assert_int_equal(world.row.network.bits, 0);
	/* And all of it survives. */
	restart(&world, false);
	only(&world);
	assert_string_equal(world.user, record.upn);
	assert_memory_equal(world.client, "?[31m??", 7);
	assert_string_equal(world.row.mechanism, "PLAIN?WITH?BLAN");
	assert_int_equal(world.row.network.bits, 0);
	mauth_network_format(&world.row.network, ip_text);
	memset(long_user, 'u', sizeof(long_user) - 1);
	long_user[sizeof(long_user) - 1] = '\0';
	record.upn = long_user;
	mauth_inventory_note(world.inventory, &record);
	assert_int_equal(mauth_inventory_count(world.inventory), 1);
	end(&world);
}

static void a_client_may_call_itself_anything(void **state)
{
	static const struct {
		const char *client_id, *client;
	} cases[] = {
		{ NULL, "-" }, { "", "-" }, { "nonsense", "-" }, { "\"name\" \"\"", "-" }, { "\"os\" \"x\"", "-" },
		{ "\"name\" \"A\"", "A" }, { "\"version\" \"2\"", "2" }, { "\"NAME\" \"A b\" \"Version\" \"2 3\"", "A b 2 3" },
		{ "\"name\" \"- -\"", "- -" }, { "\"name\" \" 1 imap PLAIN\"", " 1 imap PLAIN" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_attempt_record record;
		struct inventory_world world;

		begin(&world);
		open_store(&world);
		record = attempt(&world);
		record.client_id = cases[i].client_id;
		mauth_inventory_note(world.inventory, &record);
		restart(&world, false);
		only(&world);
		assert_string_equal(world.client, cases[i].client);
		end(&world);
	}
}

/* -- bounds ------------------------------------------------------------------------------------------------- */

static void the_least_recently_seen_goes_first(void **state)
{
	struct inventory_world world;
	char user[64];

	begin(&world);
	for (unsigned int i = 0; i < MAX; i++) {
		snprintf(user, sizeof(user), "user%u@contoso.com", i);
		note_user(&world, user, MAUTH_OK);
	}
	fake_loop_run(world.loop, 60000);
	note_user(&world, "user0@contoso.com", MAUTH_OK);
	note_user(&world, "one-more@contoso.com", MAUTH_OK);
	assert_int_equal(mauth_inventory_count(world.inventory), MAX);
	assert_true(has(&world, "user0@contoso.com"));
	assert_false(has(&world, "user1@contoso.com"));
	assert_true(has(&world, "one-more@contoso.com"));
	end(&world);
}

static void guessers_do_not_push_out_who_works(void **state)
{
	struct inventory_world world;
	char user[64];

	begin(&world);
	note(&world, MAUTH_OK);
	for (unsigned int i = 0; i < 10 * MAX; i++) {
		snprintf(user, sizeof(user), "guess%u@contoso.com", i);
		note_user(&world, user, MAUTH_BAD_CREDENTIALS);
	}
	assert_true(has(&world, ALICE));
	assert_int_equal(mauth_inventory_count(world.inventory), 1 + MAX / 4);
	assert_true(has(&world, "guess999@contoso.com"));
	end(&world);
}

static void one_user_does_not_fill_the_table(void **state)
{
	struct mauth_attempt_record record;
	struct inventory_world world;
	char client[64];

	begin(&world);
	note_user(&world, "bob@contoso.com", MAUTH_OK);
	record = attempt(&world);
	for (unsigned int i = 0; i < 3 * MAUTH_INVENTORY_PER_USER_MAX; i++) {
		snprintf(client, sizeof(client), "\"name\" \"client-%u\"", i);
		record.client_id = client;
		mauth_inventory_note(world.inventory, &record);
	}
	ask(&world, &(struct mauth_inventory_filter){ .user = ALICE });
	assert_true(world.seen <= MAUTH_INVENTORY_PER_USER_MAX && world.seen >= MAUTH_INVENTORY_PER_USER_MAX - 1);
	end(&world);
}

static void evicted_rows_leave_the_store(void **state)
{
	struct inventory_world world;
	char user[64];

	begin(&world);
	open_store(&world);
	for (unsigned int i = 0; i < 3 * MAX; i++) {
		snprintf(user, sizeof(user), "user%u@contoso.com", i);
		note_user(&world, user, MAUTH_OK);
		if (i % 50 == 49)
			fake_loop_run(world.loop, 61000);
	}
	fake_loop_run(world.loop, 61000);
	assert_int_equal(fake_store_count(world.store, MAUTH_INVENTORY_KIND), MAX);
	restart(&world, false);
	assert_int_equal(mauth_inventory_count(world.inventory), MAX);
	assert_true(has(&world, "user299@contoso.com"));
	end(&world);
}

static void rows_that_nobody_has_seen_for_long_are_deleted(void **state)
{
	struct inventory_world world;

	begin(&world);
	open_store(&world);
	note(&world, MAUTH_OK);
	for (unsigned int i = 0; i < 21; i++)
		fake_loop_run(world.loop, 20u * DAY * 1000u);
	note_user(&world, "bob@contoso.com", MAUTH_OK);
	fake_loop_run(world.loop, 61000);
	assert_false(has(&world, ALICE));
	assert_true(has(&world, "bob@contoso.com"));
	assert_int_equal(fake_store_count(world.store, MAUTH_INVENTORY_KIND), 1);
	end(&world);
}

static void no_more_than_400_days(void **state)
{
	const struct mauth_inventory_day *days;
	struct inventory_world world;
	size_t count;

	begin(&world);
	open_store(&world);
	for (unsigned int i = 0; i < MAUTH_INVENTORY_DAYS_MAX + 3; i++) {
		note(&world, MAUTH_OK);
		fake_loop_run(world.loop, DAY * 1000u);
	}
	days = mauth_inventory_days(world.inventory, &count);
	assert_int_equal(count, MAUTH_INVENTORY_DAYS_MAX);
	assert_int_equal(days[0].day, NOW / DAY + 3);
	assert_int_equal(fake_store_count(world.store, MAUTH_INVENTORY_DAY_KIND), MAUTH_INVENTORY_DAYS_MAX);
	end(&world);
}

/* -- asking ------------------------------------------------------------------------------------------------- */

/* alice: imap from two networks, and smtp; bob: pop3, a month ago; carol: never gets in. */
static void fill(struct inventory_world *world)
{
	struct mauth_attempt_record record = attempt(world);

	record.upn = "bob@contoso.com";
	record.service = MAUTH_SERVICE_POP3;
	record.client_ip = "2001:db8::1";
	mauth_inventory_note(world->inventory, &record);
	for (unsigned int i = 0; i < 30; i++)
		fake_loop_run(world->loop, DAY * 1000u);
	record = attempt(world);
	mauth_inventory_note(world->inventory, &record);
	mauth_inventory_note(world->inventory, &record);
	record.service = MAUTH_SERVICE_SUBMISSION;
	mauth_inventory_note(world->inventory, &record);
	record.service = MAUTH_SERVICE_IMAP;
	record.client_ip = "10.1.2.3";
	mauth_inventory_note(world->inventory, &record);
	record.upn = "carol@fabrikam.com";
	record.tenant_name = "fabrikam";
	record.status = MAUTH_BAD_CREDENTIALS;
	mauth_inventory_note(world->inventory, &record);
}

static void filters_and_counts(void **state)
{
	struct mauth_network networks[5];
	const struct {
		struct mauth_inventory_filter filter;
		size_t rows, users, clients, logins;
	} cases[] = {
		{ { .tenant = NULL }, 5, 3, 4, 6 },
		{ { .works = true }, 4, 2, 3, 5 },
		{ { .tenant = "fabrikam" }, 1, 1, 1, 1 },
		{ { .tenant = "fabrikam", .works = true }, 0, 0, 0, 0 },
		{ { .user = "a*@contoso.com" }, 3, 1, 2, 4 },
		{ { .user = "ALICE@*" }, 3, 1, 2, 4 },
		{ { .services = 1u << MAUTH_SERVICE_POP3 }, 1, 1, 1, 1 },
		{ { .services = 1u << MAUTH_SERVICE_POP3 | 1u << MAUTH_SERVICE_SUBMISSION }, 2, 2, 2, 2 },
		{ { .since = NOW + 1 }, 4, 2, 3, 5 },
		{ { .since = NOW }, 5, 3, 4, 6 },
		{ { .networks = &networks[0], .networks_count = 1 }, 2, 2, 2, 2 },
		{ { .networks = &networks[1], .networks_count = 1 }, 2, 2, 2, 2 },
		{ { .networks = &networks[2], .networks_count = 1 }, 0, 0, 0, 0 },
		{ { .networks = &networks[3], .networks_count = 1 }, 1, 1, 1, 1 },
		{ { .networks = &networks[3], .networks_count = 2 }, 5, 3, 4, 6 },
	};
	struct inventory_world world;

	begin(&world);
	fill(&world);
	/* A network of the filter may be wider or narrower than that of the row. */
	assert_true(mauth_network_parse("10.0.0.0/8", &networks[0], NULL));
	assert_true(mauth_network_parse("10.1.2.77", &networks[1], NULL));
	assert_true(mauth_network_parse("10.1.3.0/24", &networks[2], NULL));
	assert_true(mauth_network_parse("::/0", &networks[3], NULL));
	assert_true(mauth_network_parse("0.0.0.0/0", &networks[4], NULL));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_inventory_counts counts = ask(&world, &cases[i].filter);

		if (world.seen != cases[i].rows || counts.users != cases[i].users || counts.clients != cases[i].clients ||
		    counts.logins != cases[i].logins)
			fail_msg("case %zu: %zu rows, %zu users, %zu clients, %llu logins", i, world.seen, counts.users,
				 counts.clients, (unsigned long long)counts.logins);
	}
	end(&world);
}

static void a_cursor_sees_everybody_once_whatever_goes_meanwhile(void **state)
{
	static const struct mauth_inventory_filter any = { .tenant = NULL };
	struct mauth_inventory_cursor *cursor, *idle;
	struct inventory_world world;
	bool waits;

	begin(&world);
	fill(&world);
	cursor = mauth_inventory_cursor_new(world.inventory);
	idle = mauth_inventory_cursor_new(world.inventory);
	world.seen = 0;
	assert_true(mauth_inventory_cursor_next(cursor, &any, look, &world));
	assert_int_equal(world.seen, 1);
	/* The one that is next goes, as does one that has been. */
	forget(&world, ALICE, &waits);
	forget(&world, "bob@contoso.com", &waits);
	note_user(&world, "dave@contoso.com", MAUTH_OK);
	assert_true(mauth_inventory_cursor_next(cursor, &any, look, &world));
	assert_string_equal(world.user, "carol@fabrikam.com");
	assert_true(mauth_inventory_cursor_next(cursor, &any, look, &world));
	assert_string_equal(world.user, "dave@contoso.com");
	assert_false(mauth_inventory_cursor_next(cursor, &any, look, &world));
	mauth_inventory_cursor_free(&cursor);
	mauth_inventory_discard(world.inventory);
	assert_false(mauth_inventory_cursor_next(idle, &any, look, &world));
	mauth_inventory_free(&world.inventory);
	mauth_inventory_cursor_free(&idle);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attempts_are_counted_by_outcome_and_action),
		cmocka_unit_test(the_last_error_stays_while_logins_work_again),
		cmocka_unit_test(whoever_has_no_tenant_is_not_in_it),
		cmocka_unit_test(what_differs_makes_a_row),
		cmocka_unit_test(networks_of_both_families),
		cmocka_unit_test(what_exchange_said_is_added_to_the_login_it_was_about),
		cmocka_unit_test(days_are_counted_by_protocol_and_outcome),
		cmocka_unit_test(hostile_words_are_cut_and_cleaned),
		cmocka_unit_test(a_client_may_call_itself_anything),
		cmocka_unit_test(the_least_recently_seen_goes_first),
		cmocka_unit_test(guessers_do_not_push_out_who_works),
		cmocka_unit_test(one_user_does_not_fill_the_table),
		cmocka_unit_test(evicted_rows_leave_the_store),
		cmocka_unit_test(rows_that_nobody_has_seen_for_long_are_deleted),
		cmocka_unit_test(no_more_than_400_days),
		cmocka_unit_test(filters_and_counts),
		cmocka_unit_test(a_cursor_sees_everybody_once_whatever_goes_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
