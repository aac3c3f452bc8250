/* SPDX-License-Identifier: MIT */
/* A user who is not enrolled is told how, in the refusal of his login; and what becomes of the password he typed. */
#include "vault_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TYPED "Sommer2026"
#define OTHER "Winter2026"
#define CODE "To connect this mailbox open https://microsoft.com/devicelogin and enter USER-"

/* A vault and a rule that lets everybody enrol himself. */
static void begin(struct vault_world *world)
{
	vault_world_begin(world);
	vault_world_grants(world->w.tenant, "E");
	vault_world_rule(world)->self_service = true;
	vault_world_open(world);
	world_secret(&world->w, "DEVICE-1");
}

static void start_from(struct vault_world *world, const char *user, const char *password, const char *ip,
		       struct outcome *outcome)
{
	struct mauth_attempt attempt = { .service = MAUTH_SERVICE_IMAP, .mechanism = "PLAIN", .client_ip = ip };

	world_start_as(&world->w, user, password, &attempt, outcome);
	world_turn(&world->w);
}

/* A login for which a code is asked for, and shown. */
static struct outcome show_code(struct vault_world *world, const char *password, const char *ip, unsigned int number)
{
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	start_from(world, ALICE, password, ip, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_string_equal(fake_http_url(world->w.http), world->w.tenant->device_code_url);
	assert_null(strstr(fake_http_form(world->w.http), password));
	fake_http_device_code(world->w.http, number);
	world_turn(&world->w);
	world_ended(&outcome, MAUTH_INTERACTION);
	return outcome;
}

/* Somebody enters the code: the next time Entra is asked it says so. */
static void sign_in(struct vault_world *world, const char *upn)
{
	fake_loop_run(world->w.loop, 5500);
	assert_int_equal(fake_http_open(world->w.http), 1);
	assert_non_null(strstr(fake_http_form(world->w.http), "device_code=DEVICE-"));
	world_refreshed(world, upn, "oid-1", "refresh-token-1");
	world_turn(&world->w);
}

static struct outcome refused(struct vault_world *world, const char *password, enum mauth_status status)
{
	struct outcome outcome = world_try(world, ALICE, password, false);

	world_ended(&outcome, status);
	assert_int_equal(fake_http_open(world->w.http), 0);
	return outcome;
}

/* A login with the token of the enrolment. */
static void works(struct vault_world *world, const char *password)
{
	struct outcome *outcome = world_ask(world, ALICE, password, false);

	assert_non_null(strstr(fake_http_form(world->w.http), "grant_type=refresh_token"));
	assert_null(strstr(fake_http_form(world->w.http), password));
	fake_http_token(world->w.http, ALICE, 1);
	world_turn(&world->w);
	world_ended(outcome, MAUTH_OK);
	assert_int_equal(outcome->verified_by, MAUTH_VERIFIED_DEVICE);
	fake_loop_run(world->w.loop, 2000);
}

/* -- the first login ---------------------------------------------------------------------------------------- */

static void the_first_login_is_told_where_to_enter_which_code(void **state)
{
	struct vault_world world;
	struct outcome outcome;

	begin(&world);
	outcome = show_code(&world, TYPED, "192.0.2.7", 1);
	assert_string_equal(outcome.error.tell, CODE "1");
	assert_false(outcome.error.tell_is_secret);
	assert_non_null(strstr(world.w.sinks.records, "self-service"));
	vault_world_end(&world);
}

static void who_has_signed_in_logs_in_with_the_password_he_typed(void **state)
{
	struct vault_world world;

	begin(&world);
	show_code(&world, TYPED, "192.0.2.7", 1);
	sign_in(&world, ALICE);
	works(&world, TYPED);
	refused(&world, OTHER, MAUTH_BAD_CREDENTIALS);
	vault_world_restart(&world);
	works(&world, TYPED);
	refused(&world, OTHER, MAUTH_BAD_CREDENTIALS);
	assert_int_equal(fake_store_count(world.store, MAUTH_PENDING_KIND), 0);
	vault_world_end(&world);
}

static void there_is_one_code_per_user_and_address(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 };

	begin(&world);
	show_code(&world, TYPED, "192.0.2.7", 1);
	start_from(&world, ALICE, TYPED, "192.0.2.7", &outcome);
	world_ended(&outcome, MAUTH_INTERACTION);
	assert_string_equal(outcome.error.tell, CODE "1");
	outcome = show_code(&world, TYPED, "192.0.2.8", 2);
	assert_string_equal(outcome.error.tell, CODE "2");
	assert_int_equal(mauth_enrols_count(mauth_broker_enrols(world.w.broker)), 2);
	vault_world_end(&world);
}

