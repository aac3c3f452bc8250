/* SPDX-License-Identifier: MIT */
/* Logins to other mailboxes than their own, and what the store means to a login: missing, coming, going, failing. */
#include "vault_world.h"

#include "core/mem.h"
#include "core/request-private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A MAUTH_GRANT_APP
#define E MAUTH_GRANT_ENROLLED
#define WRONG "wr0ng"
#define TOKEN "t0ken-of-before"
#define CAROL "carol@contoso.com"

/* -- other mailboxes ---------------------------------------------------------------------------------------- */

static void nobody_waits(const struct mauth_error *error, void *context)
{
	(void)error;
	(void)context;
}

static char **one_pattern(const char *pattern)
{
	char **patterns = mauth_new_array(2, sizeof(*patterns));

	patterns[0] = mauth_strdup(pattern);
	return patterns;
}

static void another_mailbox_is_opened_only_where_a_rule_allows_it(void **state)
{
	static const struct {
		const char *login, *mailbox;
		enum mauth_status status;
	} rows[] = {
		{ "alice\\shared@contoso.com", "shared@contoso.com", MAUTH_OK },
		{ "alice@contoso.com\\shared", "shared@contoso.com", MAUTH_OK },
		{ "alice\\board@contoso.com", "", MAUTH_POLICY },
		{ "alice\\alice@contoso.com", ALICE, MAUTH_OK },
		{ ALICE, ALICE, MAUTH_OK },
		{ "alice@contoso.com\\shared@fabrikam.com", "", MAUTH_NOT_OURS },
	};
	struct vault_world world;

	vault_world_begin(&world);
	test_config_add(world.w.config, "fabrikam", "fabrikam.com");
	vault_world_grants(world.w.tenant, "E");
	vault_world_rule(&world)->mailboxes = one_pattern("shared@*");
	vault_world_open(&world);
	world_enrol(&world, ALICE, "refresh-token-1");
	world_cache(&world, E, TOKEN);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome outcome = world_try(&world, rows[i].login, GOOD, true);

		world_ended(&outcome, rows[i].status);
		assert_string_equal(outcome.mailbox, rows[i].mailbox);
	}
	vault_world_end(&world);
}

static void a_link_leads_to_the_account_that_enrolled(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "E");
	world_enrol(&world, ALICE, "refresh-token-1");
	mauth_vault_set_link(world.vault, CONTOSO, BOB, ALICE, "shared@contoso.com");
	outcome = world_ask(&world, BOB, GOOD, true);
	assert_non_null(strstr(fake_http_form(world.w.http), "refresh_token=refresh-token-1"));
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	assert_string_equal(outcome->mailbox, "shared@contoso.com");
	/* Somebody else's link says nothing about him. */
	*outcome = world_try(&world, CAROL, GOOD, true);
	world_ended(outcome, MAUTH_INTERACTION);
	vault_world_end(&world);
}

static void a_map_of_the_configuration_comes_before_a_link(void **state)
{
	struct vault_world world;
	struct mauth_config *config;
	struct outcome outcome;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "E");
	config = world.w.config;
	config->maps = mauth_new_array(1, sizeof(*config->maps));
	config->maps[0] = (struct mauth_map){
		.name = mauth_strdup("scanners"), .logins = one_pattern("bob@*"), .account = mauth_strdup(ALICE),
	};
	config->maps_count = 1;
	vault_world_open(&world);
	world_enrol(&world, ALICE, "refresh-token-1");
	mauth_vault_set_link(world.vault, CONTOSO, BOB, CAROL, "shared@contoso.com");
	world_cache(&world, E, TOKEN);
	outcome = world_try(&world, BOB, GOOD, true);
	world_ended(&outcome, MAUTH_OK);
	assert_string_equal(outcome.token, TOKEN);
	assert_string_equal(outcome.mailbox, BOB);
	vault_world_end(&world);
}

