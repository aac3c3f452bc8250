/* SPDX-License-Identifier: MIT */
/* Tokens for an MTA: by which ways, how long they live, and what becomes of those that the server refuses. */
#include "relay_world.h"

#include "core/inventory.h"
#include "core/mem.h"

#define TOKEN "t0ken-of-before"
#define WRONG "K7QM-3XPD-9RTA-VW2HE"

static void open_world(struct vault_world *world, const char *grants, char **key_r)
{
	vault_world_open_with(world, grants);
	*key_r = relay_key(world, "postfix", "*@contoso.com", 0);
}

static void close_world(struct vault_world *world, char *key)
{
	free(key);
	vault_world_end(world);
}

static const struct mauth_relay_client *mta(void)
{
	static const struct mauth_relay_client client = {
		.pid = 4711, .uid = 107, .program = "postfix/smtp", .host = "smtp.office365.com", .key_id = "abc",
		.key_name = "postfix",
	};

	return &client;
}

static const char *tell(struct vault_world *world, const char *identity, const char *token_id, enum mauth_relay_result result,
			const char *dsn, const char *reply)
{
	const struct mauth_relay_outcome outcome = {
		.client = mta(), .identity = identity, .session = "queue-1", .token_id = token_id, .result = result,
		.token_refused = strncmp(reply, "SASL", 4) == 0, .dsn = dsn, .reply = reply,
	};
	const char *advice = mauth_broker_relay_outcome(world->w.broker, &outcome);

	assert_int_equal(mauth_broker_record_reports(world->w.broker, NULL), MAUTH_OK);
	return advice;
}

static void refuse(struct vault_world *world, const char *identity, const struct outcome *outcome)
{
	tell(world, identity, outcome->token_id, MAUTH_RELAY_DEFERRED, "4.7.3",
	     "SASL authentication failed; server x[192.0.2.1] said: 535 5.7.3 Authentication unsuccessful");
}

/* -- ways to a token -- */

static void the_key_verifies_and_the_application_gives(void **state)
{
	struct vault_world world;
	struct outcome outcome;
	char *key;

	open_world(&world, "A", &key);
	outcome = relay_fetch(&world, ALICE, key, 600, 3600);
	assert_string_equal(outcome.mailbox, ALICE);
	assert_int_equal(outcome.verified_by, MAUTH_VERIFIED_RELAY);
	expect_last(&world, "\"action\":\"relay-token-requested\",\"outcome\":\"success\"");
	expect_last(&world, "\"verified_by\":\"relay-key\",\"grant\":\"app\"");
	expect_last(&world, "\"key_name\":\"postfix\",\"identity\":\"alice@contoso.com\",\"pid\":4711,\"uid\":107,\"program\":"
		    "\"postfix/smtp\",\"host\":\"smtp.office365.com\"");
	expect_last(&world, "\"session\":\"queue-1\"");
	outcome = relay_ask(&world, BOB, key, MAUTH_OK);
	assert_true(outcome.cached);
	close_world(&world, key);
}

static void a_shared_mailbox_by_the_enrolment_of_another(void **state)
{
	struct vault_world world;
	struct outcome outcome;
	char *key;

	open_world(&world, "E", &key);
	world_enrol(&world, ALICE, "refresh-token-1");
	mauth_vault_set_link(world.vault, CONTOSO, BOB, ALICE, "shared@contoso.com");
	world_cache(&world, MAUTH_GRANT_ENROLLED, TOKEN);
	outcome = relay_ask(&world, BOB, key, MAUTH_OK);
	assert_string_equal(outcome.token, TOKEN);
	assert_string_equal(outcome.mailbox, "shared@contoso.com");
	close_world(&world, key);
}

static void a_key_is_never_sent_to_entra_as_a_password(void **state)
{
	struct vault_world world;
	struct outcome outcome;
	char *key;

	open_world(&world, "P", &key);
	world_cache(&world, MAUTH_GRANT_PASSWORD, TOKEN);
	outcome = relay_ask(&world, ALICE, key, MAUTH_INTERACTION);
	assert_int_equal(fake_http_started(world.w.http), 0);
	assert_non_null(strstr(outcome.error.text, "the relay key is right, but there is no way to a token (password: a relay "
						   "key is none of Entra's)"));
	close_world(&world, key);
	/* Nor when the other way fails. */
	open_world(&world, "EP", &key);
	relay_ask(&world, ALICE, key, MAUTH_INTERACTION);
	assert_int_equal(fake_http_started(world.w.http), 0);
	close_world(&world, key);
}

