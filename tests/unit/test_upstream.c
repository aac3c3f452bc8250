/* SPDX-License-Identifier: MIT */
#include "broker_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ALICE is given a token, which the upstream refuses. */
static struct outcome fetch_and_refuse(struct world *w)
{
	struct outcome outcome = world_fetch(w, ALICE, GOOD, 3600);

	assert_int_equal(world_report(w, outcome.token_id, MAUTH_UPSTREAM_REFUSED), MAUTH_OK);
	return outcome;
}

/* ALICE is given token from the cache. */
static void expect_cached(struct world *w, const struct outcome *token)
{
	struct outcome outcome = world_login(w, ALICE, GOOD);

	world_ended(&outcome, MAUTH_OK);
	assert_true(outcome.cached);
	assert_string_equal(outcome.token_id, token->token_id);
	assert_int_equal(fake_http_open(w->http), 0);
}

/* -- what a report does -- */

static void a_token_that_was_refused_is_not_given_again(void **state)
{
	struct world w;
	struct outcome old, fresh;

	world_begin(&w);
	world_open(&w);
	old = fetch_and_refuse(&w);
	fresh = world_fetch(&w, ALICE, GOOD, 3600);
	assert_string_not_equal(fresh.token_id, old.token_id);
	expect_cached(&w, &fresh);
	world_end(&w);
}

static void a_report_about_any_other_token_changes_nothing(void **state)
{
	struct world w;
	struct outcome old, fresh;

	world_begin(&w);
	world_open(&w);
	old = world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3400000);
	fresh = world_fetch(&w, ALICE, GOOD, 3600);
	world_report(&w, old.token_id, MAUTH_UPSTREAM_REFUSED);
	world_report(&w, "", MAUTH_UPSTREAM_REFUSED);
	world_report(&w, NULL, MAUTH_UPSTREAM_REFUSED);
	world_report(&w, "0123456789abcdef0123456789abcdef", MAUTH_UPSTREAM_REFUSED);
	expect_cached(&w, &fresh);
	world_end(&w);
}

static void a_failure_of_the_upstream_says_nothing_about_the_token(void **state)
{
	struct world w;
	struct outcome token;

	world_begin(&w);
	world_open(&w);
	token = world_fetch(&w, ALICE, GOOD, 3600);
	world_report(&w, token.token_id, MAUTH_UPSTREAM_FAILED);
	expect_cached(&w, &token);
	world_end(&w);
}

static void who_wants_no_token_at_all_makes_us_fetch_ever_more_seldom(void **state)
{
	static const unsigned int pauses[] = { 30, 60, 120, 240, 480, 480 };
	struct world w;
	struct outcome token;

	world_begin(&w);
	world_open(&w);
	fetch_and_refuse(&w);
	for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
		token = fetch_and_refuse(&w);
		expect_cached(&w, &token);
		/* Each of those logins is refused, too, and that is nothing new. */
		world_report(&w, token.token_id, MAUTH_UPSTREAM_REFUSED);
		fake_loop_run(w.loop, (pauses[i] - 1) * 1000);
		expect_cached(&w, &token);
		fake_loop_run(w.loop, 1000);
	}
	world_fetch(&w, ALICE, GOOD, 3600);
	world_end(&w);
}

static void a_token_that_was_accepted_ends_the_series(void **state)
{
	struct world w;
	struct outcome token;

	world_begin(&w);
	world_open(&w);
	fetch_and_refuse(&w);
	token = fetch_and_refuse(&w);
	expect_cached(&w, &token);
	world_report(&w, token.token_id, MAUTH_UPSTREAM_ACCEPTED);
	expect_cached(&w, &token);
	world_report(&w, token.token_id, MAUTH_UPSTREAM_REFUSED);
	/* The first refusal of a series: fetched at once. */
	world_fetch(&w, ALICE, GOOD, 3600);
	world_end(&w);
}