static void a_device_password_is_of_the_login_and_not_of_the_account(void **state)
{
	struct vault_world world;
	struct outcome outcome;
	char *device;

	vault_world_open_with(&world, "E");
	world_enrol(&world, ALICE, "refresh-token-1");
	mauth_vault_set_link(world.vault, CONTOSO, BOB, ALICE, BOB);
	world_cache(&world, E, TOKEN);
	device = world_device(&world, BOB, "Ricoh");
	outcome = world_try(&world, BOB, device, false);
	world_ended(&outcome, MAUTH_OK);
	world_at_once(&world, device, false, MAUTH_BAD_CREDENTIALS);
	free(device);
	vault_world_end(&world);
}

/* -- without the store -------------------------------------------------------------------------------------- */

static void without_the_store_only_a_bound_token_is_given(void **state)
{
	struct mauth_error error;
	struct vault_world world;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "EPA");
	mauth_fail(&error, MAUTH_CONFIG, 0, "modernauth.db is damaged");
	vault_world_open_without(&world, &error);
	for (enum mauth_grant_type g = 0; g < MAUTH_GRANT_COUNT; g++)
		world_cache(&world, g, TOKEN);
	/* It might be a device password: Entra is not asked. */
	world_at_once(&world, WRONG, false, MAUTH_CONFIG);
	assert_true(mauth_login_is_outage(world_at_once(&world, "K7QM-3XPD-9RTA-VW2HE", false, MAUTH_CONFIG).status));
	world_at_once(&world, GOOD, false, MAUTH_OK);
	vault_world_end(&world);
}

static void without_the_store_the_application_serves_whom_dovecot_has_verified(void **state)
{
	struct vault_world world;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "EA");
	vault_world_open_without(&world, NULL);
	world_cache(&world, A, TOKEN);
	world_at_once(&world, GOOD, true, MAUTH_OK);
	assert_non_null(strstr(world.w.sinks.records, "the store is not open"));
	vault_world_end(&world);
}

static void without_the_store_nobody_knows_whether_a_verified_login_is_enrolled(void **state)
{
	struct mauth_error error;
	struct vault_world world;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "E");
	vault_world_rule(&world)->self_service = true;
	mauth_fail(&error, MAUTH_TEMPORARY, 0, "modernauth.db is locked");
	vault_world_open_without(&world, &error);
	assert_string_equal(world_at_once(&world, GOOD, true, MAUTH_TEMPORARY).error.text, "modernauth.db is locked");
	vault_world_end(&world);
}

static void a_token_that_comes_after_the_revocation_is_nobodys(void **state)
{
	for (int written = 0; written < 2; written++) {
		struct vault_world world;
		struct outcome *outcome;

		vault_world_open_with(&world, "EA");
		world_enrol(&world, ALICE, "refresh-token-1");
		outcome = world_ask(&world, ALICE, GOOD, true);
		fake_store_hold(world.store, true);
		if (written)
			world_refreshed(&world, ALICE, "oid-1", "refresh-token-2");
		mauth_enrolments_remove(mauth_vault_enrolments(world.vault), CONTOSO, ALICE, nobody_waits, NULL, NULL);
		if (!written)
			world_refreshed(&world, ALICE, "oid-1", "refresh-token-2");
		fake_store_hold(world.store, false);
		world_turn(&world.w);
		world_ended(outcome, MAUTH_INTERACTION);
		assert_non_null(strstr(outcome->error.text, "revoked"));
		assert_null(mauth_cache_find(mauth_broker_cache(world.w.broker), world.w.tenant->keys[E], ALICE));
		vault_world_end(&world);
	}
}