static void without_the_right_key_nothing_is_asked_or_told(void **state)
{
	static const char *const identities[] = { ALICE, "nobody@contoso.com" };
	struct vault_world world;
	struct outcome outcome;
	char *key;

	open_world(&world, "EA", &key);
	world_cache(&world, MAUTH_GRANT_APP, TOKEN);
	for (size_t i = 0; i < 2; i++) {
		outcome = relay_ask(&world, identities[i], WRONG, MAUTH_BAD_CREDENTIALS);
		assert_string_equal(outcome.error.text, "wrong relay key");
		assert_true(mauth_relay_is_temporary(&outcome.error));
		expect_last(&world, "\"outcome\":\"failure\"");
		expect_last(&world, "\"rule\":\"relay key\"");
	}
	assert_int_equal(world.w.broker->stats.relay_wrong_keys, 2);
	assert_int_equal(world.w.broker->stats.refused, 0);
	/* The right one is not slowed down or locked out by that. */
	relay_ask(&world, ALICE, key, MAUTH_OK);
	free(relay_key(&world, "other", "bob@contoso.com", 0));
	close_world(&world, key);
}

static void a_key_for_others_and_one_that_has_ended_are_named(void **state)
{
	struct vault_world world;
	struct outcome outcome;
	char *key, *bobs;

	open_world(&world, "A", &key);
	bobs = relay_key(&world, "bobs", BOB, WORLD_WALL + 60);
	outcome = relay_ask(&world, ALICE, bobs, MAUTH_POLICY);
	assert_non_null(strstr(outcome.error.text, "\"bobs\" is not for alice@contoso.com"));
	assert_true(mauth_relay_is_temporary(&outcome.error));
	expect_last(&world, "\"key_name\":\"bobs\"");
	fake_loop_run(world.w.loop, 60 * 1000);
	outcome = relay_ask(&world, BOB, bobs, MAUTH_EXPIRED);
	assert_true(mauth_relay_is_temporary(&outcome.error));
	free(bobs);
	close_world(&world, key);
}

static void rules_are_asked_as_for_a_login(void **state)
{
	static const struct {
		enum mauth_action action;
		unsigned int services;
		enum mauth_tls_floor tls;
		enum mauth_status status;
		bool temporary;
	} rows[] = {
		{ MAUTH_ACTION_DENY, 1u << MAUTH_SERVICE_SUBMISSION, MAUTH_TLS_ANY, MAUTH_POLICY, false },
		{ MAUTH_ACTION_DENY, 1u << MAUTH_SERVICE_IMAP, MAUTH_TLS_ANY, MAUTH_OK, true },
		{ MAUTH_ACTION_DENY, 0, MAUTH_TLS_NONE, MAUTH_OK, true },
		{ MAUTH_ACTION_LOCAL, 0, MAUTH_TLS_ANY, MAUTH_NOT_OURS, true },
		/* There is no password to go upstream, and nothing to watch. */
		{ MAUTH_ACTION_BASIC, 0, MAUTH_TLS_ANY, MAUTH_OK, true },
		{ MAUTH_ACTION_MONITOR, 0, MAUTH_TLS_ANY, MAUTH_OK, true },
		{ MAUTH_ACTION_UPGRADE, 0, MAUTH_TLS_ANY, MAUTH_OK, true },
	};
	char *key;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vault_world world;
		struct mauth_rule *rule;
		struct outcome outcome;

		vault_world_begin(&world);
		vault_world_grants(world.w.tenant, "A");
		rule = vault_world_rule(&world);
		rule->action = rows[i].action;
		rule->services = rows[i].services;
		rule->tls = rows[i].tls;
		vault_world_open(&world);
		key = relay_key(&world, "postfix", "*", 0);
		world_cache(&world, MAUTH_GRANT_APP, TOKEN);
		outcome = relay_ask(&world, ALICE, key, rows[i].status);
		if (rows[i].status != MAUTH_OK)
			assert_int_equal(mauth_relay_is_temporary(&outcome.error), rows[i].temporary);
		assert_false(outcome.basic);
		close_world(&world, key);
	}
}

