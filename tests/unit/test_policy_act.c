/* SPDX-License-Identifier: MIT */
/* What becomes of a login by what the rules say. */
#include "broker_world.h"

#include "core/mem.h"
#include "core/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct outcome login_with(struct world *w, const char *password, struct mauth_attempt *attempt)
{
	struct outcome outcome = { 0 };

	world_start_as(w, ALICE, password, attempt, &outcome);
	world_turn(w);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.records, w->sinks.records_count);
	return outcome;
}

static void expect_record(const struct world *w, const char *text)
{
	if (strstr(w->sinks.records, text) == NULL)
		fail_msg("no %s in %s", text, w->sinks.records);
}

static void a_watched_login_goes_on_to_the_next_passdb(void **state)
{
	static const char *const passwords[] = { GOOD, "" };
	struct outcome outcome;
	struct world w;

	world_begin(&w);
	world_rule(&w, "watch first")->action = MAUTH_ACTION_MONITOR;
	world_rule(&w, "the rest")->action = MAUTH_ACTION_DENY;
	world_open(&w);
	for (size_t i = 0; i < 2; i++) {
		outcome = login_with(&w, passwords[i], &(struct mauth_attempt){ 0 });
		assert_int_equal(outcome.status, MAUTH_NOT_OURS);
		assert_string_equal(outcome.error.tell, "");
	}
	expect_record(&w, "\"decision\":\"monitor\",\"rule\":\"watch first\",\"would\":\"deny\",\"would_rule\":\"the rest\"");
	expect_record(&w, "\"outcome\":\"unknown\"");
	assert_int_equal(fake_http_started(w.http), 0);
	assert_int_equal(w.broker->stats.monitored, 2);
	assert_int_equal(w.broker->stats.not_ours, 0);
	world_end(&w);
}

static void an_unwritable_audit_does_not_stop_who_is_only_watched(void **state)
{
	struct outcome outcome;
	struct world w;

	world_begin(&w);
	w.config->audit_required = true;
	world_rule(&w, "watch first")->action = MAUTH_ACTION_MONITOR;
	world_open(&w);
	w.sinks.audit_broken = true;
	outcome = login_with(&w, GOOD, &(struct mauth_attempt){ 0 });
	assert_int_equal(outcome.status, MAUTH_NOT_OURS);
	world_end(&w);
}

static void an_unwritable_audit_lets_nobody_in_who_is_denied(void **state)
{
	struct outcome outcome;
	struct world w;

	world_begin(&w);
	w.config->audit_required = true;
	world_rule(&w, "the rest")->action = MAUTH_ACTION_DENY;
	world_open(&w);
	w.sinks.audit_broken = true;
	outcome = login_with(&w, GOOD, &(struct mauth_attempt){ 0 });
	assert_int_equal(outcome.status, MAUTH_AUDIT);
	assert_true(outcome.error.is_final);
	world_end(&w);
}

static void a_local_mailbox_is_left_to_the_next_passdb(void **state)
{
	struct outcome outcome;
	struct world w;

	world_begin(&w);
	world_rule(&w, "still here")->action = MAUTH_ACTION_LOCAL;
	world_open(&w);
	outcome = login_with(&w, GOOD, &(struct mauth_attempt){ 0 });
	assert_int_equal(outcome.status, MAUTH_NOT_OURS);
	expect_record(&w, "\"decision\":\"local\",\"rule\":\"still here\"");
	/* Whatever it comes with. */
	outcome = login_with(&w, "a.client.token", &(struct mauth_attempt){ .password_is_token = true, .mechanism = "XOAUTH2" });
	assert_int_equal(outcome.status, MAUTH_NOT_OURS);
	assert_int_equal(w.broker->stats.local, 2);
	world_end(&w);
}

static void who_is_denied_is_told_what_the_admin_wrote(void **state)
{
	struct outcome outcome;
	struct mauth_rule *rule;
	struct world w;

	world_begin(&w);
	rule = world_rule(&w, "the rest");
	rule->action = MAUTH_ACTION_DENY;
	world_open(&w);
	w.config->explain_to_client = true;
	outcome = login_with(&w, GOOD, &(struct mauth_attempt){ 0 });
	assert_int_equal(outcome.status, MAUTH_POLICY);
	assert_string_equal(outcome.error.tell, "Logging in with a password alone is switched off here. Ask your administrator.");
	w.config->explain_to_client = false;
	assert_string_equal(login_with(&w, GOOD, &(struct mauth_attempt){ 0 }).error.tell, "");
	rule->message = mauth_strdup("Use https://contoso.com/mail");
	outcome = login_with(&w, GOOD, &(struct mauth_attempt){ 0 });
	assert_string_equal(outcome.error.tell, "Use https://contoso.com/mail");
	assert_true(outcome.error.is_final);
	expect_record(&w, "\"decision\":\"deny\",\"rule\":\"the rest\"");
	expect_record(&w, "\"status\":\"policy\"");
	assert_int_equal(fake_http_started(w.http), 0);
	assert_int_equal(w.broker->stats.denied, 3);
	world_end(&w);
}

