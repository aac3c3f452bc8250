/* SPDX-License-Identifier: MIT */
#include "broker_world.h"

#include "core/jwt.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BOB "bob@contoso.com"

static unsigned int count_status(const struct outcome *outcomes, size_t count, enum mauth_status status)
{
	unsigned int found = 0;

	for (size_t i = 0; i < count; i++) {
		assert_int_equal(outcomes[i].calls, 1);
		found += outcomes[i].status == status;
	}
	return found;
}

/* -- together -- */

static void a_thousand_logins_of_one_user_are_one_request(void **state)
{
	enum { LOGINS = 1000 };
	struct world w;
	struct outcome *all = mauth_new_array(LOGINS, sizeof(*all));
	struct mauth_broker_stats stats;

	world_begin(&w);
	world_open(&w);
	for (size_t i = 0; i < LOGINS; i++)
		world_start(&w, ALICE, GOOD, &all[i]);
	world_turn(&w);
	assert_int_equal(fake_http_started(w.http), 1);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	assert_int_equal(count_status(all, LOGINS, MAUTH_OK), LOGINS);
	assert_int_equal(fake_http_started(w.http), 1);
	mauth_broker_stats(w.broker, &stats);
	assert_int_equal(stats.granted_fetched, 1);
	assert_int_equal(stats.granted_joined, LOGINS - 1);
	assert_int_equal(w.sinks.records_count, LOGINS);
	world_end(&w);
	free(all);
}

static void who_joins_is_refused_together(void **state)
{
	struct world w;
	struct outcome all[3] = { { 0 } };

	world_begin(&w);
	world_open(&w);
	for (size_t i = 0; i < 3; i++)
		world_start(&w, ALICE, GOOD, &all[i]);
	world_turn(&w);
	fake_http_aadsts(w.http, 400, "invalid_grant", 50057);
	world_turn(&w);
	assert_int_equal(count_status(all, 3, MAUTH_DISABLED), 3);
	assert_int_equal(fake_http_started(w.http), 1);
	world_end(&w);
}

static void different_passwords_never_share(void **state)
{
	struct world w;
	struct outcome right = { 0 }, wrong = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &right);
	world_start(&w, ALICE, world_bad(0), &wrong);
	world_turn(&w);
	assert_int_equal(fake_http_open(w.http), 2);
	assert_non_null(strstr(fake_http_form(w.http), "correct%20horse"));
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	world_ended(&right, MAUTH_OK);
	assert_int_equal(wrong.calls, 0);
	fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
	world_turn(&w);
	world_ended(&wrong, MAUTH_BAD_CREDENTIALS);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

static void no_more_passwords_fly_than_may_be_wrong(void **state)
{
	enum { LOGINS = 20 };
	struct world w;
	struct outcome all[LOGINS] = { { 0 } };

	world_begin(&w);
	world_open(&w);
	for (unsigned int i = 0; i < LOGINS; i++)
		world_start(&w, ALICE, world_bad(i), &all[i]);
	world_turn(&w);
	assert_int_equal(fake_http_open(w.http), 5);
	for (unsigned int i = 0; i < 5; i++) {
		fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
		world_turn(&w);
		assert_int_equal(fake_http_open(w.http), 4 - i);
	}
	assert_int_equal(fake_http_started(w.http), 5);
	assert_int_equal(count_status(all, LOGINS, MAUTH_BAD_CREDENTIALS), 5);
	assert_int_equal(count_status(all, LOGINS, MAUTH_LOCKED), LOGINS - 5);
	world_end(&w);
}

static void parked_logins_fly_when_others_have_landed(void **state)
{
	enum { LOGINS = 6 };
	struct world w;
	struct outcome all[LOGINS] = { { 0 } };

	world_begin(&w);
	w.tenant->us_government = true;
	world_open(&w);
	for (unsigned int i = 0; i < LOGINS; i++)
		world_start(&w, ALICE, world_bad(i), &all[i]);
	world_turn(&w);
	for (unsigned int i = 0; i < LOGINS; i++) {
		assert_int_equal(fake_http_open(w.http), i == LOGINS - 1 ? 1 : 2);
		fake_http_token(w.http, ALICE, 3600);
		world_turn(&w);
	}
	assert_int_equal(count_status(all, LOGINS, MAUTH_OK), LOGINS);
	world_end(&w);
}