static void nobody_else_is_given_a_token_by_a_key(void **state)
{
	struct vault_world world;
	struct outcome outcome;
	char *key;

	open_world(&world, "EA", &key);
	world_cache(&world, MAUTH_GRANT_APP, TOKEN);
	outcome = world_try(&world, ALICE, key, false);
	world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
	outcome = relay_ask(&world, "x@elsewhere.example", key, MAUTH_NOT_OURS);
	assert_true(mauth_relay_is_temporary(&outcome.error));
	close_world(&world, key);
}

/* -- the store, the audit -- */

static void without_the_store_there_are_no_keys(void **state)
{
	struct vault_world world;
	struct mauth_error error;
	struct outcome outcome;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "A");
	mauth_fail(&error, MAUTH_CONFIG, 0, "modernauth.db is damaged");
	vault_world_open_without(&world, &error);
	world_cache(&world, MAUTH_GRANT_APP, TOKEN);
	outcome = relay_ask(&world, ALICE, WRONG, MAUTH_CONFIG);
	assert_string_equal(outcome.error.text, "modernauth.db is damaged");
	vault_world_end(&world);
}

static void a_successor_lets_it_wait_for_the_store(void **state)
{
	struct outcome outcome = { 0 };
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	vault_world_close(&world);
	mauth_broker_free(&world.w.broker);
	vault_world_open_without(&world, NULL);
	mauth_broker_pause(world.w.broker, true);
	world_cache(&world, MAUTH_GRANT_APP, TOKEN);
	relay_start(&world, ALICE, key, 600, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(vault_world_try(&world, &outcome.error), MAUTH_OK);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_OK);
	mauth_broker_pause(world.w.broker, false);
	close_world(&world, key);
}

static void what_is_not_on_record_is_not_given(void **state)
{
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	world_cache(&world, MAUTH_GRANT_APP, TOKEN);
	world.w.sinks.audit_broken = true;
	relay_ask(&world, ALICE, key, MAUTH_AUDIT);
	world.w.sinks.audit_broken = false;
	close_world(&world, key);
}

/* An MTA is none of those who still log in with a password. */
static void it_is_counted_apart(void **state)
{
	struct vault_world world;
	struct mauth_broker_stats stats;
	char *key;

	open_world(&world, "A", &key);
	relay_fetch(&world, ALICE, key, 600, 3600);
	relay_ask(&world, ALICE, key, MAUTH_OK);
	mauth_broker_stats(world.w.broker, &stats);
	assert_int_equal(stats.relay_requests, 2);
	assert_int_equal(stats.relay_fetched, 1);
	assert_int_equal(stats.relay_cached, 1);
	assert_int_equal(stats.logins + stats.granted_cached + stats.granted_fetched, 0);
	if (mauth_broker_inventory(world.w.broker) != NULL)
		assert_int_equal(mauth_inventory_count(mauth_broker_inventory(world.w.broker)), 0);
	assert_non_null(strstr(world.w.sinks.events, "modernauth_attempt_finished service=relay outcome=ok"));
	close_world(&world, key);
}

/* -- how long it lives -- */

static void a_token_that_lives_too_short_is_fetched_anew(void **state)
{
	struct outcome first, second;
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	first = relay_fetch(&world, ALICE, key, 600, 3600);
	fake_loop_run(world.w.loop, 2900 * 1000);
	second = relay_ask(&world, ALICE, key, MAUTH_OK);
	assert_true(second.cached);
	while (fake_http_open(world.w.http) > 0)
		fake_http_fail(world.w.http, MAUTH_TEMPORARY);
	fake_loop_run(world.w.loop, 101 * 1000);
	second = relay_fetch(&world, ALICE, key, 600, 3600);
	assert_false(second.cached);
	assert_string_not_equal(second.token_id, first.token_id);
	close_world(&world, key);
}

