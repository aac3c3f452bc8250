/* SPDX-License-Identifier: MIT */
/* App-only access behind a device password: Microsoft Graph is asked about the account, and for how long its answer is good. */
#include "vault_world.h"

#include "core/entra.h"
#include "core/request-private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE 60000u
#define ENABLED "{\"accountEnabled\":true,\"id\":\"oid-1\"}"
#define DISABLED "{\"accountEnabled\":false,\"id\":\"oid-1\"}"
#define NOT_FOUND "{\"error\":{\"code\":\"Request_ResourceNotFound\",\"message\":\"no\"}}"
#define DENIED "{\"error\":{\"code\":\"Authorization_RequestDenied\",\"message\":\"no\"}}"
#define BAD_TOKEN "{\"error\":{\"code\":\"InvalidAuthenticationToken\",\"message\":\"no\"}}"
#define APP_TOKEN "app-token-of-before"

struct site {
	struct vault_world v;
	char *device;
};

static void begin(struct site *site, const char *letters)
{
	vault_world_begin(&site->v);
	vault_world_grants(site->v.w.tenant, letters);
	site->v.w.tenant->check_accounts = true;
}

static void open_site(struct site *site)
{
	vault_world_open(&site->v);
	site->device = world_device(&site->v, ALICE, "Ricoh");
}

/* Everybody logs in with a device password, and the application's token for Exchange is cached. */
static void begin_app(struct site *site)
{
	begin(site, "A");
	open_site(site);
	world_cache(&site->v, MAUTH_GRANT_APP, APP_TOKEN);
}

static void end(struct site *site)
{
	free(site->device);
	vault_world_end(&site->v);
}

static void pass(struct site *site, unsigned int msecs)
{
	fake_loop_run(site->v.w.loop, msecs);
}

/* The application's token for Exchange is a new one then. */
static void pass_renewing(struct site *site, unsigned int msecs)
{
	pass(site, msecs);
	world_cache(&site->v, MAUTH_GRANT_APP, APP_TOKEN);
}

static struct outcome *start(struct site *site, struct outcome *outcome)
{
	memset(outcome, 0, sizeof(*outcome));
	world_start_verified(&site->v, ALICE, site->device, false, outcome);
	world_turn(&site->v.w);
	return outcome;
}

static bool graph_is_asked(const struct site *site)
{
	return fake_http_open(site->v.w.http) > 0 &&
	       strcmp(fake_http_url(site->v.w.http),
		      "https://graph.example/v1.0/users/alice%40contoso.com?$select=accountEnabled,id") == 0;
}

/* Entra gives the token that Graph is asked with. */
static void give_graph_token(struct site *site)
{
	assert_non_null(strstr(fake_http_form(site->v.w.http), "grant_type=client_credentials"));
	assert_non_null(strstr(fake_http_form(site->v.w.http), "scope=https%3A%2F%2Fgraph.example%2F.default"));
	fake_http_token(site->v.w.http, "graph", 3600);
	world_turn(&site->v.w);
	assert_true(graph_is_asked(site));
	world_secret(&site->v.w, fake_http_bearer(site->v.w.http));
}

static void graph_says(struct site *site, unsigned int status, const char *body)
{
	assert_true(graph_is_asked(site));
	assert_string_not_equal(fake_http_bearer(site->v.w.http), "");
	fake_http_reply(site->v.w.http, status, body, NULL);
	world_turn(&site->v.w);
}

/* A login for which Graph is asked, with a token that is there already if has_token. */
static struct outcome *login_asking(struct site *site, bool has_token, unsigned int status, const char *body)
{
	static struct outcome outcome;

	start(site, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_http_open(site->v.w.http), 1);
	if (!has_token)
		give_graph_token(site);
	graph_says(site, status, body);
	return &outcome;
}

static void at_once(struct site *site, enum mauth_status status)
{
	world_at_once(&site->v, site->device, false, status);
}

/* A login that need not wait for the question that it starts, which ends with this HTTP status. */
static void at_once_but_asking(struct site *site, unsigned int status)
{
	static struct outcome outcome;

	world_ended(start(site, &outcome), MAUTH_OK);
	graph_says(site, status, "");
}