static void a_successor_waits_for_the_store_and_goes_on(void **state)
{
	struct vault_world world;
	struct outcome device_login = { 0 }, verified = { 0 }, gone = { 0 };
	char *device;

	vault_world_open_with(&world, "E");
	device = world_device(&world, ALICE, "Ricoh");
	world_enrol(&world, ALICE, "refresh-token-1");
	vault_world_close(&world);
	mauth_broker_set_vault(world.w.broker, NULL, NULL);
	mauth_broker_pause(world.w.broker, true);
	world_start_verified(&world, ALICE, device, false, &device_login);
	world_start_verified(&world, ALICE, GOOD, true, &verified);
	world_start_verified(&world, ALICE, GOOD, true, &gone);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(device_login.calls + verified.calls, 0);
	mauth_login_cancel(&gone.login);
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(fake_http_open(world.w.http), 0);
	mauth_broker_pause(world.w.broker, false);
	world_turn(&world.w);
	assert_int_equal(fake_http_open(world.w.http), 1);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	world_ended(&device_login, MAUTH_OK);
	world_ended(&verified, MAUTH_OK);
	assert_int_equal(gone.calls, 0);
	free(device);
	vault_world_end(&world);
}

static void the_store_may_close_at_any_moment(void **state)
{
	struct vault_world world;
	struct outcome scrypt = { 0 }, flying = { 0 };

	vault_world_open_with(&world, "EA");
	world_enrol(&world, ALICE, "refresh-token-1");
	world_chosen_device(&world, BOB, "self-service from 192.0.2.7", "Sommer2026");
	fake_worker_hold(world.worker, true);
	world_start_verified(&world, BOB, "Sommer2026", false, &scrypt);
	world_start_verified(&world, ALICE, GOOD, true, &flying);
	world_turn(&world.w);
	vault_world_close(&world);
	world_turn(&world.w);
	world_ended(&scrypt, MAUTH_TEMPORARY);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	/* The enrolment cannot be asked any more: it is the application's turn. */
	assert_int_equal(fake_http_open(world.w.http), 1);
	fake_http_token(world.w.http, "app", 3600);
	world_turn(&world.w);
	world_ended(&flying, MAUTH_OK);
	vault_world_end(&world);
}

static void a_login_is_answered_when_the_new_refresh_token_is_on_disk(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "E");
	world_enrol(&world, ALICE, "refresh-token-1");
	outcome = world_ask(&world, ALICE, GOOD, true);
	fake_store_hold(world.store, true);
	world_refreshed(&world, ALICE, "oid-1", "refresh-token-2");
	world_turn(&world.w);
	assert_int_equal(outcome->calls, 0);
	fake_store_hold(world.store, false);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	assert_string_equal(world_refresh_token(&world, ALICE), "refresh-token-2");
	vault_world_end(&world);
}

static void a_store_that_fails_is_a_temporary_failure(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "E");
	world_enrol(&world, ALICE, "refresh-token-1");
	outcome = world_ask(&world, ALICE, GOOD, true);
	fake_store_fail(world.store, "disk full");
	world_refreshed(&world, ALICE, "oid-1", "refresh-token-2");
	world_turn(&world.w);
	world_ended(outcome, MAUTH_TEMPORARY);
	fake_store_fail(world.store, NULL);
	/* The newer one is not forgotten, and goes with the next chance. */
	world_ask(&world, ALICE, GOOD, true);
	assert_non_null(strstr(fake_http_form(world.w.http), "refresh_token=refresh-token-2"));
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	vault_world_restart(&world);
	assert_string_equal(world_refresh_token(&world, ALICE), "refresh-token-2");
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_mailbox_is_opened_only_where_a_rule_allows_it),
		cmocka_unit_test(a_link_leads_to_the_account_that_enrolled),
		cmocka_unit_test(a_map_of_the_configuration_comes_before_a_link),
		cmocka_unit_test(a_device_password_is_of_the_login_and_not_of_the_account),
		cmocka_unit_test(without_the_store_only_a_bound_token_is_given),
		cmocka_unit_test(without_the_store_the_application_serves_whom_dovecot_has_verified),
		cmocka_unit_test(without_the_store_nobody_knows_whether_a_verified_login_is_enrolled),
		cmocka_unit_test(a_token_that_comes_after_the_revocation_is_nobodys),
		cmocka_unit_test(a_successor_waits_for_the_store_and_goes_on),
		cmocka_unit_test(the_store_may_close_at_any_moment),
		cmocka_unit_test(a_login_is_answered_when_the_new_refresh_token_is_on_disk),
		cmocka_unit_test(a_store_that_fails_is_a_temporary_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
