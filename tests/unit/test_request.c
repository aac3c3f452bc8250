/* SPDX-License-Identifier: MIT */
#include "broker_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- the way of a login -- */

static void entra_is_asked_as_it_wants_to_be_asked(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, "Alice@CONTOSO.com", "pass word&=%", &outcome);
	assert_int_equal(fake_http_started(w.http), 0);
	world_turn(&w);
	assert_string_equal(fake_http_url(w.http), "https://login.example/contoso.onmicrosoft.com/oauth2/v2.0/token");
	assert_string_equal(fake_http_form(w.http), "grant_type=password&client_id=9e5f94bc-e8a4-4e73-b8be-63364c29d753"
			    "&scope=https%3A%2F%2Foutlook.example%2FIMAP.AccessAsUser.All&username=alice%40contoso.com"
			    "&password=pass%20word%26%3D%25&client_secret=client-secret-value");
	assert_int_equal(strlen(fake_http_header(w.http, "client-request-id")), 36);
	assert_string_equal(fake_http_header(w.http, "return-client-request-id"), "true");
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	world_ended(&outcome, MAUTH_OK);
	world_end(&w);
}

static void a_grant_says_where_to_go_and_as_whom(void **state)
{
	static const struct {
		enum mauth_service service;
		const char *host;
		unsigned int port;
	} rows[] = {
		{ MAUTH_SERVICE_IMAP, "imap.outlook.example", 993 },
		{ MAUTH_SERVICE_POP3, "pop3.outlook.example", 995 },
		{ MAUTH_SERVICE_SUBMISSION, "submission.outlook.example", 587 },
	};
	struct world w;
	struct outcome first, outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	first = world_fetch(&w, ALICE, GOOD, 3600);
	assert_false(first.cached);
	assert_int_equal(first.expires_at, WORLD_WALL + 3600);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_attempt attempt = { .service = rows[i].service };

		world_start_as(&w, "ALICE@contoso.com", GOOD, &attempt, &outcome);
		world_turn(&w);
		world_ended(&outcome, MAUTH_OK);
		assert_true(outcome.cached);
		assert_string_equal(outcome.host, rows[i].host);
		assert_int_equal(outcome.port, rows[i].port);
		assert_string_equal(outcome.mailbox, ALICE);
		assert_string_equal(outcome.token, first.token);
		assert_string_equal(outcome.token_id, first.token_id);
	}
	assert_int_equal(fake_http_started(w.http), 1);
	world_end(&w);
}

static void who_is_not_ours_is_told_so_without_a_request(void **state)
{
	static const struct {
		const char *user, *password;
		enum mauth_status status;
	} rows[] = {
		{ "bob@example.org", GOOD, MAUTH_NOT_OURS },
		{ "bob", GOOD, MAUTH_NOT_OURS },
		{ "bob @contoso.com", GOOD, MAUTH_BAD_CREDENTIALS },
		{ "bob\n@contoso.com", GOOD, MAUTH_BAD_CREDENTIALS },
		{ "\xff@contoso.com", GOOD, MAUTH_BAD_CREDENTIALS },
		{ ALICE, "", MAUTH_BAD_CREDENTIALS },
	};
	struct world w;

	world_begin(&w);
	world_open(&w);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		world_expect(&w, rows[i].user, rows[i].password, rows[i].status);
	assert_int_equal(w.sinks.records_count, sizeof(rows) / sizeof(rows[0]));
	assert_true(mauth_is_utf8(w.sinks.events, strlen(w.sinks.events)));
	assert_int_equal(world_count(w.sinks.events, "\n"), sizeof(rows) / sizeof(rows[0]));
	world_end(&w);
}

static void a_password_that_is_too_long_is_not_sent(void **state)
{
	struct world w;
	char password[MAUTH_PASSWORD_MAX + 2];

	world_begin(&w);
	world_open(&w);
	memset(password, 'p', sizeof(password));
	password[MAUTH_PASSWORD_MAX + 1] = '\0';
	world_expect(&w, ALICE, password, MAUTH_BAD_CREDENTIALS);
	password[MAUTH_PASSWORD_MAX] = '\0';
	world_fetch(&w, ALICE, password, 3600);
	world_end(&w);
}

