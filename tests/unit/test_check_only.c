/* SPDX-License-Identifier: MIT */
/* Who asks opens no session: Postfix's smtpd, doveadm auth test. The answer is whether the password is right, and never a token. */
#include "vault_world.h"

#include "core/request-private.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void start_check(struct vault_world *world, const char *password, bool by_dovecot, struct outcome *outcome)
{
	struct mauth_attempt attempt = {
		.service = MAUTH_SERVICE_SUBMISSION, .mechanism = "LOGIN", .client_ip = "192.0.2.7", .session = "session-1",
		.check_only = true, .verified_by_dovecot = by_dovecot,
	};

	memset(outcome, 0, sizeof(*outcome));
	world_start_as(&world->w, ALICE, password, &attempt, outcome);
	world_turn(&world->w);
}

static void must_be_right(const struct outcome *outcome)
{
	world_ended(outcome, MAUTH_OK);
	assert_true(outcome->checked);
	assert_string_equal(outcome->token, "");
}

/* Without a word to Entra. */
static void check_at_once(struct vault_world *world, const char *password, bool by_dovecot, enum mauth_status status)
{
	unsigned int started = fake_http_started(world->w.http);
	struct outcome outcome;

	start_check(world, password, by_dovecot, &outcome);
	world_ended(&outcome, status);
	if (status == MAUTH_OK)
		must_be_right(&outcome);
	assert_int_equal(fake_http_started(world->w.http), started);
}

static void expect_record(const struct vault_world *world, const char *text)
{
	const char *records = world->w.sinks.records, *last = strrchr(records, '@');

	if (strstr(last, text) == NULL)
		fail_msg("%s is not in %s", text, last);
	assert_null(strstr(last, "\"upstream\""));
	assert_null(strstr(last, "\"token\""));
}

static void what_we_verify_ourselves_needs_no_entra(void **state)
{
	struct vault_world world;
	char *device;

	vault_world_open_with(&world, "EAP");
	world_enrol(&world, ALICE, "refresh-token-1");
	device = world_device(&world, ALICE, "scanner");
	check_at_once(&world, device, false, MAUTH_OK);
	expect_record(&world, "\"decision\":\"verify\",\"rule\":\"tenant\",\"verified_by\":\"device\"");
	expect_record(&world, "\"device\":{");
	check_at_once(&world, "whatever it was", true, MAUTH_OK);
	expect_record(&world, "\"verified_by\":\"dovecot\"");
	assert_int_equal(world.w.broker->stats.verified, 2);
	assert_int_equal(world.w.broker->stats.granted_cached + world.w.broker->stats.granted_fetched, 0);
	assert_non_null(strstr(world.w.sinks.events, "decision=verify"));
	free(device);
	vault_world_end(&world);
}

static void a_wrong_device_password_is_wrong(void **state)
{
	struct vault_world world;
	char *device;

	vault_world_open_with(&world, "EA");
	device = world_device(&world, ALICE, "scanner");
	device[0] = device[0] == '2' ? '3' : '2';
	check_at_once(&world, device, false, MAUTH_BAD_CREDENTIALS);
	expect_record(&world, "\"decision\":\"refuse\"");
	free(device);
	vault_world_end(&world);
}

/* Nobody here has ever heard of the user: that the password is right is no reason to let somebody in who has no mailbox. */
static void without_a_way_to_a_token_nobody_is_let_in(void **state)
{
	struct vault_world world;
	char *device;

	vault_world_open_with(&world, "E");
	device = world_device(&world, ALICE, "scanner");
	check_at_once(&world, device, false, MAUTH_INTERACTION);
	free(device);
	vault_world_end(&world);
}

static void what_entra_verifies_is_asked_there_and_the_token_is_kept(void **state)
{
	struct vault_world world;
	struct outcome outcome;

	vault_world_open_with(&world, "P");
	start_check(&world, GOOD, false, &outcome);
	assert_int_equal(fake_http_open(world.w.http), 1);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	must_be_right(&outcome);
	expect_record(&world, "\"decision\":\"verify\",\"rule\":\"tenant\",\"verified_by\":\"entra\",\"grant\":\"password\"");
	check_at_once(&world, GOOD, false, MAUTH_OK);
	/* A login finds it. */
	outcome = world_at_once(&world, GOOD, false, MAUTH_OK);
	assert_true(outcome.cached);
	start_check(&world, "something else", false, &outcome);
	fake_http_aadsts(world.w.http, 400, "invalid_grant", 50126);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
	vault_world_end(&world);
}

/* An OK would let anybody in. */
static void what_only_exchange_can_verify_is_not_ours(void **state)
{
	struct vault_world world;

	vault_world_begin(&world);
	vault_world_rule(&world)->action = MAUTH_ACTION_BASIC;
	vault_world_open(&world);
	check_at_once(&world, GOOD, false, MAUTH_NOT_OURS);
	expect_record(&world, "\"decision\":\"basic\"");
	vault_world_end(&world);
}

static void what_is_not_on_record_is_not_right(void **state)
{
	struct vault_world world;
	char *device;

	vault_world_open_with(&world, "A");
	device = world_device(&world, ALICE, "scanner");
	world.w.sinks.audit_broken = true;
	check_at_once(&world, device, false, MAUTH_AUDIT);
	world.w.sinks.audit_broken = false;
	free(device);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_we_verify_ourselves_needs_no_entra),
		cmocka_unit_test(a_wrong_device_password_is_wrong),
		cmocka_unit_test(without_a_way_to_a_token_nobody_is_let_in),
		cmocka_unit_test(what_entra_verifies_is_asked_there_and_the_token_is_kept),
		cmocka_unit_test(what_only_exchange_can_verify_is_not_ours),
		cmocka_unit_test(what_is_not_on_record_is_not_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