static void an_enabled_account_is_given_the_applications_token(void **state)
{
	struct site site;
	struct outcome outcome;

	begin(&site, "A");
	open_site(&site);
	start(&site, &outcome);
	give_graph_token(&site);
	assert_int_equal(outcome.calls, 0);
	graph_says(&site, 200, ENABLED);
	assert_int_equal(outcome.calls, 0);
	assert_non_null(strstr(fake_http_form(site.v.w.http), "scope=https%3A%2F%2Foutlook.example%2F.default"));
	fake_http_token(site.v.w.http, "app", 3600);
	world_turn(&site.v.w);
	world_ended(&outcome, MAUTH_OK);
	assert_int_equal(outcome.verified_by, MAUTH_VERIFIED_DEVICE);
	at_once(&site, MAUTH_OK);
	end(&site);
}

static void a_disabled_account_gets_nothing_although_the_token_is_cached(void **state)
{
	struct site site;
	struct outcome *outcome;

	begin_app(&site);
	outcome = login_asking(&site, false, 200, DISABLED);
	world_ended(outcome, MAUTH_DISABLED);
	assert_non_null(strstr(outcome->error.text, "alice@contoso.com is disabled"));
	assert_non_null(strstr(outcome->error.advice, "check_accounts"));
	assert_non_null(strstr(site.v.w.sinks.records, "account check"));
	pass(&site, 59000);
	at_once(&site, MAUTH_DISABLED);
	/* Who is enabled again need not wait longer than that. */
	pass(&site, 2000);
	world_ended(login_asking(&site, true, 200, ENABLED), MAUTH_OK);
	end(&site);
}

static void who_has_no_account_gets_nothing(void **state)
{
	struct site site;

	begin_app(&site);
	world_ended(login_asking(&site, false, 404, NOT_FOUND), MAUTH_USER_UNKNOWN);
	at_once(&site, MAUTH_USER_UNKNOWN);
	end(&site);
}

static void an_answer_is_good_for_an_hour_and_not_a_second_longer(void **state)
{
	struct site site;
	struct outcome outcome;

	begin_app(&site);
	world_ended(login_asking(&site, false, 200, ENABLED), MAUTH_OK);
	pass(&site, 39 * MINUTE);
	at_once(&site, MAUTH_OK);
	/* It gets old: whoever comes starts a question, and nobody waits for it. */
	pass_renewing(&site, 20 * MINUTE);
	world_ended(start(&site, &outcome), MAUTH_OK);
	assert_int_equal(fake_http_open(site.v.w.http), 1);
	pass(&site, 59000);
	at_once(&site, MAUTH_OK);
	/* Graph still says nothing: now everybody waits, for the same question. */
	pass(&site, 2000);
	start(&site, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_http_open(site.v.w.http), 1);
	graph_says(&site, 200, DISABLED);
	world_ended(&outcome, MAUTH_DISABLED);
	end(&site);
}

static void who_is_disabled_while_he_works_is_out_with_the_answer_in_the_background(void **state)
{
	struct site site;
	struct outcome outcome;

	begin_app(&site);
	world_ended(login_asking(&site, false, 200, ENABLED), MAUTH_OK);
	pass_renewing(&site, 51 * MINUTE);
	world_ended(start(&site, &outcome), MAUTH_OK);
	assert_true(graph_is_asked(&site));
	graph_says(&site, 200, DISABLED);
	at_once(&site, MAUTH_DISABLED);
	end(&site);
}

static void one_question_is_enough_for_all_who_wait(void **state)
{
	static struct outcome outcomes[20];
	struct site site;

	begin_app(&site);
	for (size_t i = 0; i < 20; i++)
		start(&site, &outcomes[i]);
	assert_int_equal(fake_http_started(site.v.w.http), 1);
	give_graph_token(&site);
	assert_int_equal(fake_http_started(site.v.w.http), 2);
	graph_says(&site, 200, ENABLED);
	for (size_t i = 0; i < 20; i++)
		world_ended(&outcomes[i], MAUTH_OK);
	assert_int_equal(fake_http_started(site.v.w.http), 2);
	end(&site);
}

static void without_permission_it_is_our_error_and_graph_is_not_asked_with_each_login(void **state)
{
	struct site site;
	struct outcome *outcome;

	begin_app(&site);
	outcome = login_asking(&site, false, 403, DENIED);
	world_ended(outcome, MAUTH_CONFIG);
	assert_non_null(strstr(outcome->error.advice, "User.Read.All"));
	assert_non_null(strstr(outcome->error.advice, "check_accounts"));
	at_once(&site, MAUTH_CONFIG);
	/* The permission is in a new token, not in the old one. */
	pass(&site, 10000);
	world_ended(login_asking(&site, false, 200, ENABLED), MAUTH_OK);
	end(&site);
}