static void tenants_do_not_share_users(void **state)
{
	struct world w;
	struct mauth_tenant *other;

	world_begin(&w);
	other = test_config_add(w.config, "fabrikam", "fabrikam.com");
	/* Both domains make the same UPN. */
	other->upn_domain = mauth_strdup("contoso.com");
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	struct outcome outcome = world_login(&w, "alice@fabrikam.com", GOOD);

	assert_int_equal(outcome.calls, 0);
	assert_string_equal(fake_http_url(w.http), other->token_url);
	assert_non_null(strstr(fake_http_form(w.http), "username=alice%40contoso.com"));
	/* The attempt of world_login() must not be left open. */
	fake_loop_run(w.loop, 20000);
	fake_http_fail(w.http, MAUTH_TIMEOUT);
	world_turn(&w);
	assert_true(mauth_broker_serves(w.broker, "x@FABRIKAM.com"));
	assert_false(mauth_broker_serves(w.broker, "x@example.org"));
	world_end(&w);
}

/* -- audit -- */

static void the_record_is_there_before_the_answer(void **state)
{
	struct world w;
	struct outcome outcome;

	world_begin(&w);
	world_open(&w);
	outcome = world_fetch(&w, ALICE, GOOD, 3600);
	assert_int_equal(outcome.records, 1);
	outcome = world_login(&w, ALICE, GOOD);
	assert_int_equal(outcome.records, 2);
	outcome = world_refuse(&w, ALICE, "wr0ng", 50126);
	assert_int_equal(outcome.records, 3);
	outcome = world_login(&w, "bob@example.org", GOOD);
	assert_int_equal(outcome.records, 4);
	assert_int_equal(world_count(w.sinks.records, "\n"), 4);
	assert_int_equal(world_count(w.sinks.records, "\"session-1\""), 4);
	world_end(&w);
}

static void without_a_record_there_is_no_token(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	w.sinks.audit_broken = true;
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	world_ended(&outcome, MAUTH_AUDIT);
	assert_string_equal(outcome.error.text, "No space left on device");
	world_expect(&w, ALICE, GOOD, MAUTH_AUDIT);
	w.sinks.audit_broken = false;
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	assert_int_equal(w.sinks.records_count, 1);
	world_end(&w);
}

static void nor_is_a_password_judged_off_the_record(void **state)
{
	struct world w;
	struct outcome outcome;

	world_begin(&w);
	world_open(&w);
	w.sinks.audit_broken = true;
	outcome = world_refuse(&w, ALICE, "wr0ng", 50126);
	world_ended(&outcome, MAUTH_AUDIT);
	world_end(&w);
}

static void an_audit_that_is_not_required_stops_nobody(void **state)
{
	struct world w;
	struct outcome outcome;

	world_begin(&w);
	w.config->audit_required = false;
	world_open(&w);
	w.sinks.audit_broken = true;
	world_fetch(&w, ALICE, GOOD, 3600);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	outcome = world_refuse(&w, ALICE, "wr0ng", 50126);
	world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
	assert_int_equal(w.sinks.records_count, 0);
	world_end(&w);
}

/* -- deadlines, going away, pauses -- */

static void a_login_waits_no_longer_than_its_deadline(void **state)
{
	struct world w;
	struct outcome patient = { 0 }, hasty = { 0 };
	struct mauth_attempt attempt = { .service = MAUTH_SERVICE_IMAP, .timeout_msecs = 3000 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &patient);
	world_start_as(&w, ALICE, GOOD, &attempt, &hasty);
	fake_loop_run(w.loop, 2999);
	assert_int_equal(hasty.calls, 0);
	fake_loop_run(w.loop, 1);
	world_ended(&hasty, MAUTH_TIMEOUT);
	fake_loop_run(w.loop, 16999);
	assert_int_equal(patient.calls, 0);
	fake_loop_run(w.loop, 1);
	world_ended(&patient, MAUTH_TIMEOUT);
	/* What comes later is for the next one. */
	fake_http_token(w.http, ALICE, 3600);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	assert_int_equal(w.sinks.records_count, 3);
	world_end(&w);
}

static void nobody_lengthens_the_deadline(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };
	struct mauth_attempt attempt = { .service = MAUTH_SERVICE_IMAP, .timeout_msecs = 600000 };

	world_begin(&w);
	world_open(&w);
	world_start_as(&w, ALICE, GOOD, &attempt, &outcome);
	fake_loop_run(w.loop, 20000);
	world_ended(&outcome, MAUTH_TIMEOUT);
	fake_http_fail(w.http, MAUTH_TIMEOUT);
	world_end(&w);
}

static void a_deadline_begins_with_the_attempt(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	fake_loop_lag(w.loop, 5000);
	fake_loop_run(w.loop, 14999);
	assert_int_equal(outcome.calls, 0);
	fake_loop_run(w.loop, 1);
	world_ended(&outcome, MAUTH_TIMEOUT);
	fake_http_fail(w.http, MAUTH_TIMEOUT);
	world_end(&w);
}

