/* SPDX-License-Identifier: MIT */
/* What would become of a login is what becomes of it, and asking changes nothing. */
#include "vault_world.h"

#include "core/explain.h"
#include "core/mem.h"
#include "core/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct mauth_buf said;

static void hear(const char *item, const char *name, const char *value, void *context)
{
	assert_null(context);
	mauth_buf_printf(&said, "%s|%s|%s\n", item, name, value);
}

/* ALICE over IMAP from 192.0.2.7 with TLS, unless the question says something else. Nothing may be sent, counted or recorded. */
static const char *explain(struct world *w, struct mauth_explain_question question)
{
	unsigned int started = fake_http_started(w->http), records = w->sinks.records_count;
	struct mauth_broker_stats before, after;
	unsigned int timers = fake_loop_timers(w->loop);

	question.user = question.user == NULL ? ALICE : question.user;
	question.client_ip = question.client_ip == NULL ? "192.0.2.7" : question.client_ip;
	question.tls = true;
	question.tls_protocol = "TLSv1.2";
	mauth_broker_stats(w->broker, &before);
	mauth_buf_clear(&said);
	mauth_buf_puts(&said, "");
	mauth_broker_explain(w->broker, &question, hear, NULL);
	mauth_broker_stats(w->broker, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(fake_http_started(w->http), started);
	assert_int_equal(fake_loop_timers(w->loop), timers);
	assert_int_equal(w->sinks.records_count, records);
	return said.data;
}

static void expect(const char *line)
{
	char needle[700];

	snprintf(needle, sizeof(needle), "\n%s\n", line);
	if (strstr(said.data, needle) == NULL)
		fail_msg("no line \"%s\" in\n%s", line, said.data);
}

static void never(const char *text)
{
	if (strstr(said.data, text) != NULL)
		fail_msg("\"%s\" in\n%s", text, said.data);
}

static int end(void **state)
{
	mauth_buf_free(&said);
	return 0;
}

/* -- rules -------------------------------------------------------------------------------------------------- */

static void a_user_of_no_tenant_is_the_next_passdbs(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	explain(&w, (struct mauth_explain_question){ .user = "x@elsewhere.example" });
	expect("outcome|password|the next passdb decides");
	never("grant|");
	explain(&w, (struct mauth_explain_question){ .user = "a b@contoso.com" });
	assert_non_null(strstr(said.data, "outcome|password|a login would be refused (bad_credentials)"));
	world_end(&w);
}

static void the_rule_that_decides_is_named_and_why_those_before_it_do_not(void **state)
{
	struct mauth_rule *rule;
	struct world w;

	world_begin(&w);
	world_rule(&w, "pop only")->services = 1u << MAUTH_SERVICE_POP3;
	world_rule(&w, "old tls")->tls = MAUTH_TLS_NONE;
	rule = world_rule(&w, "clients");
	rule->client_ids = mauth_new_array(2, sizeof(char *));
	rule->client_ids[0] = mauth_strdup("*Thunderbird*");
	rule = world_rule(&w, "the rest");
	rule->action = MAUTH_ACTION_DENY;
	rule->line = 42;
	rule->message = mauth_strdup("Ask the help desk");
	world_open(&w);
	explain(&w, (struct mauth_explain_question){ .verbose = true });
	expect("rule before|pop only|line 0: protocols does not match imap");
	expect("rule before|old tls|line 0: tls does not match TLSv1.2");
	expect("rule before|clients|line 0: client_ids does not match a client that does not say");
	expect("rule|name|the rest");
	expect("rule|line|42");
	expect("rule|action|deny");
	expect("rule|message|Ask the help desk");
	expect("outcome|password|a login would be refused (policy): rule \"the rest\" denies imap");
	expect("outcome|told|Ask the help desk");
	explain(&w, (struct mauth_explain_question){ 0 });
	never("rule before");
	explain(&w, (struct mauth_explain_question){ .service = MAUTH_SERVICE_POP3 });
	expect("rule|name|pop only");
	expect("upstream|tls|implicit");
	world_end(&w);
}

static void no_more_than_twenty_rules_are_told_apart(void **state)
{
	struct world w;

	world_begin(&w);
	for (unsigned int i = 0; i < 25; i++)
		world_rule(&w, "pop only")->services = 1u << MAUTH_SERVICE_POP3;
	world_open(&w);
	explain(&w, (struct mauth_explain_question){ .verbose = true });
	assert_int_equal(world_count(said.data, "rule before|pop only"), 20);
	expect("rule before|...|and 5 more, which do not match either");
	expect("rule|name|no rule matches: the tenant decides");
	world_end(&w);
}

static void both_sides_of_an_end_are_explained_at_any_time(void **state)
{
	struct mauth_rule *rule;
	struct world w;

	world_begin(&w);
	rule = world_rule(&w, "scanners");
	rule->until = WORLD_WALL + 12 * 86400;
	rule->then = MAUTH_ACTION_LOCAL;
	world_open(&w);
	explain(&w, (struct mauth_explain_question){ 0 });
	expect("rule|action|upgrade");
	expect("rule|until|2023-11-26, 2023-11-26T22:13:20Z");
	expect("rule|then|local");
	expect("rule|days_left|12");
	explain(&w, (struct mauth_explain_question){ .at = WORLD_WALL + 12 * 86400 });
	expect("rule|action|local");
	expect("rule|days_left|0 (it has ended: \"then\" holds)");
	expect("outcome|password|the mailbox is not in Exchange Online: the next passdb decides");
	world_end(&w);
}

static void a_watched_login_shows_what_would_happen(void **state)
{
	struct world w;

	world_begin(&w);
	world_rule(&w, "watch")->action = MAUTH_ACTION_MONITOR;
	world_rule(&w, "rest")->action = MAUTH_ACTION_BASIC;
	world_open(&w);
	explain(&w, (struct mauth_explain_question){ 0 });
	expect("rule|would|basic");
	expect("rule|would_rule|rest");
	expect("outcome|password|the attempt would be written down, and the next passdb decides");
	world_end(&w);
}

static void clients_with_a_token_and_foreign_mailboxes_are_told_apart(void **state)
{
	struct mauth_rule *rule;
	struct world w;

	world_begin(&w);
	rule = world_rule(&w, "shared");
	rule->mailboxes = mauth_new_array(2, sizeof(char *));
	rule->mailboxes[0] = mauth_strdup("sales@contoso.com");
	world_open(&w);
	explain(&w, (struct mauth_explain_question){ .mechanism = "xoauth2" });
	expect("outcome|token|the client's own token would be passed on; Exchange judges it");
	explain(&w, (struct mauth_explain_question){ .user = "alice@contoso.com\\sales@contoso.com" });
	expect("route|mailbox|sales@contoso.com");
	assert_non_null(strstr(said.data, "would be upgraded with grant password"));
	explain(&w, (struct mauth_explain_question){ .user = "alice@contoso.com\\boss@contoso.com" });
	assert_non_null(strstr(said.data, "a login would be refused (policy): no rule lets"));
	w.tenant->client_tokens = false;
	explain(&w, (struct mauth_explain_question){ .mechanism = "OAUTHBEARER" });
	assert_non_null(strstr(said.data, "would be refused (policy): client_tokens is off"));
	world_end(&w);
}

/* -- grants ------------------------------------------------------------------------------------------------- */

static void a_token_in_the_cache_is_seen(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	explain(&w, (struct mauth_explain_question){ 0 });
	expect("grant|password|usable");
	expect("token|password|none in cache");
	expect("entra|password|may be asked");
	expect("outcome|password|a login with the right password would be upgraded with grant password (token fetched from Entra)");
	world_fetch(&w, ALICE, GOOD, 3600);
	explain(&w, (struct mauth_explain_question){ 0 });
	assert_non_null(strstr(said.data, "60 minutes left, for who sends the password that it was got with"));
	expect("outcome|password|a login with the right password would be upgraded with grant password (token in cache, if it was "
	       "got with this password)");
	world_end(&w);
}

static void refusals_and_a_lock_out_are_seen_and_not_counted(void **state)
{
	struct world w;

	world_begin(&w);
	w.tenant->user_realm = false;
	world_open(&w);
	for (unsigned int i = 0; i < w.config->lockout_threshold; i++)
		world_refuse(&w, ALICE, world_bad(i), 50126);
	explain(&w, (struct mauth_explain_question){ 0 });
	assert_non_null(strstr(said.data, "lock-out|refusals|5 passwords of this user are remembered as refused"));
	assert_non_null(strstr(said.data, "lock-out|locked|not forwarded to Entra for "));
	assert_non_null(strstr(said.data, "outcome|password|a login with the right password would be refused (locked): too many bad"));
	world_end(&w);
}

static void an_open_breaker_is_seen_and_its_probe_is_not_taken(void **state)
{
	struct outcome outcome;
	struct world w;

	world_begin(&w);
	world_open(&w);
	w.config->request_timeout_msecs = 500;
	for (unsigned int i = 0; i < 5; i++) {
		memset(&outcome, 0, sizeof(outcome));
		world_start(&w, ALICE, GOOD, &outcome);
		world_turn(&w);
		fake_http_fail(w.http, MAUTH_TEMPORARY);
		world_turn(&w);
		world_ended(&outcome, MAUTH_TEMPORARY);
	}
	explain(&w, (struct mauth_explain_question){ 0 });
	expect("entra|password|is not asked now: Entra has failed 5 times in a row, next try in 5 s");
	assert_non_null(strstr(said.data, "would be refused (temporary): Entra has failed 5 times"));
	fake_loop_run(w.loop, 6000);
	explain(&w, (struct mauth_explain_question){ 0 });
	expect("entra|password|may be asked");
	world_fetch(&w, ALICE, GOOD, 3600);
	world_end(&w);
}

static void enrolments_devices_and_the_order_of_grants_are_seen(void **state)
{
	struct vault_world world;
	char *device;

	vault_world_open_with(&world, "EP");
	explain(&world.w, (struct mauth_explain_question){ 0 });
	assert_non_null(strstr(said.data, "grant|enrolled|skipped: "));
	expect("verifier|device password|0 of 0 may be used here");
	expect("outcome|earlier passdb|a login that an earlier passdb has accepted would be upgraded with grant password (token fetched "
	       "from Entra)");
	world_enrol(&world, ALICE, "refresh-1");
	device = world_device(&world, ALICE, "phone");
	world_cache(&world, MAUTH_GRANT_ENROLLED, "cached-by-enrolment");
	explain(&world.w, (struct mauth_explain_question){ 0 });
	expect("grant|enrolled|usable");
	expect("grant|password|usable");
	expect("verifier|device password|1 of 1 may be used here");
	expect("outcome|device password|a login with a device password would be upgraded with grant enrolled (token in cache)");
	expect("outcome|password|a login with the right password would be upgraded with grant password (token fetched from Entra)");
	free(device);
	vault_world_end(&world);
}

static void without_a_store_nobody_knows_the_device_passwords(void **state)
{
	struct vault_world world;
	struct mauth_error error;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "E");
	mauth_fail(&error, MAUTH_CONFIG, 0, "the disk is gone");
	vault_world_open_without(&world, &error);
	explain(&world.w, (struct mauth_explain_question){ 0 });
	expect("outcome|password|a login with the right password would be refused (config): the disk is gone");
	expect("outcome|earlier passdb|a login that an earlier passdb has accepted would be refused (config): the disk is gone");
	vault_world_end(&world);
	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "EP");
	vault_world_open_without(&world, NULL);
	explain(&world.w, (struct mauth_explain_question){ 0 });
	expect("verifier|device password|not known: the store is not open");
	expect("grant|enrolled|skipped: the store is not open");
	expect("outcome|password|a login with the right password would be refused (config): the store is not open");
	vault_world_end(&world);
}

