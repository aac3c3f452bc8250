/* SPDX-License-Identifier: MIT */
/* With a sink that can commit, nobody is answered before the record is on disk. */
#include "broker_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void begin(struct world *w)
{
	world_begin(w);
	fake_sinks_group(&w->sinks);
	world_open(w);
}

#define BAD "wr0ng"

/* ALICE has a token from now on. */
static void warm(struct world *w)
{
	struct outcome outcome = { 0 };

	world_start(w, ALICE, GOOD, &outcome);
	world_turn(w);
	fake_http_token(w->http, ALICE, 3600);
	world_turn(w);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_sinks_committed(&w->sinks, 0), 1);
	world_ended(&outcome, MAUTH_OK);
	/* Her wrong one is remembered. */
	world_start(w, ALICE, BAD, &outcome);
	world_turn(w);
	fake_http_aadsts(w->http, 400, "invalid_grant", 50126);
	world_turn(w);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_sinks_committed(&w->sinks, 0), 1);
	world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
}

static void an_answer_waits_for_the_disk(void **state)
{
	static const struct {
		const char *user, *password;
		enum mauth_status status;
	} rows[] = {
		{ ALICE, GOOD, MAUTH_OK },
		{ "bob@example.org", GOOD, MAUTH_NOT_OURS },
		{ ALICE, BAD, MAUTH_BAD_CREDENTIALS },
	};
	struct world w;
	struct outcome outcome = { 0 };

	begin(&w);
	warm(&w);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned int before = w.sinks.records_count;

		world_start(&w, rows[i].user, rows[i].password, &outcome);
		fake_loop_run(w.loop, 10000);
		assert_int_equal(w.sinks.records_count, before + 1);
		assert_int_equal(outcome.calls, 0);
		assert_int_equal(fake_sinks_committed(&w.sinks, 0), 1);
		assert_int_equal(outcome.calls, 1);
		assert_int_equal(outcome.status, rows[i].status);
	}
	assert_int_equal(world_count(w.sinks.records, "basic-auth-withdrawn"), 0);
	world_end(&w);
}

static void those_of_one_turn_wait_together(void **state)
{
	struct world w;
	struct outcome all[10] = { { 0 } };

	begin(&w);
	warm(&w);
	for (size_t i = 0; i < 10; i++)
		world_start(&w, ALICE, GOOD, &all[i]);
	world_turn(&w);
	assert_int_equal(fake_sinks_committed(&w.sinks, 0), 1);
	for (size_t i = 0; i < 10; i++)
		world_ended(&all[i], MAUTH_OK);
	world_end(&w);
}

static void what_is_not_on_disk_is_a_temporary_failure_and_withdrawn(void **state)
{
	struct world w;
	struct outcome good = { 0 }, bad = { 0 };

	begin(&w);
	warm(&w);
	world_start(&w, ALICE, GOOD, &good);
	world_start(&w, ALICE, BAD, &bad);
	world_turn(&w);
	assert_int_equal(fake_sinks_committed(&w.sinks, 5), 1);
	world_ended(&good, MAUTH_AUDIT);
	world_ended(&bad, MAUTH_AUDIT);
	assert_non_null(strstr(good.error.text, "fdatasync()"));
	assert_int_equal(world_count(w.sinks.records, "basic-auth-withdrawn"), 2);
	assert_int_equal(world_count(w.sinks.records, "\"rule\":\"audit required\""), 2);
	/* Which may not reach the disk, either: nobody waits for it. */
	assert_int_equal(fake_sinks_committed(&w.sinks, 0), 0);
	world_end(&w);
}

static void an_audit_that_is_not_required_is_waited_for_all_the_same(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	world_begin(&w);
	fake_sinks_group(&w.sinks);
	w.config->audit_required = false;
	world_open(&w);
	warm(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_sinks_committed(&w.sinks, 5), 1);
	world_ended(&outcome, MAUTH_OK);
	assert_int_equal(world_count(w.sinks.records, "basic-auth-withdrawn"), 0);
	world_end(&w);
}

static void who_is_not_ours_is_not_stopped_by_our_disk(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	begin(&w);
	world_start(&w, "bob@example.org", GOOD, &outcome);
	world_turn(&w);
	assert_int_equal(fake_sinks_committed(&w.sinks, 5), 1);
	world_ended(&outcome, MAUTH_NOT_OURS);
	world_end(&w);
}