static void a_refused_token_is_no_help_in_an_outage(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	fetch_and_refuse(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	fake_http_reply(w.http, 503, "", "60");
	world_turn(&w);
	world_ended(&outcome, MAUTH_TEMPORARY);
	world_end(&w);
}

static void refusal_and_lock_together_are_a_lock(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	fetch_and_refuse(&w);
	world_refuse(&w, ALICE, world_bad(0), 50053);
	world_expect(&w, ALICE, GOOD, MAUTH_LOCKED);
	world_end(&w);
}

static void the_password_is_still_checked(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	fetch_and_refuse(&w);
	world_refuse(&w, ALICE, world_bad(0), 50126);
	world_expect(&w, ALICE, world_bad(0), MAUTH_BAD_CREDENTIALS);
	world_fetch(&w, ALICE, GOOD, 3600);
	world_end(&w);
}

/* -- the record of it -- */

static void both_legs_are_on_record_under_one_session(void **state)
{
	struct world w;
	struct outcome token;

	world_begin(&w);
	world_open(&w);
	token = world_fetch(&w, ALICE, GOOD, 3600);
	assert_int_equal(w.sinks.records_count, 1);
	world_report(&w, token.token_id, MAUTH_UPSTREAM_ACCEPTED);
	assert_int_equal(w.sinks.records_count, 2);
	assert_int_equal(world_count(w.sinks.records, "\"session-1\""), 2);
	assert_int_equal(world_count(w.sinks.records, token.token_id), 2);
	assert_int_equal(world_count(w.sinks.records, "\n"), 2);
	world_end(&w);
}

static void a_refusal_is_told_with_what_to_do_about_it(void **state)
{
	static const struct {
		enum mauth_service service;
		const char *reply, *advice;
	} rows[] = {
		{ MAUTH_SERVICE_SUBMISSION, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled "
		  "for the Tenant.", "Set-TransportConfig" },
		{ MAUTH_SERVICE_SUBMISSION, "535 5.7.139 smtpclientauthentication IS disabled for the Mailbox.",
		  "Set-CASMailbox" },
		{ MAUTH_SERVICE_IMAP, "BAD User is authenticated but not connected.", "licence" },
		{ MAUTH_SERVICE_POP3, "-ERR Protocol error. Connection is closed. 10", "login plugin" },
		{ MAUTH_SERVICE_IMAP, "NO AUTHENTICATE failed.", "Get-CASMailbox" },
		{ MAUTH_SERVICE_SUBMISSION, "535 5.7.3 Authentication unsuccessful", "SMTP.Send" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct mauth_error error;
		struct mauth_upstream_report report = {
			.user = ALICE, .service = rows[i].service, .result = MAUTH_UPSTREAM_REFUSED,
			.reply = rows[i].reply,
		};

		world_begin(&w);
		world_open(&w);
		mauth_broker_upstream(w.broker, &report);
		assert_int_equal(mauth_broker_record_reports(w.broker, &error), MAUTH_OK);
		assert_non_null(strstr(w.sinks.lines, rows[i].advice));
		assert_non_null(strstr(w.sinks.records, rows[i].advice));
		assert_non_null(strstr(w.sinks.lines, "warning upstream refused"));
		world_end(&w);
	}
}

static void a_report_that_cannot_be_recorded_is_not_confirmed(void **state)
{
	struct world w;
	struct outcome token;

	world_begin(&w);
	world_open(&w);
	token = world_fetch(&w, ALICE, GOOD, 3600);
	w.sinks.audit_broken = true;
	assert_int_equal(world_report(&w, token.token_id, MAUTH_UPSTREAM_REFUSED), MAUTH_AUDIT);
	w.sinks.audit_broken = false;
	/* Sent again, it is one refusal, not two. */
	assert_int_equal(world_report(&w, token.token_id, MAUTH_UPSTREAM_REFUSED), MAUTH_OK);
	world_fetch(&w, ALICE, GOOD, 3600);
	assert_int_equal(w.sinks.records_count, 3);
	world_end(&w);
}

static void reports_are_recorded_together_or_not_at_all(void **state)
{
	struct mauth_upstream_report report = { .user = ALICE, .result = MAUTH_UPSTREAM_ACCEPTED };
	struct world w;
	struct mauth_error error;

	world_begin(&w);
	world_open(&w);
	w.sinks.audit_broken = true;
	for (unsigned int i = 0; i < 3; i++)
		mauth_broker_upstream(w.broker, &report);
	assert_int_equal(mauth_broker_record_reports(w.broker, &error), MAUTH_AUDIT);
	w.sinks.audit_broken = false;
	assert_int_equal(mauth_broker_record_reports(w.broker, &error), MAUTH_OK);
	assert_int_equal(w.sinks.records_count, 0);
	for (unsigned int i = 0; i < 3; i++)
		mauth_broker_upstream(w.broker, &report);
	assert_int_equal(w.sinks.records_count, 0);
	assert_int_equal(mauth_broker_record_reports(w.broker, &error), MAUTH_OK);
	assert_int_equal(w.sinks.records_count, 3);
	assert_int_equal(w.sinks.appends, 1);
	world_end(&w);
}

static void a_report_about_somebody_unknown_is_recorded_as_it_is(void **state)
{
	static const char *const users[] = { "bob@example.org", "bob", "\xff\n@contoso.com", "" };
	struct world w;
	struct mauth_error error;
	struct mauth_broker_stats stats;

	world_begin(&w);
	world_open(&w);
	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		struct mauth_upstream_report report = { .user = users[i], .result = MAUTH_UPSTREAM_ACCEPTED };

		mauth_broker_upstream(w.broker, &report);
		assert_int_equal(mauth_broker_record_reports(w.broker, &error), MAUTH_OK);
	}
	assert_int_equal(world_count(w.sinks.records, "\n"), 4);
	assert_int_equal(world_count(w.sinks.lines, "\n"), 4);
	assert_int_equal(world_count(w.sinks.events, "\n"), 4);
	mauth_broker_stats(w.broker, &stats);
	assert_int_equal(stats.upstream_accepted, 4);
	assert_int_equal(stats.upstream_refused + stats.upstream_failed, 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_that_was_refused_is_not_given_again),
		cmocka_unit_test(a_report_about_any_other_token_changes_nothing),
		cmocka_unit_test(a_failure_of_the_upstream_says_nothing_about_the_token),
		cmocka_unit_test(who_wants_no_token_at_all_makes_us_fetch_ever_more_seldom),
		cmocka_unit_test(a_token_that_was_accepted_ends_the_series),
		cmocka_unit_test(a_refused_token_is_no_help_in_an_outage),
		cmocka_unit_test(refusal_and_lock_together_are_a_lock),
		cmocka_unit_test(the_password_is_still_checked),
		cmocka_unit_test(both_legs_are_on_record_under_one_session),
		cmocka_unit_test(a_refusal_is_told_with_what_to_do_about_it),
		cmocka_unit_test(a_report_that_cannot_be_recorded_is_not_confirmed),
		cmocka_unit_test(reports_are_recorded_together_or_not_at_all),
		cmocka_unit_test(a_report_about_somebody_unknown_is_recorded_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