static void a_cached_token_does_not_outlive_its_rule(void **state)
{
	struct outcome outcome;
	struct mauth_rule *rule;
	struct world w;

	world_begin(&w);
	rule = world_rule(&w, "scanners");
	rule->until = WORLD_WALL + 60;
	rule->then = MAUTH_ACTION_DENY;
	world_open(&w);
	w.config->explain_to_client = true;
	(void)world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 59000);
	outcome = world_login(&w, ALICE, GOOD);
	world_ended(&outcome, MAUTH_OK);
	assert_true(outcome.cached);
	fake_loop_run(w.loop, 1000);
	outcome = world_login(&w, ALICE, GOOD);
	world_ended(&outcome, MAUTH_POLICY);
	assert_string_equal(outcome.error.tell, "Logging in with a password alone ended here on 2023-11-14. Ask your "
			    "administrator.");
	assert_int_equal(fake_http_started(w.http), 1);
	world_end(&w);
}

static void a_password_that_goes_upstream_is_not_verified_by_anybody(void **state)
{
	struct mauth_attempt attempt = { .service = MAUTH_SERVICE_SUBMISSION, .tls = true, .tls_protocol = "TLSv1.2" };
	struct outcome outcome;
	struct world w;

	world_begin(&w);
	world_rule(&w, "until december")->action = MAUTH_ACTION_BASIC;
	world_open(&w);
	outcome = login_with(&w, GOOD, &attempt);
	assert_int_equal(outcome.status, MAUTH_OK);
	assert_true(outcome.basic);
	assert_string_equal(outcome.token, "");
	assert_string_equal(outcome.host, "submission.outlook.example");
	assert_int_equal(outcome.verified_by, MAUTH_VERIFIED_NONE);
	expect_record(&w, "\"decision\":\"basic\",\"rule\":\"until december\",\"verified_by\":\"none\"");
	expect_record(&w, "\"tls\":{\"established\":true,\"version\":\"1.2\",\"version_protocol\":\"tls\"}");
	expect_record(&w, "\"upstream\":{\"host\":\"submission.outlook.example\"");
	assert_int_equal(w.broker->stats.basic, 1);
	assert_int_equal(login_with(&w, "", &attempt).status, MAUTH_BAD_CREDENTIALS);
	assert_int_equal(fake_http_started(w.http), 0);
	/* What is not on record does not happen. */
	w.config->audit_required = true;
	w.sinks.audit_broken = true;
	assert_int_equal(login_with(&w, GOOD, &attempt).status, MAUTH_AUDIT);
	world_end(&w);
}

static void clients_with_a_token_are_nobodys_basic_authentication(void **state)
{
	struct mauth_attempt attempt = { .password_is_token = true, .mechanism = "XOAUTH2" };
	static char xoauth2[] = "XOAUTH2";
	static const enum mauth_action actions[] = { MAUTH_ACTION_DENY, MAUTH_ACTION_MONITOR, MAUTH_ACTION_BASIC };
	struct mauth_rule *rule;
	struct world w;

	world_begin(&w);
	rule = world_rule(&w, "the rest");
	world_open(&w);
	w.tenant->client_tokens = true;
	for (size_t i = 0; i < 3; i++) {
		rule->action = actions[i];
		assert_int_equal(login_with(&w, "a.client.token", &attempt).status, MAUTH_OK);
	}
	/* Unless a rule is about them. */
	rule->mechanisms = mauth_new_array(2, sizeof(*rule->mechanisms));
	rule->mechanisms[0] = mauth_strdup(xoauth2);
	rule->action = MAUTH_ACTION_DENY;
	assert_int_equal(login_with(&w, "a.client.token", &attempt).status, MAUTH_POLICY);
	rule->action = MAUTH_ACTION_MONITOR;
	assert_int_equal(login_with(&w, "a.client.token", &attempt).status, MAUTH_NOT_OURS);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_watched_login_goes_on_to_the_next_passdb),
		cmocka_unit_test(an_unwritable_audit_does_not_stop_who_is_only_watched),
		cmocka_unit_test(an_unwritable_audit_lets_nobody_in_who_is_denied),
		cmocka_unit_test(a_local_mailbox_is_left_to_the_next_passdb),
		cmocka_unit_test(who_is_denied_is_told_what_the_admin_wrote),
		cmocka_unit_test(a_cached_token_does_not_outlive_its_rule),
		cmocka_unit_test(a_password_that_goes_upstream_is_not_verified_by_anybody),
		cmocka_unit_test(clients_with_a_token_are_nobodys_basic_authentication),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