static void a_token_that_graph_does_not_want_is_replaced_once(void **state)
{
	struct site site;
	struct outcome outcome;

	begin_app(&site);
	start(&site, &outcome);
	give_graph_token(&site);
	graph_says(&site, 401, BAD_TOKEN);
	assert_int_equal(outcome.calls, 0);
	give_graph_token(&site);
	graph_says(&site, 200, ENABLED);
	world_ended(&outcome, MAUTH_OK);
	mauth_account_forget(site.v.w.broker->accounts, site.v.w.tenant, ALICE);
	start(&site, &outcome);
	graph_says(&site, 401, BAD_TOKEN);
	give_graph_token(&site);
	graph_says(&site, 401, BAD_TOKEN);
	world_ended(&outcome, MAUTH_CONFIG);
	end(&site);
}

static void an_outage_of_graph_is_temporary_and_breaks_the_circuit(void **state)
{
	struct site site;

	begin_app(&site);
	world_ended(login_asking(&site, false, 503, ""), MAUTH_TEMPORARY);
	for (int i = 0; i < 4; i++) {
		struct outcome outcome;

		start(&site, &outcome);
		fake_http_fail(site.v.w.http, MAUTH_TIMEOUT);
		world_turn(&site.v.w);
		world_ended(&outcome, MAUTH_TIMEOUT);
	}
	at_once(&site, MAUTH_TEMPORARY);
	pass(&site, 6000);
	world_ended(login_asking(&site, true, 200, ENABLED), MAUTH_OK);
	/* Within the hour nobody notices the next one. */
	pass_renewing(&site, 52 * MINUTE);
	at_once_but_asking(&site, 503);
	pass(&site, 2 * MINUTE);
	at_once_but_asking(&site, 503);
	end(&site);
}

static void a_pause_that_graph_asks_for_is_kept(void **state)
{
	struct site site;
	struct outcome outcome;

	begin_app(&site);
	start(&site, &outcome);
	give_graph_token(&site);
	fake_http_reply(site.v.w.http, 429, DENIED, "120");
	world_turn(&site.v.w);
	world_ended(&outcome, MAUTH_TEMPORARY);
	pass(&site, 119000);
	at_once(&site, MAUTH_TEMPORARY);
	pass(&site, 2000);
	world_ended(login_asking(&site, true, 200, ENABLED), MAUTH_OK);
	end(&site);
}

static void without_a_token_for_graph_nobody_gets_in(void **state)
{
	struct site site;
	struct outcome outcome;

	begin_app(&site);
	start(&site, &outcome);
	fake_http_aadsts(site.v.w.http, 400, "invalid_resource", 500011);
	world_turn(&site.v.w);
	assert_int_equal(outcome.calls, 1);
	assert_true(mauth_login_is_outage(outcome.status));
	assert_non_null(strstr(outcome.error.text, "Graph"));
	end(&site);
}

static void a_login_waits_for_graph_no_longer_than_its_deadline(void **state)
{
	struct site site;
	struct outcome outcome;

	begin_app(&site);
	start(&site, &outcome);
	give_graph_token(&site);
	pass(&site, 20000);
	/* Not with the cached token of the application, as in other outages. */
	world_ended(&outcome, MAUTH_TIMEOUT);
	assert_string_equal(outcome.token, "");
	graph_says(&site, 200, ENABLED);
	at_once(&site, MAUTH_OK);
	end(&site);
}

static void what_is_forgotten_is_asked_anew(void **state)
{
	struct site site;
	struct mauth_mailbox where;
	struct outcome outcome;
	unsigned int tokens, refusals;

	begin_app(&site);
	world_ended(login_asking(&site, false, 200, ENABLED), MAUTH_OK);
	assert_int_equal(mauth_broker_resolve(site.v.w.broker, ALICE, &where, NULL), MAUTH_OK);
	mauth_broker_forget(site.v.w.broker, &where, &tokens, &refusals);
	world_ended(login_asking(&site, true, 200, ENABLED), MAUTH_OK);
	/* An answer that was under way then is for those who wait. */
	mauth_broker_forget(site.v.w.broker, &where, &tokens, &refusals);
	start(&site, &outcome);
	mauth_broker_forget(site.v.w.broker, &where, &tokens, &refusals);
	graph_says(&site, 200, ENABLED);
	world_ended(&outcome, MAUTH_OK);
	world_ended(login_asking(&site, true, 200, DISABLED), MAUTH_DISABLED);
	end(&site);
}

