/* SPDX-License-Identifier: MIT */
#include "broker_world.h"

#include "core/limiter.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A login of the user numbered number for whom Entra cannot be reached, the retry included if there is one. */
static struct outcome fail_login(struct world *w, unsigned int number)
{
	static struct outcome outcome;
	char user[32];

	snprintf(user, sizeof(user), "user-%u@contoso.com", number);
	memset(&outcome, 0, sizeof(outcome));
	world_start(w, user, GOOD, &outcome);
	world_turn(w);
	while (fake_http_open(w->http) > 0) {
		fake_http_fail(w->http, MAUTH_TEMPORARY);
		fake_loop_run(w->loop, 500);
	}
	world_turn(w);
	return outcome;
}

/* Lets requests fail until nobody is let through any more. */
static void open_breaker(struct world *w)
{
	for (unsigned int i = 0; i < 3; i++) {
		struct outcome outcome = fail_login(w, i);

		world_ended(&outcome, MAUTH_TEMPORARY);
	}
}

/* -- the breaker -- */

static void five_failures_keep_the_next_login_from_asking(void **state)
{
	struct world w;
	unsigned int started;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	open_breaker(&w);
	/* three logins, of which two tried twice: the fifth failure was the last */
	assert_int_equal(fake_http_started(w.http), 1 + 5);
	world_expect(&w, "new@contoso.com", GOOD, MAUTH_TEMPORARY);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	assert_int_equal(world_count(w.sinks.lines, "error tenant contoso: no token requests for 5 s"), 1);
	started = fake_http_started(w.http);
	fake_loop_run(w.loop, 4000);
	world_expect(&w, "new@contoso.com", GOOD, MAUTH_TEMPORARY);
	assert_int_equal(fake_http_started(w.http), started);
	world_end(&w);
}

static void after_the_pause_one_login_tries_for_all(void **state)
{
	struct world w;
	struct outcome probe = { 0 };

	world_begin(&w);
	world_open(&w);
	open_breaker(&w);
	fake_loop_run(w.loop, 5000);
	world_start(&w, ALICE, GOOD, &probe);
	world_turn(&w);
	assert_int_equal(fake_http_open(w.http), 1);
	world_expect(&w, "bob@contoso.com", GOOD, MAUTH_TEMPORARY);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	world_ended(&probe, MAUTH_OK);
	world_fetch(&w, "bob@contoso.com", GOOD, 3600);
	world_end(&w);
}

static void a_failed_probe_is_not_repeated_before_the_next_pause_is_over(void **state)
{
	struct world w;
	unsigned int started;
	struct outcome outcome;

	world_begin(&w);
	world_open(&w);
	open_breaker(&w);
	fake_loop_run(w.loop, 5000);
	started = fake_http_started(w.http);
	outcome = fail_login(&w, 7);
	world_ended(&outcome, MAUTH_TEMPORARY);
	assert_int_equal(fake_http_started(w.http), started + 1);
	fake_loop_run(w.loop, 9000);
	world_expect(&w, ALICE, GOOD, MAUTH_TEMPORARY);
	fake_loop_run(w.loop, 1000);
	world_fetch(&w, ALICE, GOOD, 3600);
	world_end(&w);
}

static void a_retry_waits_with_the_others(void **state)
{
	struct world w;
	struct outcome outcomes[5] = { { 0 } };
	char user[32];

	world_begin(&w);
	world_open(&w);
	for (unsigned int i = 0; i < 5; i++) {
		snprintf(user, sizeof(user), "user-%u@contoso.com", i);
		world_start(&w, user, GOOD, &outcomes[i]);
	}
	world_turn(&w);
	for (unsigned int i = 0; i < 5; i++)
		fake_http_fail(w.http, MAUTH_TEMPORARY);
	world_turn(&w);
	/* The one that opened the breaker need not wait to hear it. */
	world_ended(&outcomes[4], MAUTH_TEMPORARY);
	fake_loop_run(w.loop, 500);
	assert_int_equal(fake_http_started(w.http), 5);
	for (unsigned int i = 0; i < 5; i++)
		world_ended(&outcomes[i], MAUTH_TEMPORARY);
	world_end(&w);
}

static void the_outage_of_one_tenant_is_not_that_of_another(void **state)
{
	struct world w;

	world_begin(&w);
	test_config_add(w.config, "fabrikam", "fabrikam.com");
	world_open(&w);
	open_breaker(&w);
	world_expect(&w, ALICE, GOOD, MAUTH_TEMPORARY);
	world_fetch(&w, "alice@fabrikam.com", GOOD, 3600);
	world_end(&w);
}

/* -- Retry-After -- */