static void logins_that_come_together_share_the_code(void **state)
{
	struct vault_world world;
	struct outcome outcomes[5] = { { 0 } };

	begin(&world);
	for (size_t i = 0; i < 5; i++)
		world_start_verified(&world, ALICE, TYPED, false, &outcomes[i]);
	world_turn(&world.w);
	assert_int_equal(fake_http_open(world.w.http), 1);
	mauth_login_cancel(&outcomes[2].login);
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	for (size_t i = 0; i < 5; i++) {
		if (i != 2)
			assert_string_equal(outcomes[i].error.tell, CODE "1");
		assert_int_equal(outcomes[i].calls, i != 2);
	}
	vault_world_end(&world);
}

static void another_password_does_not_join_the_first_ones_code(void **state)
{
	struct vault_world world;
	struct outcome outcome;

	begin(&world);
	show_code(&world, TYPED, "192.0.2.7", 1);
	outcome = refused(&world, OTHER, MAUTH_INTERACTION);
	assert_null(strstr(outcome.error.tell, "USER-1"));
	assert_non_null(strstr(outcome.error.tell, "from another login"));
	/* Neither after a restart. */
	vault_world_restart(&world);
	refused(&world, OTHER, MAUTH_INTERACTION);
	outcome = refused(&world, TYPED, MAUTH_INTERACTION);
	assert_string_equal(outcome.error.tell, CODE "1");
	sign_in(&world, ALICE);
	refused(&world, OTHER, MAUTH_BAD_CREDENTIALS);
	works(&world, TYPED);
	vault_world_end(&world);
}

static void only_so_many_codes_are_shown_within_an_hour(void **state)
{
	struct vault_world world;

	begin(&world);
	world.w.config->self_service_per_hour = 2;
	show_code(&world, TYPED, "192.0.2.1", 1);
	show_code(&world, TYPED, "192.0.2.2", 2);
	refused(&world, TYPED, MAUTH_TEMPORARY);
	fake_loop_jump(world.w.loop, 3600);
	show_code(&world, TYPED, "192.0.2.3", 3);
	vault_world_end(&world);
}

static void whoever_somebody_else_signs_in_as_is_not_enrolled(void **state)
{
	struct vault_world world;

	begin(&world);
	show_code(&world, TYPED, "192.0.2.7", 1);
	sign_in(&world, BOB);
	assert_null(world_enrolment(&world, ALICE));
	assert_null(world_enrolment(&world, BOB));
	assert_false(mauth_devices_has(mauth_vault_devices(world.vault), CONTOSO, ALICE));
	assert_int_equal(world_count(world.w.sinks.records, "enrolment-finished"), 1);
	vault_world_end(&world);
}

/* -- who is told nothing ------------------------------------------------------------------------------------ */

static void without_a_rule_nobody_is_told_anything(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 };

	begin(&world);
	start_from(&world, ALICE, TYPED, NULL, &outcome);
	world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
	world.w.config->rules[0]->self_service = false;
	refused(&world, TYPED, MAUTH_BAD_CREDENTIALS);
	world.w.config->rules[0]->self_service = true;
	vault_world_grants(world.w.tenant, "A");
	refused(&world, TYPED, MAUTH_BAD_CREDENTIALS);
	vault_world_end(&world);
}

static void who_has_device_passwords_or_is_enrolled_has_typed_a_wrong_one(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 };

	begin(&world);
	free(world_device(&world, ALICE, "Ricoh"));
	outcome = refused(&world, TYPED, MAUTH_BAD_CREDENTIALS);
	assert_string_equal(outcome.error.tell, "");
	world_device_remove(&world, ALICE, "Ricoh");
	world_enrol(&world, ALICE, "refresh-token-1");
	refused(&world, TYPED, MAUTH_BAD_CREDENTIALS);
	vault_world_end(&world);
}

static void a_device_whose_enrolment_is_dead_is_told_a_code_and_keeps_its_password(void **state)
{
	struct vault_world world;
	struct mauth_error error;
	struct outcome outcome = { 0 };
	char *device;

	begin(&world);
	device = world_device(&world, ALICE, "Ricoh");
	world_enrol(&world, ALICE, "refresh-token-0");
	mauth_fail(&error, MAUTH_INTERACTION, 50173, "revoked");
	mauth_enrolments_refusal(mauth_vault_enrolments(world.vault), CONTOSO, ALICE,
				 world_enrolment(&world, ALICE)->generation, &error, 50173);
	start_from(&world, ALICE, device, "192.0.2.7", &outcome);
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_INTERACTION);
	assert_string_equal(outcome.error.tell, CODE "1");
	sign_in(&world, ALICE);
	assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 1);
	works(&world, device);
	free(device);
	vault_world_end(&world);
}

static void whom_dovecot_verifies_needs_no_device_password(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	begin(&world);
	outcome = world_ask(&world, ALICE, TYPED, true);
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_INTERACTION);
	sign_in(&world, ALICE);
	assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 0);
	refused(&world, TYPED, MAUTH_BAD_CREDENTIALS);
	outcome = world_ask(&world, ALICE, TYPED, true);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	vault_world_end(&world);
}