static void who_was_verified_by_an_earlier_passdb_is_not_asked_about(void **state)
{
	struct site site;

	begin_app(&site);
	world_at_once(&site.v, GOOD, true, MAUTH_OK);
	end(&site);
}

static void a_rule_says_otherwise_than_the_tenant(void **state)
{
	struct site site;

	begin(&site, "A");
	vault_world_rule(&site.v)->check_accounts = MAUTH_NO;
	open_site(&site);
	world_cache(&site.v, MAUTH_GRANT_APP, APP_TOKEN);
	at_once(&site, MAUTH_OK);
	end(&site);
	begin(&site, "A");
	site.v.w.tenant->check_accounts = false;
	vault_world_rule(&site.v)->check_accounts = MAUTH_YES;
	open_site(&site);
	world_cache(&site.v, MAUTH_GRANT_APP, APP_TOKEN);
	world_ended(login_asking(&site, false, 200, DISABLED), MAUTH_DISABLED);
	end(&site);
	begin(&site, "A");
	site.v.w.tenant->check_accounts = false;
	vault_world_rule(&site.v);
	open_site(&site);
	world_cache(&site.v, MAUTH_GRANT_APP, APP_TOKEN);
	at_once(&site, MAUTH_OK);
	end(&site);
}

/* Entra itself looks at the user whose enrolment it is. */
static void an_enrolled_user_who_is_disabled_is_out_with_the_next_token(void **state)
{
	struct site site;
	struct outcome *outcome;

	begin(&site, "E");
	open_site(&site);
	world_enrol(&site.v, ALICE, "refresh-token-1");
	outcome = world_ask(&site.v, ALICE, site.device, false);
	world_refreshed(&site.v, ALICE, "oid-1", "refresh-token-2");
	world_turn(&site.v.w);
	world_ended(outcome, MAUTH_OK);
	pass(&site, 60 * MINUTE);
	outcome = world_ask(&site.v, ALICE, site.device, false);
	fake_http_aadsts(site.v.w.http, 400, "invalid_grant", 50057);
	world_turn(&site.v.w);
	world_ended(outcome, MAUTH_DISABLED);
	end(&site);
}

static void an_outage_of_graph_leaves_the_next_way_open_and_a_disabled_account_closes_it(void **state)
{
	struct site site;
	struct outcome *outcome;

	begin(&site, "AE");
	open_site(&site);
	world_cache(&site.v, MAUTH_GRANT_APP, APP_TOKEN);
	world_enrol(&site.v, ALICE, "refresh-token-1");
	world_cache(&site.v, MAUTH_GRANT_ENROLLED, "token-of-the-enrolment");
	outcome = login_asking(&site, false, 503, "");
	world_ended(outcome, MAUTH_OK);
	assert_string_equal(outcome->token, "token-of-the-enrolment");
	world_ended(login_asking(&site, true, 200, DISABLED), MAUTH_DISABLED);
	at_once(&site, MAUTH_DISABLED);
	end(&site);
}

static void a_broker_ends_with_questions_open(void **state)
{
	struct site site;
	struct outcome outcome;

	begin_app(&site);
	world_ended(login_asking(&site, false, 200, ENABLED), MAUTH_OK);
	pass_renewing(&site, 51 * MINUTE);
	world_ended(start(&site, &outcome), MAUTH_OK);
	assert_int_equal(fake_http_open(site.v.w.http), 1);
	mauth_broker_stop(site.v.w.broker);
	assert_int_equal(fake_http_open(site.v.w.http), 0);
	end(&site);
}

static void a_successor_knows_what_its_predecessor_knew_and_for_no_longer(void **state)
{
	struct site site;
	const struct mauth_node *at = NULL;
	struct mauth_account_fact fact, more, wrong = { .upn = BOB, .status = MAUTH_TEMPORARY, .good_until = INT64_MAX };
	struct mauth_accounts *accounts;
	struct mauth_error error;

	begin_app(&site);
	world_ended(login_asking(&site, false, 200, ENABLED), MAUTH_OK);
	pass(&site, 30 * MINUTE);
	mauth_broker_stop(site.v.w.broker);
	assert_true(mauth_accounts_next(site.v.w.broker->accounts, &at, &fact));
	assert_string_equal(fact.upn, ALICE);
	assert_int_equal(fact.tenant, site.v.w.tenant->key);
	assert_false(mauth_accounts_next(site.v.w.broker->accounts, &at, &more));
	fact.upn = ALICE;
	vault_world_restart(&site.v);
	accounts = site.v.w.broker->accounts;
	world_cache(&site.v, MAUTH_GRANT_APP, APP_TOKEN);
	mauth_accounts_adopt(accounts, site.v.w.tenant, &fact);
	mauth_accounts_adopt(accounts, site.v.w.tenant, &wrong);
	at_once(&site, MAUTH_OK);
	/* Whatever it says, an answer is not good for more than an hour. */
	wrong.status = MAUTH_OK;
	mauth_accounts_adopt(accounts, site.v.w.tenant, &wrong);
	at = NULL;
	while (mauth_accounts_next(accounts, &at, &more))
		assert_true(more.good_until <= mauth_mono_msecs(fake_loop_loop(site.v.w.loop)) + 60 * MINUTE);
	pass(&site, 29 * MINUTE);
	assert_true(mauth_account_known(accounts, site.v.w.tenant, ALICE, &fact.status, &error));
	pass(&site, MINUTE);
	assert_false(mauth_account_known(accounts, site.v.w.tenant, ALICE, &fact.status, &error));
	end(&site);
}