static void an_answer_just_before_the_deadline_is_an_answer(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	fake_loop_run(w.loop, 19999);
	/* The loop is late: the deadline's timer fires before the turn of what is ready. */
	fake_loop_lag(w.loop, 5);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	world_ended(&outcome, MAUTH_OK);
	assert_int_equal(world_count(w.sinks.records, "timeout"), 0);
	world_end(&w);
}

static void who_goes_away_is_on_record_and_never_called(void **state)
{
	static const char *const stages[] = { "before the first turn", "while Entra is asked", "parked",
					      "with the answer at hand" };
	struct world w;

	world_begin(&w);
	world_open(&w);
	w.config->lockout_threshold = 1;
	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		struct outcome outcome = { 0 }, other = { 0 };
		unsigned int records = w.sinks.records_count;

		if (i == 2) {
			world_start(&w, ALICE, "an0ther", &other);
			world_turn(&w);
		}
		world_start(&w, ALICE, GOOD, &outcome);
		if (i > 0)
			world_turn(&w);
		if (i == 3)
			fake_http_token(w.http, ALICE, 3600);
		mauth_login_cancel(&outcome.login);
		assert_null(outcome.login);
		mauth_login_cancel(&outcome.login);
		assert_int_equal(w.sinks.records_count, records + 1);
		while (fake_http_open(w.http) > 0)
			fake_http_fail(w.http, MAUTH_TIMEOUT);
		world_turn(&w);
		if (outcome.calls != 0)
			fail_msg("called %s", stages[i]);
		assert_int_equal(world_count(w.sinks.records, "cancelled") > 0, 1);
	}
	/* The last one's token had arrived, and is for whoever comes next. */
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

static void a_flight_goes_on_without_who_began_it(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	mauth_login_cancel(&outcome.login);
	assert_int_equal(mauth_broker_flying(w.broker), 1);
	fake_http_token(w.http, ALICE, 3600);
	assert_int_equal(mauth_broker_flying(w.broker), 0);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

static void what_is_abandoned_leaves_no_record(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	mauth_login_abandon(&outcome.login);
	mauth_login_abandon(&outcome.login);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(w.sinks.records_count, 0);
	world_end(&w);
}

static void a_paused_broker_gives_what_it_has_and_keeps_the_others_waiting(void **state)
{
	struct world w;
	struct outcome waits = { 0 }, gone = { 0 }, hasty = { 0 };
	struct mauth_attempt attempt = { .service = MAUTH_SERVICE_IMAP, .timeout_msecs = 3000 };

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	mauth_broker_pause(w.broker, true);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_expect(&w, "x@example.org", GOOD, MAUTH_NOT_OURS);
	world_start(&w, "bob@contoso.com", GOOD, &waits);
	world_start(&w, "carol@contoso.com", GOOD, &gone);
	world_start_as(&w, "dave@contoso.com", GOOD, &attempt, &hasty);
	fake_loop_run(w.loop, 10000);
	assert_int_equal(waits.calls, 0);
	world_ended(&hasty, MAUTH_TIMEOUT);
	mauth_login_cancel(&gone.login);
	assert_int_equal(fake_http_open(w.http), 0);
	mauth_broker_pause(w.broker, false);
	world_turn(&w);
	assert_int_equal(fake_http_open(w.http), 1);
	/* The deadline is still that of the beginning. */
	fake_loop_run(w.loop, 9999);
	assert_int_equal(waits.calls, 0);
	fake_http_token(w.http, "bob@contoso.com", 3600);
	world_turn(&w);
	world_ended(&waits, MAUTH_OK);
	assert_int_equal(gone.calls, 0);
	world_end(&w);
}

static void what_flew_before_the_pause_lands_in_it_or_after(void **state)
{
	struct world w;
	struct outcome alice = { 0 }, bob = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &alice);
	world_start(&w, "bob@contoso.com", GOOD, &bob);
	world_turn(&w);
	mauth_broker_pause(w.broker, true);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	world_ended(&alice, MAUTH_OK);
	mauth_broker_pause(w.broker, false);
	world_turn(&w);
	assert_int_equal(fake_http_started(w.http), 2);
	fake_http_token(w.http, "bob@contoso.com", 3600);
	world_turn(&w);
	world_ended(&bob, MAUTH_OK);
	world_end(&w);
}