static void who_is_asked_to_wait_waits(void **state)
{
	static const struct {
		unsigned int http;
		const char *retry_after;
		unsigned int secs;
	} rows[] = {
		{ 429, "30", 30 }, { 503, "30", 30 }, { 429, NULL, 5 }, { 429, "soon", 5 }, { 503, "999999", 3600 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct outcome outcome = { 0 };

		world_begin(&w);
		world_open(&w);
		world_start(&w, ALICE, GOOD, &outcome);
		world_turn(&w);
		fake_http_reply(w.http, rows[i].http, "", rows[i].retry_after);
		world_turn(&w);
		world_ended(&outcome, MAUTH_TEMPORARY);
		fake_loop_run(w.loop, rows[i].secs * 1000 - 1000);
		outcome = world_login(&w, ALICE, GOOD);
		world_ended(&outcome, MAUTH_TEMPORARY);
		assert_non_null(strstr(outcome.error.text, "Retry-After"));
		assert_int_equal(fake_http_started(w.http), 1);
		fake_loop_run(w.loop, 1000);
		world_fetch(&w, ALICE, GOOD, 3600);
		world_end(&w);
	}
}

static void a_late_success_does_not_end_the_pause_that_entra_asked_for(void **state)
{
	struct world w;
	struct outcome refused = { 0 }, late = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &refused);
	world_start(&w, "bob@contoso.com", GOOD, &late);
	world_turn(&w);
	fake_http_reply(w.http, 429, "", "30");
	fake_http_token(w.http, "bob@contoso.com", 3600);
	world_turn(&w);
	world_ended(&refused, MAUTH_TEMPORARY);
	world_ended(&late, MAUTH_OK);
	world_expect(&w, "carol@contoso.com", GOOD, MAUTH_TEMPORARY);
	world_expect(&w, "bob@contoso.com", GOOD, MAUTH_OK);
	world_end(&w);
}

/* -- what nobody may learn from an outage -- */

static void an_outage_makes_no_password_wrong(void **state)
{
	static const struct {
		unsigned int http;           /* 0: no answer */
		enum mauth_status failure;
		const char *body;
	} rows[] = {
		{ 500, 0, "" }, { 502, 0, "<html>" }, { 503, 0, "{\"error\":\"temporarily_unavailable\"}" },
		{ 504, 0, "{" }, { 429, 0, "" }, { 408, 0, "" }, { 200, 0, "" }, { 200, 0, "<html>portal</html>" },
		{ 200, 0, "{}" }, { 200, 0, "{\"token_type\":\"Bearer\"}" }, { 302, 0, "" }, { 403, 0, "<html>proxy</html>" },
		{ 404, 0, "" }, { 407, 0, "" },
		{ 400, 0, "{\"error\":\"invalid_grant\",\"error_codes\":[80001]}" },
		{ 401, 0, "{\"error\":\"invalid_client\",\"error_codes\":[7000222]}" },
		{ 0, MAUTH_TEMPORARY, NULL }, { 0, MAUTH_TIMEOUT, NULL }, { 0, MAUTH_CONFIG, NULL },
		{ 0, MAUTH_PROTOCOL, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct outcome outcome = { 0 };
		enum mauth_status status;

		world_begin(&w);
		world_open(&w);
		world_start(&w, ALICE, GOOD, &outcome);
		world_turn(&w);
		while (fake_http_open(w.http) > 0) {
			if (rows[i].http != 0)
				fake_http_reply(w.http, rows[i].http, rows[i].body, NULL);
			else
				fake_http_fail(w.http, rows[i].failure);
			fake_loop_run(w.loop, 500);
		}
		assert_int_equal(outcome.calls, 1);
		status = outcome.status;
		if (status != MAUTH_TEMPORARY && status != MAUTH_TIMEOUT && status != MAUTH_PROTOCOL &&
		    status != MAUTH_CONFIG)
			fail_msg("row %zu: %s", i, mauth_status_name(status));
		assert_int_equal(mauth_shield_count(mauth_broker_shield(w.broker)), 0);
		world_end(&w);
	}
}

/* -- tokens that grow old -- */

static void with_less_than_five_minutes_a_fresh_token_is_fetched_first(void **state)
{
	struct world w;
	struct outcome old, fresh;

	world_begin(&w);
	world_open(&w);
	/* 300 seconds is enough, 299 is not. */
	old = world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3301000);
	fresh = world_fetch(&w, ALICE, GOOD, 3600);
	assert_false(fresh.cached);
	assert_string_not_equal(fresh.token, old.token);
	fresh = world_fetch(&w, "bob@contoso.com", GOOD, 310);
	fake_loop_run(w.loop, 10000);
	old = world_login(&w, "bob@contoso.com", GOOD);
	world_ended(&old, MAUTH_OK);
	assert_string_equal(old.token, fresh.token);
	assert_int_equal(fake_http_open(w.http), 0);
	world_end(&w);
}

