/* SPDX-License-Identifier: MIT */
/* Events about the broker itself: what monitoring is made of. */
#include "broker_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void fail_login(struct world *w, const char *user)
{
	struct outcome outcome = { 0 };

	world_start(w, user, GOOD, &outcome);
	world_turn(w);
	while (fake_http_open(w->http) > 0) {
		fake_http_fail(w->http, MAUTH_TEMPORARY);
		fake_loop_run(w->loop, 500);
	}
	world_turn(w);
	world_ended(&outcome, MAUTH_TEMPORARY);
}

static void open_breaker(struct world *w)
{
	fail_login(w, "one@contoso.com");
	fail_login(w, "two@contoso.com");
	fail_login(w, "three@contoso.com");
}

static void a_breaker_tells_that_it_opens_and_closes(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	assert_int_equal(world_count(w.sinks.events, "modernauth_breaker"), 0);
	open_breaker(&w);
	assert_int_equal(world_count(w.sinks.events, "modernauth_breaker_opened tenant=contoso cause=failures pause_secs=5"), 1);
	assert_int_equal(world_count(w.sinks.events, "modernauth_breaker_closed"), 0);
	fake_loop_run(w.loop, 5000);
	world_fetch(&w, "bob@contoso.com", GOOD, 3600);
	assert_int_equal(world_count(w.sinks.events, "modernauth_breaker_closed tenant=contoso\n"), 1);
	world_fetch(&w, "carol@contoso.com", GOOD, 3600);
	assert_int_equal(world_count(w.sinks.events, "modernauth_breaker_closed"), 1);
	world_end(&w);
}

static void a_failed_probe_opens_it_once_more(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	open_breaker(&w);
	fake_loop_run(w.loop, 5000);
	fail_login(&w, "bob@contoso.com");
	assert_int_equal(world_count(w.sinks.events, "modernauth_breaker_opened tenant=contoso cause=failures pause_secs="), 2);
	world_end(&w);
}

static void a_locked_account_is_told_once(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	for (unsigned int i = 0; i < 4; i++)
		world_refuse(&w, ALICE, world_bad(i), 50126);
	assert_int_equal(world_count(w.sinks.events, "modernauth_account_locked"), 0);
	world_refuse(&w, ALICE, world_bad(4), 50126);
	assert_int_equal(world_count(w.sinks.events, "modernauth_account_locked tenant=contoso by=us user=" ALICE "\n"), 1);
	world_expect(&w, ALICE, world_bad(5), MAUTH_LOCKED);
	assert_int_equal(world_count(w.sinks.events, "modernauth_account_locked"), 1);
	world_end(&w);
}

static void an_account_that_entra_has_locked_says_by_whom(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_refuse(&w, ALICE, GOOD, 50053);
	assert_int_equal(world_count(w.sinks.events, "modernauth_account_locked tenant=contoso by=entra"), 1);
	world_end(&w);
}

static void an_audit_that_fails_and_recovers_tells_both(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	w.sinks.audit_broken = true;
	world_expect(&w, ALICE, GOOD, MAUTH_AUDIT);
	world_expect(&w, ALICE, GOOD, MAUTH_AUDIT);
	assert_int_equal(world_count(w.sinks.events, "modernauth_audit_failed what=attempts required=yes\n"), 2);
	w.sinks.audit_broken = false;
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	assert_int_equal(world_count(w.sinks.events, "modernauth_audit_recovered what=attempts required=yes\n"), 1);
	world_end(&w);
}

static void a_heartbeat_comes_once_a_minute_and_says_how_it_is(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	fake_loop_run(w.loop, 10000);
	assert_int_equal(world_count(w.sinks.events, "modernauth_heartbeat tenant=contoso breaker=closed store=closed audit=ok\n"),
			 1);
	fake_loop_run(w.loop, 59000);
	assert_int_equal(world_count(w.sinks.events, "modernauth_heartbeat tenant=contoso"), 1);
	fake_loop_run(w.loop, 1000);
	assert_int_equal(world_count(w.sinks.events, "modernauth_heartbeat tenant=contoso"), 2);
	world_end(&w);
}

static void a_heartbeat_tells_trouble(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	fake_loop_run(w.loop, 6000);
	/* Takes some seconds, and closes nothing for the next five. */
	open_breaker(&w);
	w.sinks.audit_broken = true;
	world_expect(&w, "new@contoso.com", GOOD, MAUTH_AUDIT);
	fake_loop_run(w.loop, 2000);
	assert_int_equal(world_count(w.sinks.events,
				     "modernauth_heartbeat tenant=contoso breaker=open store=closed audit=failing\n"), 1);
	world_end(&w);
}

static void who_is_not_in_charge_has_no_heartbeat(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	mauth_broker_pause(w.broker, true);
	fake_loop_run(w.loop, 120000);
	assert_int_equal(world_count(w.sinks.events, "modernauth_heartbeat"), 0);
	mauth_broker_pause(w.broker, false);
	fake_loop_run(w.loop, 10000);
	assert_int_equal(world_count(w.sinks.events, "modernauth_heartbeat tenant=contoso"), 1);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_breaker_tells_that_it_opens_and_closes),
		cmocka_unit_test(a_failed_probe_opens_it_once_more),
		cmocka_unit_test(a_locked_account_is_told_once),
		cmocka_unit_test(an_account_that_entra_has_locked_says_by_whom),
		cmocka_unit_test(an_audit_that_fails_and_recovers_tells_both),
		cmocka_unit_test(a_heartbeat_comes_once_a_minute_and_says_how_it_is),
		cmocka_unit_test(a_heartbeat_tells_trouble),
		cmocka_unit_test(who_is_not_in_charge_has_no_heartbeat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