static void no_token_is_renewed_during_a_pause(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3200000);
	mauth_broker_pause(w.broker, true);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	mauth_broker_pause(w.broker, false);
	world_login(&w, ALICE, GOOD);
	assert_int_equal(fake_http_open(w.http), 1);
	fake_http_token(w.http, ALICE, 3600);
	world_end(&w);
}

/* -- callbacks that do things -- */

static void start_another(struct outcome *outcome)
{
	world_start(outcome->world, ALICE, GOOD, outcome->context);
}

static void a_callback_may_start_another_login(void **state)
{
	struct world w;
	struct outcome second = { 0 }, first = { .then = start_another, .context = &second };

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	world_start(&w, ALICE, GOOD, &first);
	world_turn(&w);
	world_ended(&first, MAUTH_OK);
	world_ended(&second, MAUTH_OK);
	world_end(&w);
}

static void cancel_others(struct outcome *outcome)
{
	struct outcome *others = outcome->context;

	for (size_t i = 0; i < 3; i++)
		mauth_login_cancel(&others[i].login);
}

static void a_callback_may_cancel_every_login_itself_included(void **state)
{
	struct world w;
	struct outcome all[3] = { { 0 } };

	world_begin(&w);
	world_open(&w);
	all[0].then = all[1].then = all[2].then = cancel_others;
	all[0].context = all[1].context = all[2].context = all;
	for (size_t i = 0; i < 3; i++)
		world_start(&w, ALICE, GOOD, &all[i]);
	world_turn(&w);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	assert_int_equal(all[0].calls + all[1].calls + all[2].calls, 1);
	/* All three were decided, and on record, before the first of them was answered; that the others were not is, too. */
	assert_int_equal(world_count(w.sinks.records, "basic-auth-intercepted"), 3);
	assert_int_equal(world_count(w.sinks.records, "basic-auth-withdrawn"), 2);
	assert_int_equal(world_count(w.sinks.records, "cancelled"), 2);
	world_end(&w);
}

static void resume(struct outcome *outcome)
{
	mauth_broker_pause(outcome->world->broker, false);
}

static void a_callback_may_end_the_pause(void **state)
{
	struct world w;
	struct outcome waits = { 0 }, ends = { .then = resume };

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	mauth_broker_pause(w.broker, true);
	world_start(&w, "bob@contoso.com", GOOD, &waits);
	world_start(&w, ALICE, GOOD, &ends);
	world_turn(&w);
	world_ended(&ends, MAUTH_OK);
	fake_http_token(w.http, "bob@contoso.com", 3600);
	world_turn(&w);
	world_ended(&waits, MAUTH_OK);
	world_end(&w);
}

static void a_broken_audit_does_not_stop_who_is_not_ours(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	w.sinks.audit_broken = true;
	world_expect(&w, "x@example.org", GOOD, MAUTH_NOT_OURS);
	w.sinks.audit_broken = false;
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entra_is_asked_as_it_wants_to_be_asked),
		cmocka_unit_test(a_grant_says_where_to_go_and_as_whom),
		cmocka_unit_test(who_is_not_ours_is_told_so_without_a_request),
		cmocka_unit_test(a_password_that_is_too_long_is_not_sent),
		cmocka_unit_test(tenants_do_not_share_users),
		cmocka_unit_test(the_record_is_there_before_the_answer),
		cmocka_unit_test(without_a_record_there_is_no_token),
		cmocka_unit_test(nor_is_a_password_judged_off_the_record),
		cmocka_unit_test(an_audit_that_is_not_required_stops_nobody),
		cmocka_unit_test(a_login_waits_no_longer_than_its_deadline),
		cmocka_unit_test(nobody_lengthens_the_deadline),
		cmocka_unit_test(a_deadline_begins_with_the_attempt),
		cmocka_unit_test(an_answer_just_before_the_deadline_is_an_answer),
		cmocka_unit_test(who_goes_away_is_on_record_and_never_called),
		cmocka_unit_test(a_flight_goes_on_without_who_began_it),
		cmocka_unit_test(what_is_abandoned_leaves_no_record),
		cmocka_unit_test(a_paused_broker_gives_what_it_has_and_keeps_the_others_waiting),
		cmocka_unit_test(what_flew_before_the_pause_lands_in_it_or_after),
		cmocka_unit_test(no_token_is_renewed_during_a_pause),
		cmocka_unit_test(a_callback_may_start_another_login),
		cmocka_unit_test(a_callback_may_cancel_every_login_itself_included),
		cmocka_unit_test(a_broken_audit_does_not_stop_who_is_not_ours),
		cmocka_unit_test(a_callback_may_end_the_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