static void the_mailbox_that_was_asked_for_is_not_what_the_login_opens_from_now_on(void **state)
{
	struct vault_world world;
	struct mauth_rule *rule;
	struct mauth_mailbox where;
	struct outcome outcome = { 0 };

	begin(&world);
	rule = world.w.config->rules[0];
	rule->mailboxes = mauth_new_array(2, sizeof(*rule->mailboxes));
	rule->mailboxes[0] = mauth_strdup("shared@*");
	start_from(&world, "alice\\shared@contoso.com", TYPED, "192.0.2.7", &outcome);
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_INTERACTION);
	sign_in(&world, ALICE);
	assert_int_equal(mauth_broker_resolve(world.w.broker, ALICE, &where, NULL), MAUTH_OK);
	assert_string_equal(where.mailbox, ALICE);
	vault_world_end(&world);
}

/* -- going wrong, going away -------------------------------------------------------------------------------- */

static void what_fails_before_the_code_is_said(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 };

	begin(&world);
	start_from(&world, ALICE, TYPED, "192.0.2.7", &outcome);
	fake_http_fail(world.w.http, MAUTH_TEMPORARY);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_TEMPORARY);
	start_from(&world, ALICE, TYPED, "192.0.2.7", &outcome);
	fake_http_aadsts(world.w.http, 401, "invalid_client", 7000218);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_CONFIG);
	start_from(&world, ALICE, TYPED, "192.0.2.7", &outcome);
	fake_store_fail(world.store, "disk full");
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_TEMPORARY);
	fake_store_fail(world.store, NULL);
	assert_int_equal(mauth_enrols_count(mauth_broker_enrols(world.w.broker)), 0);
	show_code(&world, OTHER, "192.0.2.7", 1);
	vault_world_end(&world);
}

/* Lets a first login go to one of its steps. */
static void go_to(struct vault_world *world, unsigned int step, struct outcome *outcome)
{
	fake_worker_hold(world->worker, step == 1);
	fake_store_hold(world->store, step == 3);
	world_start_verified(world, ALICE, TYPED, false, outcome);
	if (step > 0)
		world_turn(&world->w);
	if (step > 2)
		fake_http_device_code(world->w.http, 1);
}

static void let_go(struct vault_world *world)
{
	fake_worker_hold(world->worker, false);
	fake_store_hold(world->store, false);
	world_turn(&world->w);
	if (fake_http_open(world->w.http) > 0)
		fake_http_device_code(world->w.http, 1);
	world_turn(&world->w);
}

static void a_client_may_go_away_at_each_step(void **state)
{
	for (unsigned int step = 0; step < 5; step++) {
		struct vault_world world;
		struct outcome outcome = { 0 };

		begin(&world);
		go_to(&world, step, &outcome);
		mauth_login_cancel(&outcome.login);
		let_go(&world);
		assert_int_equal(outcome.calls, 0);
		/* It goes on without him, but for the first step, in which nothing has begun. */
		assert_int_equal(mauth_enrols_count(mauth_broker_enrols(world.w.broker)), step > 0);
		if (step > 0) {
			outcome = refused(&world, TYPED, MAUTH_INTERACTION);
			assert_string_equal(outcome.error.tell, CODE "1");
		}
		vault_world_end(&world);
	}
}

static void a_deadline_at_each_step_ends_the_login_only(void **state)
{
	for (unsigned int step = 1; step < 4; step++) {
		struct vault_world world;
		struct outcome outcome = { 0 };

		begin(&world);
		go_to(&world, step, &outcome);
		fake_loop_run(world.w.loop, 20000);
		world_ended(&outcome, MAUTH_TIMEOUT);
		let_go(&world);
		outcome = refused(&world, TYPED, MAUTH_INTERACTION);
		assert_string_equal(outcome.error.tell, CODE "1");
		vault_world_end(&world);
	}
}

static void the_store_may_close_at_each_step(void **state)
{
	for (unsigned int step = 1; step < 4; step++) {
		struct vault_world world;
		struct outcome outcome = { 0 };

		begin(&world);
		go_to(&world, step, &outcome);
		vault_world_close(&world);
		world_turn(&world.w);
		world_ended(&outcome, MAUTH_TEMPORARY);
		assert_int_equal(fake_http_open(world.w.http), 0);
		assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
		/* What was on disk goes on. */
		assert_int_equal(mauth_enrols_count(mauth_broker_enrols(world.w.broker)), step == 3);
		vault_world_end(&world);
	}
}

/* -- we choose the password --------------------------------------------------------------------------------- */

static void begin_generated(struct vault_world *world)
{
	begin(world);
	world->w.config->self_service_generated = true;
	show_code(world, TYPED, "192.0.2.7", 1);
	sign_in(world, ALICE);
}