static void where_entra_gives_short_ones_not_each_request_fetches(void **state)
{
	struct outcome first, second;
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	first = relay_fetch(&world, ALICE, key, 600, 500);
	assert_true(first.expires_at < WORLD_WALL + 600);
	second = relay_fetch(&world, ALICE, key, 600, 500);
	for (int i = 0; i < 5; i++) {
		struct outcome again = relay_ask(&world, ALICE, key, MAUTH_OK);

		assert_string_equal(again.token_id, second.token_id);
	}
	fake_loop_run(world.w.loop, 61 * 1000);
	relay_fetch(&world, ALICE, key, 600, 500);
	close_world(&world, key);
}

static void what_is_asked_for_is_cut_to_what_tokens_live(void **state)
{
	struct outcome outcome = { 0 };
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	relay_fetch(&world, ALICE, key, 86400, 3600);
	fake_loop_run(world.w.loop, 1700 * 1000);
	relay_start(&world, ALICE, key, 86400, &outcome);
	world_ended(&outcome, MAUTH_OK);
	close_world(&world, key);
}

static void an_outage_gives_no_token_that_lives_too_short(void **state)
{
	struct outcome outcome = { 0 };
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	relay_fetch(&world, ALICE, key, 600, 3600);
	fake_loop_run(world.w.loop, 3100 * 1000);
	relay_start(&world, ALICE, key, 600, &outcome);
	for (int i = 0; i < 20 && outcome.calls == 0; i++) {
		if (fake_http_open(world.w.http) > 0)
			fake_http_fail(world.w.http, MAUTH_TEMPORARY);
		fake_loop_run(world.w.loop, 2000);
	}
	assert_int_equal(outcome.calls, 1);
	assert_true(outcome.status == MAUTH_TEMPORARY || outcome.status == MAUTH_TIMEOUT);
	assert_true(mauth_relay_is_temporary(&outcome.error));
	close_world(&world, key);
}

/* -- refused tokens -- */

static void a_refused_token_is_fetched_anew_once_a_minute_at_most(void **state)
{
	struct outcome first, second, third;
	struct vault_world world;
	char *key;

	open_world(&world, "E", &key);
	world_enrol(&world, ALICE, "refresh-token-1");
	first = relay_fetch(&world, ALICE, key, 600, 3600);
	refuse(&world, ALICE, &first);
	second = relay_fetch(&world, ALICE, key, 600, 3600);
	for (int i = 0; i < 5; i++) {
		refuse(&world, ALICE, &second);
		third = relay_ask(&world, ALICE, key, MAUTH_OK);
		assert_string_equal(third.token_id, second.token_id);
		fake_loop_run(world.w.loop, 10 * 1000);
	}
	fake_loop_run(world.w.loop, 80 * 1000);
	third = relay_fetch(&world, ALICE, key, 600, 3600);
	assert_string_not_equal(third.token_id, second.token_id);
	assert_int_equal(world.w.broker->stats.relay_tokens_refused, 6);
	close_world(&world, key);
}

static void an_old_refusal_says_nothing_of_todays_token(void **state)
{
	struct outcome first, second;
	struct vault_world world;
	char *key;

	open_world(&world, "E", &key);
	world_enrol(&world, ALICE, "refresh-token-1");
	first = relay_fetch(&world, ALICE, key, 600, 3600);
	refuse(&world, ALICE, &first);
	second = relay_fetch(&world, ALICE, key, 600, 3600);
	fake_loop_run(world.w.loop, 100 * 1000);
	refuse(&world, ALICE, &first);
	assert_string_equal(relay_ask(&world, ALICE, key, MAUTH_OK).token_id, second.token_id);
	close_world(&world, key);
}

static void an_accepted_mail_begins_the_count_anew(void **state)
{
	struct outcome outcome;
	struct vault_world world;
	char *key;

	open_world(&world, "E", &key);
	world_enrol(&world, ALICE, "refresh-token-1");
	outcome = relay_fetch(&world, ALICE, key, 600, 3600);
	for (int i = 0; i < 4; i++) {
		refuse(&world, ALICE, &outcome);
		outcome = relay_fetch(&world, ALICE, key, 600, 3600);
		tell(&world, ALICE, outcome.token_id, MAUTH_RELAY_ACCEPTED, "2.0.0", "250 2.0.0 OK");
		fake_loop_run(world.w.loop, 61 * 1000);
	}
	close_world(&world, key);
}