static void another_user_does_not_wait(void **state)
{
	struct world w;
	struct outcome alice = { 0 }, bob = { 0 };

	world_begin(&w);
	w.config->lockout_threshold = 1;
	world_open(&w);
	world_start(&w, ALICE, GOOD, &alice);
	world_start(&w, BOB, GOOD, &bob);
	world_turn(&w);
	assert_int_equal(fake_http_open(w.http), 2);
	fake_http_token(w.http, ALICE, 3600);
	fake_http_token(w.http, BOB, 3600);
	world_turn(&w);
	world_ended(&alice, MAUTH_OK);
	world_ended(&bob, MAUTH_OK);
	assert_string_not_equal(alice.token, bob.token);
	world_end(&w);
}

/* -- trying again -- */

static void only_what_may_pass_is_tried_again_and_only_once(void **state)
{
	static const struct {
		unsigned int http;           /* 0: no answer */
		enum mauth_status failure;
		const char *body, *retry_after;
		bool again;
	} rows[] = {
		{ 500, 0, "", NULL, true },
		{ 502, 0, "<html>bad gateway</html>", NULL, true },
		{ 503, 0, "{\"error\":\"temporarily_unavailable\",\"error_codes\":[90033]}", NULL, true },
		{ 504, 0, "", NULL, true },
		{ 503, 0, "", "7", false },
		{ 429, 0, "", "7", false },
		{ 429, 0, "", NULL, false },
		{ 400, 0, "{\"error\":\"invalid_grant\",\"error_codes\":[50126]}", NULL, false },
		{ 400, 0, "{\"error\":\"invalid_request\",\"error_codes\":[90033]}", NULL, false },
		{ 404, 0, "<html>not found</html>", NULL, false },
		{ 200, 0, "not JSON", NULL, false },
		{ 0, MAUTH_TEMPORARY, NULL, NULL, true },
		{ 0, MAUTH_TIMEOUT, NULL, NULL, false },
		{ 0, MAUTH_CONFIG, NULL, NULL, false },
		{ 0, MAUTH_PROTOCOL, NULL, NULL, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct outcome outcome = { 0 };

		world_begin(&w);
		world_open(&w);
		world_start(&w, ALICE, GOOD, &outcome);
		world_turn(&w);
		for (int round = 0; round < 2 && fake_http_open(w.http) > 0; round++) {
			if (rows[i].http != 0)
				fake_http_reply(w.http, rows[i].http, rows[i].body, rows[i].retry_after);
			else
				fake_http_fail(w.http, rows[i].failure);
			world_turn(&w);
			assert_int_equal(fake_http_open(w.http), 0);
			fake_loop_run(w.loop, 500);
		}
		if (fake_http_started(w.http) != (rows[i].again ? 2 : 1) || outcome.calls != 1)
			fail_msg("row %zu: %u requests, %u calls", i, fake_http_started(w.http), outcome.calls);
		world_end(&w);
	}
}

static void a_retry_may_succeed(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	fake_http_reply(w.http, 503, "", NULL);
	fake_loop_run(w.loop, 249);
	assert_int_equal(fake_http_open(w.http), 0);
	fake_loop_run(w.loop, 251);
	fake_http_token(w.http, ALICE, 3600);
	world_turn(&w);
	world_ended(&outcome, MAUTH_OK);
	world_end(&w);
}

static void nothing_is_tried_again_when_there_is_no_time(void **state)
{
	static const struct {
		unsigned int after_msecs, requests;
	} rows[] = { { 13499, 2 }, { 13501, 1 }, { 15500, 1 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct outcome outcome = { 0 };

		world_begin(&w);
		world_open(&w);
		world_start(&w, ALICE, GOOD, &outcome);
		fake_loop_run(w.loop, rows[i].after_msecs);
		fake_http_reply(w.http, 503, "", NULL);
		fake_loop_run(w.loop, 500);
		assert_int_equal(fake_http_started(w.http), rows[i].requests);
		if (fake_http_open(w.http) > 0)
			fake_http_reply(w.http, 503, "", NULL);
		world_turn(&w);
		world_ended(&outcome, MAUTH_TEMPORARY);
		world_end(&w);
	}
}

/* -- certificates -- */

/* Of the assertion in the oldest open request. */
static void expect_algorithm(struct world *w, const char *name)
{
	const char *assertion = strstr(fake_http_form(w->http), "&client_assertion=");
	struct mauth_buf header = { 0 };
	char *text;

	assert_non_null(assertion);
	assertion += strlen("&client_assertion=");
	text = mauth_strndup(assertion, strcspn(assertion, "."));
	assert_true(mauth_base64url_decode(&header, text, strlen(text)));
	assert_non_null(strstr(header.data, name));
	mauth_buf_free(&header);
	free(text);
}

static void who_cannot_read_ps256_gets_rs256(void **state)
{
	struct world w;
	struct outcome alice = { 0 }, bob = { 0 };

	world_begin(&w);
	test_config_sign(w.tenant);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &alice);
	world_start(&w, BOB, GOOD, &bob);
	world_turn(&w);
	/* Both were sent before anybody knew. */
	for (int i = 0; i < 2; i++) {
		expect_algorithm(&w, "PS256");
		fake_http_aadsts(w.http, 401, "invalid_client", 700027);
	}
	assert_int_equal(fake_http_open(w.http), 2);
	expect_algorithm(&w, "RS256");
	fake_http_token(w.http, ALICE, 3600);
	expect_algorithm(&w, "RS256");
	fake_http_token(w.http, BOB, 3600);
	world_turn(&w);
	world_ended(&alice, MAUTH_OK);
	world_ended(&bob, MAUTH_OK);

	world_start(&w, "carol@contoso.com", GOOD, &alice);
	world_turn(&w);
	expect_algorithm(&w, "RS256");
	/* There is no third algorithm. */
	fake_http_aadsts(w.http, 401, "invalid_client", 700027);
	world_turn(&w);
	world_ended(&alice, MAUTH_CONFIG);
	assert_int_equal(fake_http_open(w.http), 0);
	world_end(&w);
}

/* -- federated domains -- */

#define MANAGED "{\"account_type\":\"Managed\"}"
#define FEDERATED "{\"account_type\":\"Federated\"}"

static void begin_with_realm(struct world *w)
{
	world_begin(w);
	w->tenant->user_realm = true;
	world_open(w);
}

static void in_a_federated_domain_50126_says_nothing_about_the_password(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	begin_with_realm(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
	world_turn(&w);
	assert_int_equal(outcome.calls, 0);
	assert_string_equal(fake_http_url(w.http),
			    "https://login.example/common/userrealm/alice%40contoso.com?api-version=1.0");
	assert_string_equal(fake_http_form(w.http), "");
	fake_http_reply(w.http, 200, FEDERATED, NULL);
	world_turn(&w);
	world_ended(&outcome, MAUTH_CONFIG);
	assert_true(outcome.error.advice[0] != '\0');
	assert_int_equal(mauth_shield_count(mauth_broker_shield(w.broker)), 0);
	/* The realm is known for a day, the password not for bad. */
	for (unsigned int i = 0; i < 8; i++) {
		outcome = world_refuse(&w, ALICE, i == 0 ? GOOD : world_bad(i), 50126);
		world_ended(&outcome, MAUTH_CONFIG);
	}
	fake_loop_run(w.loop, 86400 * 1000);
	world_refuse(&w, ALICE, GOOD, 50057);
	world_end(&w);
}

static void in_a_managed_or_unknown_domain_it_is_a_bad_password(void **state)
{
	static const struct {
		unsigned int http;
		const char *body;
	} rows[] = { { 200, MANAGED }, { 200, "{}" }, { 404, FEDERATED }, { 200, "<html>" }, { 0, NULL } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct outcome outcome = { 0 };

		begin_with_realm(&w);
		world_start(&w, ALICE, world_bad(0), &outcome);
		world_turn(&w);
		fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
		if (rows[i].http != 0)
			fake_http_reply(w.http, rows[i].http, rows[i].body, NULL);
		else
			fake_http_fail(w.http, MAUTH_TIMEOUT);
		world_turn(&w);
		world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
		assert_int_equal(outcome.error.code, 50126);
		world_expect(&w, ALICE, world_bad(0), MAUTH_BAD_CREDENTIALS);
		for (unsigned int j = 1; j < 5; j++)
			world_refuse(&w, ALICE, world_bad(j), 50126);
		world_expect(&w, ALICE, world_bad(5), MAUTH_LOCKED);
		world_end(&w);
	}
}

static void all_who_wait_for_a_realm_share_the_question(void **state)
{
	struct world w;
	struct outcome alice = { 0 }, bob = { 0 };

	begin_with_realm(&w);
	world_start(&w, ALICE, world_bad(0), &alice);
	world_start(&w, BOB, world_bad(1), &bob);
	world_turn(&w);
	fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
	fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
	assert_int_equal(fake_http_open(w.http), 1);
	fake_http_reply(w.http, 200, MANAGED, NULL);
	world_turn(&w);
	world_ended(&alice, MAUTH_BAD_CREDENTIALS);
	world_ended(&bob, MAUTH_BAD_CREDENTIALS);
	assert_int_equal(fake_http_started(w.http), 3);
	world_end(&w);
}

/* -- whose token it is -- */

static void a_token_of_somebody_else_is_given_to_nobody(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	for (int i = 0; i < 2; i++) {
		world_start(&w, ALICE, GOOD, &outcome);
		world_turn(&w);
		fake_http_token(w.http, "mallory@contoso.com", 3600);
		world_turn(&w);
		world_ended(&outcome, MAUTH_CONFIG);
	}
	assert_int_equal(fake_http_started(w.http), 2);
	assert_non_null(strstr(outcome.error.text, "mallory@contoso.com"));
	world_end(&w);
}

static void case_does_not_make_somebody_else_nor_does_a_token_that_says_nothing(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	fake_http_token(w.http, "Alice@Contoso.COM", 3600);
	world_turn(&w);
	world_ended(&outcome, MAUTH_OK);
	world_start(&w, BOB, GOOD, &outcome);
	world_turn(&w);
	fake_http_reply(w.http, 200, "{\"token_type\":\"Bearer\",\"expires_in\":3600,\"access_token\":\"0paque\"}", NULL);
	world_turn(&w);
	world_ended(&outcome, MAUTH_OK);
	assert_string_equal(outcome.token, "0paque");
	world_end(&w);
}

/* -- in the background -- */

static void a_token_is_renewed_ahead_of_its_end_and_once(void **state)
{
	struct world w;
	struct outcome old, hit;

	world_begin(&w);
	world_open(&w);
	old = world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 2699000);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	assert_int_equal(fake_http_open(w.http), 0);
	fake_loop_run(w.loop, 302000);
	for (int i = 0; i < 50; i++) {
		hit = world_login(&w, ALICE, GOOD);
		world_ended(&hit, MAUTH_OK);
		assert_string_equal(hit.token, old.token);
		fake_loop_run(w.loop, 100);
	}
	assert_int_equal(fake_http_open(w.http), 1);
	fake_http_token(w.http, ALICE, 3600);
	hit = world_login(&w, ALICE, GOOD);
	world_ended(&hit, MAUTH_OK);
	assert_true(hit.cached);
	assert_string_not_equal(hit.token, old.token);
	assert_int_equal(fake_http_started(w.http), 2);
	world_end(&w);
}

static void a_renewal_that_fails_takes_nothing_away(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3001000);
	world_expect_renewal(&w);
	fake_http_fail(w.http, MAUTH_TIMEOUT);
	fake_loop_run(w.loop, 59000);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	fake_loop_run(w.loop, 1000);
	world_expect_renewal(&w);
	fake_http_aadsts(w.http, 400, "invalid_grant", 50053);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

static void a_renewal_that_is_refused_takes_the_token_away(void **state)
{
	static const struct {
		int code;
		enum mauth_status status;
	} rows[] = { { 50126, MAUTH_BAD_CREDENTIALS }, { 50057, MAUTH_DISABLED }, { 50055, MAUTH_EXPIRED },
		     { 50034, MAUTH_USER_UNKNOWN }, { 50076, MAUTH_INTERACTION } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		world_begin(&w);
		world_open(&w);
		world_fetch(&w, ALICE, GOOD, 3600);
		fake_loop_run(w.loop, 3001000);
		world_expect_renewal(&w);
		fake_http_aadsts(w.http, 400, "invalid_grant", rows[i].code);
		world_expect(&w, ALICE, GOOD, rows[i].status);
		world_end(&w);
	}
}

static void a_wrong_password_takes_nobody_elses_token_away(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	world_refuse(&w, ALICE, world_bad(0), 50126);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

/* -- the end -- */

static void a_broker_may_go_while_requests_are_in_the_air(void **state)
{
	struct world w;
	struct outcome asked = { 0 }, again = { 0 }, realm = { 0 };

	begin_with_realm(&w);
	world_start(&w, ALICE, GOOD, &realm);
	world_turn(&w);
	fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
	world_start(&w, BOB, GOOD, &asked);
	world_start(&w, "carol@contoso.com", GOOD, &again);
	world_turn(&w);
	assert_int_equal(mauth_broker_flying(w.broker), 3);
	mauth_login_abandon(&asked.login);
	mauth_login_cancel(&again.login);
	mauth_login_cancel(&realm.login);
	world_end(&w);
}

static void a_request_can_be_found_in_entras_logs(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };
	char id[64];

	world_begin(&w);
	world_open(&w);
	world_start(&w, ALICE, world_bad(0), &outcome);
	world_turn(&w);
	snprintf(id, sizeof(id), "%s", fake_http_header(w.http, "client-request-id"));
	fake_http_aadsts(w.http, 400, "invalid_grant", 50126);
	world_turn(&w);
	assert_int_equal(world_count(w.sinks.records, id), 1);
	assert_int_equal(world_count(w.sinks.records, "trace-1"), 1);
	assert_true(world_count(w.sinks.lines, id) > 0);
	assert_int_equal(world_count(w.sinks.events, id), 1);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_logins_of_one_user_are_one_request),
		cmocka_unit_test(who_joins_is_refused_together),
		cmocka_unit_test(different_passwords_never_share),
		cmocka_unit_test(no_more_passwords_fly_than_may_be_wrong),
		cmocka_unit_test(parked_logins_fly_when_others_have_landed),
		cmocka_unit_test(another_user_does_not_wait),
		cmocka_unit_test(only_what_may_pass_is_tried_again_and_only_once),
		cmocka_unit_test(a_retry_may_succeed),
		cmocka_unit_test(nothing_is_tried_again_when_there_is_no_time),
		cmocka_unit_test(who_cannot_read_ps256_gets_rs256),
		cmocka_unit_test(in_a_federated_domain_50126_says_nothing_about_the_password),
		cmocka_unit_test(in_a_managed_or_unknown_domain_it_is_a_bad_password),
		cmocka_unit_test(all_who_wait_for_a_realm_share_the_question),
		cmocka_unit_test(a_token_of_somebody_else_is_given_to_nobody),
		cmocka_unit_test(case_does_not_make_somebody_else_nor_does_a_token_that_says_nothing),
		cmocka_unit_test(a_token_is_renewed_ahead_of_its_end_and_once),
		cmocka_unit_test(a_renewal_that_fails_takes_nothing_away),
		cmocka_unit_test(a_renewal_that_is_refused_takes_the_token_away),
		cmocka_unit_test(a_wrong_password_takes_nobody_elses_token_away),
		cmocka_unit_test(a_broker_may_go_while_requests_are_in_the_air),
		cmocka_unit_test(a_request_can_be_found_in_entras_logs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