static char *told(struct vault_world *world, const struct outcome *outcome)
{
	static const char text[] = "Connected. The password of this mailbox in mail programs is now: ";
	char *password;

	world_ended(outcome, MAUTH_INTERACTION);
	assert_true(outcome->error.tell_is_secret);
	assert_memory_equal(outcome->error.tell, text, strlen(text));
	password = mauth_strdup(outcome->error.tell + strlen(text));
	assert_int_equal(strlen(password), 20);
	world_secret(&world->w, password);
	return password;
}

static void a_generated_password_is_told_once_and_the_typed_one_is_dead_then(void **state)
{
	struct vault_world world;
	struct outcome outcome;
	char *password;

	begin_generated(&world);
	outcome = world_try(&world, ALICE, TYPED, false);
	password = told(&world, &outcome);
	works(&world, password);
	outcome = refused(&world, TYPED, MAUTH_BAD_CREDENTIALS);
	assert_string_equal(outcome.error.tell, "");
	vault_world_restart(&world);
	works(&world, password);
	refused(&world, TYPED, MAUTH_BAD_CREDENTIALS);
	free(password);
	vault_world_end(&world);
}

static void who_was_not_told_can_ask_again(void **state)
{
	static const char *const ways[] = { "went away", "deadline", "store failed", "store closed" };

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct vault_world world;
		struct outcome outcome = { 0 };
		char *password;

		begin_generated(&world);
		fake_store_hold(world.store, true);
		world_start_verified(&world, ALICE, TYPED, false, &outcome);
		world_turn(&world.w);
		assert_int_equal(outcome.calls, 0);
		if (i == 0)
			mauth_login_cancel(&outcome.login);
		if (i == 1)
			fake_loop_run(world.w.loop, 20000);
		fake_store_fail(world.store, i == 2 ? "disk full" : NULL);
		if (i == 3) {
			vault_world_close(&world);
			world_turn(&world.w);
			assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
		}
		fake_store_hold(world.store, false);
		world_turn(&world.w);
		fake_store_fail(world.store, NULL);
		assert_int_equal(outcome.calls, i > 0);
		assert_string_equal(outcome.error.tell, "");
		outcome = world_try(&world, ALICE, TYPED, false);
		if (outcome.status != MAUTH_INTERACTION)
			fail_msg("%s: %s", ways[i], outcome.error.text);
		password = told(&world, &outcome);
		/* Of those made before none is left. */
		assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 1);
		works(&world, password);
		free(password);
		vault_world_end(&world);
	}
}

static void of_two_who_ask_at_once_one_is_told(void **state)
{
	struct vault_world world;
	struct outcome logins[2] = { { 0 } };
	char *password;
	size_t happy;

	begin_generated(&world);
	world_start_verified(&world, ALICE, TYPED, false, &logins[0]);
	world_start_verified(&world, ALICE, TYPED, false, &logins[1]);
	world_turn(&world.w);
	happy = logins[1].status == MAUTH_INTERACTION;
	password = told(&world, &logins[happy]);
	assert_int_equal(logins[1 - happy].calls, 1);
	assert_string_equal(logins[1 - happy].error.tell, "");
	works(&world, password);
	free(password);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_login_is_told_where_to_enter_which_code),
		cmocka_unit_test(who_has_signed_in_logs_in_with_the_password_he_typed),
		cmocka_unit_test(there_is_one_code_per_user_and_address),
		cmocka_unit_test(logins_that_come_together_share_the_code),
		cmocka_unit_test(another_password_does_not_join_the_first_ones_code),
		cmocka_unit_test(only_so_many_codes_are_shown_within_an_hour),
		cmocka_unit_test(whoever_somebody_else_signs_in_as_is_not_enrolled),
		cmocka_unit_test(without_a_rule_nobody_is_told_anything),
		cmocka_unit_test(who_has_device_passwords_or_is_enrolled_has_typed_a_wrong_one),
		cmocka_unit_test(a_device_whose_enrolment_is_dead_is_told_a_code_and_keeps_its_password),
		cmocka_unit_test(whom_dovecot_verifies_needs_no_device_password),
		cmocka_unit_test(the_mailbox_that_was_asked_for_is_not_what_the_login_opens_from_now_on),
		cmocka_unit_test(what_fails_before_the_code_is_said),
		cmocka_unit_test(a_client_may_go_away_at_each_step),
		cmocka_unit_test(a_deadline_at_each_step_ends_the_login_only),
		cmocka_unit_test(the_store_may_close_at_each_step),
		cmocka_unit_test(a_generated_password_is_told_once_and_the_typed_one_is_dead_then),
		cmocka_unit_test(who_was_not_told_can_ask_again),
		cmocka_unit_test(of_two_who_ask_at_once_one_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