static void during_an_outage_the_old_token_is_given_while_it_lives(void **state)
{
	static const struct {
		unsigned int age_secs;
		enum mauth_status status;
	} rows[] = {
		{ 3301, MAUTH_OK }, { 3590, MAUTH_OK }, { 3591, MAUTH_TEMPORARY }, { 3599, MAUTH_TEMPORARY },
		{ 3600, MAUTH_TEMPORARY }, { 4000, MAUTH_TEMPORARY },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct outcome old, outcome = { 0 };

		world_begin(&w);
		world_open(&w);
		old = world_fetch(&w, ALICE, GOOD, 3600);
		fake_loop_run(w.loop, rows[i].age_secs * 1000);
		world_start(&w, ALICE, GOOD, &outcome);
		world_turn(&w);
		fake_http_reply(w.http, 429, "", "60");
		world_turn(&w);
		world_ended(&outcome, rows[i].status);
		if (rows[i].status == MAUTH_OK) {
			assert_string_equal(outcome.token, old.token);
			assert_true(outcome.cached);
			assert_true(outcome.expires_at == old.expires_at);
		}
		/* and without a request once the breaker is open */
		world_expect(&w, ALICE, GOOD, rows[i].status);
		world_expect(&w, ALICE, world_bad(0), MAUTH_TEMPORARY);
		world_end(&w);
	}
}

static void a_deadline_is_met_with_the_old_token(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3310000);
	world_start(&w, ALICE, GOOD, &outcome);
	fake_loop_run(w.loop, 20000);
	world_ended(&outcome, MAUTH_OK);
	assert_true(outcome.cached);
	fake_http_fail(w.http, MAUTH_TIMEOUT);

	mauth_broker_pause(w.broker, true);
	world_start(&w, ALICE, GOOD, &outcome);
	fake_loop_run(w.loop, 20000);
	world_ended(&outcome, MAUTH_OK);
	world_end(&w);
}

static void a_wall_clock_that_jumped_ahead_gives_out_no_dead_token(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_jump(w.loop, 3595);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	fake_http_fail(w.http, MAUTH_TIMEOUT);
	world_turn(&w);
	world_ended(&outcome, MAUTH_TIMEOUT);
	world_end(&w);
}

static void an_outage_in_the_background_is_noticed_by_nobody(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3001000);
	open_breaker(&w);
	/* Not even asked for. */
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

static void an_error_of_our_app_is_not_asked_for_by_everybody(void **state)
{
	struct world w;
	struct outcome first = { 0 };
	unsigned int started;

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &first);
	world_turn(&w);
	fake_http_aadsts(w.http, 401, "invalid_client", 7000222);
	world_turn(&w);
	world_ended(&first, MAUTH_CONFIG);
	started = fake_http_started(w.http);
	for (unsigned int i = 0; i < 20; i++)
		world_expect(&w, "bob@contoso.com", GOOD, MAUTH_CONFIG);
	assert_int_equal(fake_http_started(w.http), started);
	assert_int_equal(world_count(w.sinks.lines, "AADSTS7000222"), 21);
	fake_loop_run(w.loop, 10000);
	world_fetch(&w, "bob@contoso.com", GOOD, 3600);
	world_end(&w);
}

static void a_loop_of_one_user_pauses_nobody_else(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	for (unsigned int i = 0; i < 8; i++) {
		struct outcome outcome = { 0 };
		char user[32];

		snprintf(user, sizeof(user), "loop%u@contoso.com", i);
		world_start(&w, user, GOOD, &outcome);
		world_turn(&w);
		fake_http_aadsts(w.http, 400, "invalid_grant", 50196);
		world_turn(&w);
		world_ended(&outcome, MAUTH_TEMPORARY);
	}
	world_fetch(&w, ALICE, GOOD, 3600);
	/* and that user is left alone for a minute */
	world_expect(&w, "loop0@contoso.com", GOOD, MAUTH_TEMPORARY);
	fake_loop_run(w.loop, 60000);
	world_fetch(&w, "loop0@contoso.com", GOOD, 3600);
	world_end(&w);
}

/* -- an endpoint that hangs -- */

#define CROWD 80u

struct crowd {
	struct outcome hanging[CROWD], late[2];
};

/* Logins that Entra does not answer, more than may be open then, and two that stand in line. ALICE has a token. */
static struct crowd *hang(struct world *w)
{
	struct crowd *crowd = mauth_new(sizeof(*crowd));
	char user[32];