static void who_could_enrol_would_be_told_how(void **state)
{
	struct vault_world world;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "E");
	vault_world_rule(&world)->self_service = true;
	vault_world_open(&world);
	explain(&world.w, (struct mauth_explain_question){ 0 });
	expect("outcome|password|a login with the right password would be refused, and told how to enrol (self_service)");
	vault_world_end(&world);
}

static void what_graph_says_of_an_account_is_seen(void **state)
{
	struct mauth_account_fact fact = { .upn = ALICE, .status = MAUTH_DISABLED, .good_until = INT64_MAX, .refresh_at = INT64_MAX };
	struct vault_world world;
	char *device;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "A");
	world.w.tenant->check_accounts = true;
	vault_world_open(&world);
	device = world_device(&world, ALICE, "printer");
	world_cache(&world, MAUTH_GRANT_APP, "cached-by-app");
	explain(&world.w, (struct mauth_explain_question){ 0 });
	expect("account|alice@contoso.com|Graph has not been asked yet");
	expect("outcome|device password|a login with a device password would be upgraded with grant app (token in cache, once Graph "
	       "says that the account is enabled)");
	fact.tenant = world.w.tenant->key;
	mauth_accounts_adopt(world.w.broker->accounts, world.w.tenant, &fact);
	explain(&world.w, (struct mauth_explain_question){ 0 });
	assert_non_null(strstr(said.data, "outcome|device password|a login with a device password would be refused (disabled): "));
	/* Where an earlier passdb vouches for the user nobody asks Graph. */
	expect("outcome|earlier passdb|a login that an earlier passdb has accepted would be upgraded with grant app (token in cache)");
	free(device);
	vault_world_end(&world);
}

#define T(test) cmocka_unit_test_teardown(test, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_user_of_no_tenant_is_the_next_passdbs), T(the_rule_that_decides_is_named_and_why_those_before_it_do_not),
		T(no_more_than_twenty_rules_are_told_apart), T(both_sides_of_an_end_are_explained_at_any_time),
		T(a_watched_login_shows_what_would_happen), T(clients_with_a_token_and_foreign_mailboxes_are_told_apart),
		T(a_token_in_the_cache_is_seen), T(refusals_and_a_lock_out_are_seen_and_not_counted),
		T(an_open_breaker_is_seen_and_its_probe_is_not_taken), T(enrolments_devices_and_the_order_of_grants_are_seen),
		T(without_a_store_nobody_knows_the_device_passwords), T(who_could_enrol_would_be_told_how),
		T(what_graph_says_of_an_account_is_seen),
	};

	(void)setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