static void graphs_replies_are_read(void **state)
{
	static const struct {
		unsigned int http_status;
		const char *body;
		enum mauth_status status;
	} rows[] = {
		{ 200, ENABLED, MAUTH_OK },
		{ 200, DISABLED, MAUTH_DISABLED },
		{ 200, "{\"id\":\"1\"}", MAUTH_CONFIG },
		{ 200, "{\"accountEnabled\":null}", MAUTH_CONFIG },
		{ 200, "{\"accountEnabled\":\"true\"}", MAUTH_CONFIG },
		{ 200, "<html>", MAUTH_PROTOCOL },
		{ 200, "", MAUTH_PROTOCOL },
		{ 302, ENABLED, MAUTH_PROTOCOL },
		{ 400, ENABLED, MAUTH_PROTOCOL },
		{ 404, NOT_FOUND, MAUTH_USER_UNKNOWN },
		/* Of a proxy, or of a mistyped setting. */
		{ 404, "<html>", MAUTH_PROTOCOL },
		{ 401, BAD_TOKEN, MAUTH_CONFIG },
		{ 403, DENIED, MAUTH_CONFIG },
		{ 403, "", MAUTH_CONFIG },
		{ 429, "", MAUTH_TEMPORARY },
		{ 500, ENABLED, MAUTH_TEMPORARY },
		{ 503, "", MAUTH_TEMPORARY },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_error error = { .status = MAUTH_OK };
		enum mauth_status status = mauth_entra_parse_account(ALICE, rows[i].http_status, rows[i].body,
								     strlen(rows[i].body), &error);

		if (status != rows[i].status || error.status != status)
			fail_msg("%u %s: %s (%s)", rows[i].http_status, rows[i].body, mauth_status_name(status), error.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_enabled_account_is_given_the_applications_token),
		cmocka_unit_test(a_disabled_account_gets_nothing_although_the_token_is_cached),
		cmocka_unit_test(who_has_no_account_gets_nothing),
		cmocka_unit_test(an_answer_is_good_for_an_hour_and_not_a_second_longer),
		cmocka_unit_test(who_is_disabled_while_he_works_is_out_with_the_answer_in_the_background),
		cmocka_unit_test(one_question_is_enough_for_all_who_wait),
		cmocka_unit_test(without_permission_it_is_our_error_and_graph_is_not_asked_with_each_login),
		cmocka_unit_test(a_token_that_graph_does_not_want_is_replaced_once),
		cmocka_unit_test(an_outage_of_graph_is_temporary_and_breaks_the_circuit),
		cmocka_unit_test(a_pause_that_graph_asks_for_is_kept),
		cmocka_unit_test(without_a_token_for_graph_nobody_gets_in),
		cmocka_unit_test(a_login_waits_for_graph_no_longer_than_its_deadline),
		cmocka_unit_test(what_is_forgotten_is_asked_anew),
		cmocka_unit_test(who_was_verified_by_an_earlier_passdb_is_not_asked_about),
		cmocka_unit_test(a_rule_says_otherwise_than_the_tenant),
		cmocka_unit_test(an_enrolled_user_who_is_disabled_is_out_with_the_next_token),
		cmocka_unit_test(an_outage_of_graph_leaves_the_next_way_open_and_a_disabled_account_closes_it),
		cmocka_unit_test(a_broker_ends_with_questions_open),
		cmocka_unit_test(a_successor_knows_what_its_predecessor_knew_and_for_no_longer),
		cmocka_unit_test(graphs_replies_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