	world_fetch(w, ALICE, GOOD, 3600);
	for (unsigned int i = 0; i < CROWD; i++) {
		snprintf(user, sizeof(user), "user-%u@contoso.com", i);
		world_start(w, user, GOOD, &crowd->hanging[i]);
	}
	world_turn(w);
	assert_int_equal(fake_http_open(w->http), CROWD);
	fake_loop_run(w->loop, MAUTH_LIMITER_SILENT_MSECS);
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(user, sizeof(user), "late-%u@contoso.com", i);
		world_start(w, user, GOOD, &crowd->late[i]);
	}
	world_turn(w);
	assert_int_equal(fake_http_open(w->http), CROWD);
	return crowd;
}

/* Ends the request of each. */
static void end_hang(struct world *w, struct crowd *crowd)
{
	while (fake_http_open(w->http) > 0) {
		fake_http_fail(w->http, MAUTH_TIMEOUT);
		world_turn(w);
	}
	for (unsigned int i = 0; i < CROWD; i++)
		assert_int_equal(crowd->hanging[i].calls, 1);
	free(crowd);
	world_end(w);
}

static void a_hanging_endpoint_is_not_asked_by_everybody(void **state)
{
	struct world w;
	struct crowd *crowd;

	world_begin(&w);
	world_open(&w);
	crowd = hang(&w);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	assert_int_equal(world_count(w.sinks.lines, "Entra answers none of 80 token requests"), 1);
	/* It was only slow: whoever waits is asked for now. */
	fake_http_token(w.http, "user-0@contoso.com", 3600);
	world_turn(&w);
	assert_int_equal(fake_http_open(w.http), CROWD - 1 + 2);
	assert_int_equal(crowd->late[0].calls + crowd->late[1].calls, 0);
	end_hang(&w, crowd);
}

static void who_stands_in_line_in_vain_is_told_so(void **state)
{
	struct world w;
	struct crowd *crowd;

	world_begin(&w);
	world_open(&w);
	crowd = hang(&w);
	fake_loop_run(w.loop, w.config->request_timeout_msecs - 1);
	assert_int_equal(crowd->late[0].calls, 0);
	fake_loop_run(w.loop, 1);
	for (unsigned int i = 0; i < 2; i++) {
		world_ended(&crowd->late[i], MAUTH_TIMEOUT);
		assert_non_null(strstr(crowd->late[i].error.text, "Entra does not answer"));
	}
	assert_int_equal(fake_http_started(w.http), 1 + CROWD);
	end_hang(&w, crowd);
}

static void the_breaker_opens_for_those_in_line_too(void **state)
{
	struct world w;
	struct crowd *crowd;

	world_begin(&w);
	world_open(&w);
	crowd = hang(&w);
	while (fake_http_open(w.http) > MAUTH_LIMITER_OPEN - 2)
		fake_http_fail(w.http, MAUTH_TIMEOUT);
	world_turn(&w);
	for (unsigned int i = 0; i < 2; i++)
		world_ended(&crowd->late[i], MAUTH_TEMPORARY);
	assert_int_equal(fake_http_started(w.http), 1 + CROWD);
	end_hang(&w, crowd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(five_failures_keep_the_next_login_from_asking),
		cmocka_unit_test(after_the_pause_one_login_tries_for_all),
		cmocka_unit_test(a_failed_probe_is_not_repeated_before_the_next_pause_is_over),
		cmocka_unit_test(a_retry_waits_with_the_others),
		cmocka_unit_test(the_outage_of_one_tenant_is_not_that_of_another),
		cmocka_unit_test(who_is_asked_to_wait_waits),
		cmocka_unit_test(a_late_success_does_not_end_the_pause_that_entra_asked_for),
		cmocka_unit_test(an_outage_makes_no_password_wrong),
		cmocka_unit_test(with_less_than_five_minutes_a_fresh_token_is_fetched_first),
		cmocka_unit_test(during_an_outage_the_old_token_is_given_while_it_lives),
		cmocka_unit_test(a_deadline_is_met_with_the_old_token),
		cmocka_unit_test(a_wall_clock_that_jumped_ahead_gives_out_no_dead_token),
		cmocka_unit_test(an_error_of_our_app_is_not_asked_for_by_everybody),
		cmocka_unit_test(a_loop_of_one_user_pauses_nobody_else),
		cmocka_unit_test(an_outage_in_the_background_is_noticed_by_nobody),
		cmocka_unit_test(a_hanging_endpoint_is_not_asked_by_everybody),
		cmocka_unit_test(who_stands_in_line_in_vain_is_told_so),
		cmocka_unit_test(the_breaker_opens_for_those_in_line_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