static void who_goes_while_the_disk_is_waited_for_is_withdrawn(void **state)
{
	struct world w;
	struct outcome gone = { 0 }, stays = { 0 }, refused = { 0 };

	begin(&w);
	warm(&w);
	world_start(&w, ALICE, GOOD, &gone);
	world_start(&w, ALICE, GOOD, &stays);
	world_start(&w, ALICE, BAD, &refused);
	world_turn(&w);
	mauth_login_cancel(&gone.login);
	/* What its record says remains true. */
	mauth_login_cancel(&refused.login);
	assert_int_equal(fake_sinks_committed(&w.sinks, 0), 1);
	assert_int_equal(gone.calls + refused.calls, 0);
	world_ended(&stays, MAUTH_OK);
	assert_int_equal(world_count(w.sinks.records, "basic-auth-withdrawn"), 1);
	assert_int_equal(world_count(w.sinks.records, "client went away"), 1);
	world_end(&w);
}

static void all_may_go_while_the_disk_is_waited_for(void **state)
{
	struct world w;
	struct outcome all[3] = { { 0 } };
	static const int codes[] = { 0, 5 };

	begin(&w);
	warm(&w);
	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < 3; i++)
			world_start(&w, ALICE, GOOD, &all[i]);
		world_turn(&w);
		for (size_t i = 0; i < 3; i++)
			mauth_login_cancel(&all[i].login);
		assert_int_equal(fake_sinks_committed(&w.sinks, codes[round]), 1);
		assert_int_equal(all[0].calls + all[1].calls + all[2].calls, 0);
	}
	world_end(&w);
}

static void abandoned_ones_are_nobodys(void **state)
{
	struct world w;
	struct outcome outcome = { 0 };

	begin(&w);
	warm(&w);
	world_start(&w, ALICE, GOOD, &outcome);
	world_turn(&w);
	mauth_login_abandon(&outcome.login);
	assert_int_equal(fake_sinks_committed(&w.sinks, 0), 1);
	assert_int_equal(outcome.calls, 0);
	world_end(&w);
}

static void cancel_others(struct outcome *outcome)
{
	struct outcome *others = outcome->context;

	for (size_t i = 0; i < 3; i++)
		mauth_login_cancel(&others[i].login);
}

static void a_callback_may_cancel_others_that_wait_with_it(void **state)
{
	struct world w;
	struct outcome all[3] = { { 0 } };

	begin(&w);
	warm(&w);
	for (size_t i = 0; i < 3; i++) {
		all[i].then = cancel_others;
		all[i].context = all;
		world_start(&w, ALICE, GOOD, &all[i]);
	}
	world_turn(&w);
	fake_sinks_committed(&w.sinks, 0);
	assert_int_equal(all[0].calls + all[1].calls + all[2].calls, 1);
	assert_int_equal(world_count(w.sinks.records, "basic-auth-withdrawn"), 2);
	world_end(&w);
}

static bool committed;

static void report_committed(const struct mauth_error *error, void *context)
{
	committed = error == NULL;
}

static void reports_can_be_waited_for(void **state)
{
	struct world w;

	begin(&w);
	assert_int_equal(world_report(&w, "0123456789abcdef", MAUTH_UPSTREAM_ACCEPTED), MAUTH_OK);
	committed = false;
	assert_true(mauth_broker_commit(w.broker, report_committed, NULL));
	assert_false(committed);
	fake_sinks_committed(&w.sinks, 0);
	assert_true(committed);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_waits_for_the_disk),
		cmocka_unit_test(those_of_one_turn_wait_together),
		cmocka_unit_test(what_is_not_on_disk_is_a_temporary_failure_and_withdrawn),
		cmocka_unit_test(an_audit_that_is_not_required_is_waited_for_all_the_same),
		cmocka_unit_test(who_is_not_ours_is_not_stopped_by_our_disk),
		cmocka_unit_test(who_goes_while_the_disk_is_waited_for_is_withdrawn),
		cmocka_unit_test(all_may_go_while_the_disk_is_waited_for),
		cmocka_unit_test(abandoned_ones_are_nobodys),
		cmocka_unit_test(a_callback_may_cancel_others_that_wait_with_it),
		cmocka_unit_test(reports_can_be_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