static void one_mailbox_costs_the_tenants_token_once_a_minute(void **state)
{
	struct outcome first, second;
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	first = relay_fetch(&world, ALICE, key, 600, 3600);
	refuse(&world, ALICE, &first);
	second = relay_fetch(&world, BOB, key, 600, 3600);
	refuse(&world, ALICE, &second);
	refuse(&world, ALICE, &second);
	assert_string_equal(relay_ask(&world, BOB, key, MAUTH_OK).token_id, second.token_id);
	close_world(&world, key);
}

static void outcomes_are_recorded_told_and_counted(void **state)
{
	static const struct {
		enum mauth_relay_result result;
		const char *dsn, *reply, *action, *advice;
	} rows[] = {
		{ MAUTH_RELAY_ACCEPTED, "2.0.0", "250 2.0.0 OK <x@y>", "accepted", NULL },
		{ MAUTH_RELAY_DEFERRED, "4.3.2", "host x[192.0.2.1] said: 432 4.3.2 Concurrent connections limit exceeded",
		  "deferred", "lower the concurrency" },
		{ MAUTH_RELAY_REFUSED, "5.1.1", "host x[192.0.2.1] said: 550 5.1.1 no such user", "refused", NULL },
		{ MAUTH_RELAY_REFUSED, "5.7.60", "host x[192.0.2.1] said: 554 5.2.252 SendAsDenied; a@b not allowed", "refused",
		  "Add-RecipientPermission" },
		{ MAUTH_RELAY_DEFERRED, "4.7.3", "SASL authentication failed; server x[192.0.2.1] said: 535 5.7.3", "deferred",
		  "Get-CASMailbox" },
	};
	struct vault_world world;
	char *key;

	open_world(&world, "A", &key);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *advice = tell(&world, ALICE, "0123", rows[i].result, rows[i].dsn, rows[i].reply);
		char *action = mauth_printf("\"action\":\"relay-mail-%s\"", rows[i].action);

		assert_int_equal(advice == NULL, rows[i].advice == NULL);
		if (advice != NULL && strstr(advice, rows[i].advice) == NULL)
			fail_msg("%s", advice);
		expect_last(&world, action);
		expect_last(&world, rows[i].reply);
		expect_last(&world, rows[i].dsn);
		expect_last(&world, "\"relay\":{\"key_id\":\"abc\",\"key_name\":\"postfix\",\"identity\":\"alice@contoso.com\"");
		free(action);
	}
	assert_int_equal(world.w.broker->stats.relay_accepted, 1);
	assert_int_equal(world.w.broker->stats.relay_deferred, 2);
	assert_int_equal(world.w.broker->stats.relay_rejected, 2);
	assert_int_equal(world_count(world.w.sinks.events, "modernauth_relay_finished"), 5);
	close_world(&world, key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_key_verifies_and_the_application_gives),
		cmocka_unit_test(a_shared_mailbox_by_the_enrolment_of_another),
		cmocka_unit_test(a_key_is_never_sent_to_entra_as_a_password),
		cmocka_unit_test(without_the_right_key_nothing_is_asked_or_told),
		cmocka_unit_test(a_key_for_others_and_one_that_has_ended_are_named),
		cmocka_unit_test(rules_are_asked_as_for_a_login),
		cmocka_unit_test(nobody_else_is_given_a_token_by_a_key),
		cmocka_unit_test(without_the_store_there_are_no_keys),
		cmocka_unit_test(a_successor_lets_it_wait_for_the_store),
		cmocka_unit_test(what_is_not_on_record_is_not_given),
		cmocka_unit_test(it_is_counted_apart),
		cmocka_unit_test(a_token_that_lives_too_short_is_fetched_anew),
		cmocka_unit_test(where_entra_gives_short_ones_not_each_request_fetches),
		cmocka_unit_test(what_is_asked_for_is_cut_to_what_tokens_live),
		cmocka_unit_test(an_outage_gives_no_token_that_lives_too_short),
		cmocka_unit_test(a_refused_token_is_fetched_anew_once_a_minute_at_most),
		cmocka_unit_test(an_old_refusal_says_nothing_of_todays_token),
		cmocka_unit_test(an_accepted_mail_begins_the_count_anew),
		cmocka_unit_test(one_mailbox_costs_the_tenants_token_once_a_minute),
		cmocka_unit_test(outcomes_are_recorded_told_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
