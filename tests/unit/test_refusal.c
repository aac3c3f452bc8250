/* SPDX-License-Identifier: MIT */
#include "broker_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fifty_logins_with_one_wrong_password_are_one_request(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_refuse(&w, ALICE, "0ld-password", 50126);
	for (int i = 0; i < 49; i++) {
		world_expect(&w, ALICE, "0ld-password", MAUTH_BAD_CREDENTIALS);
		fake_loop_run(w.loop, 18000);
	}
	assert_int_equal(fake_http_started(w.http), 1);
	assert_int_equal(w.sinks.records_count, 50);
	fake_loop_run(w.loop, 900000 - 49 * 18000);
	world_refuse(&w, ALICE, "0ld-password", 50126);
	fake_loop_run(w.loop, 1799000);
	world_expect(&w, ALICE, "0ld-password", MAUTH_BAD_CREDENTIALS);
	fake_loop_run(w.loop, 1000);
	world_refuse(&w, ALICE, "0ld-password", 50126);
	world_end(&w);
}

static void a_remembered_password_is_refused_with_its_code(void **state)
{
	struct world w;
	struct outcome outcome;
	struct mauth_broker_stats stats;

	world_begin(&w);
	world_open(&w);
	world_refuse(&w, ALICE, GOOD, 50076);
	outcome = world_login(&w, ALICE, GOOD);
	world_ended(&outcome, MAUTH_INTERACTION);
	assert_int_equal(outcome.error.code, 50076);
	assert_true(outcome.error.advice[0] != '\0');
	mauth_broker_stats(w.broker, &stats);
	assert_int_equal(stats.from_memory, 1);
	assert_int_equal(stats.refused, 2);
	assert_int_equal(fake_http_started(w.http), 1);
	world_end(&w);
}

static void five_bad_passwords_keep_the_sixth_from_entra_but_not_the_user_from_mail(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	for (unsigned int i = 0; i < 5; i++) {
		struct outcome outcome = world_refuse(&w, ALICE, world_bad(i), 50126);

		world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
	}
	world_expect(&w, ALICE, world_bad(5), MAUTH_LOCKED);
	world_expect(&w, ALICE, world_bad(0), MAUTH_BAD_CREDENTIALS);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	assert_non_null(strstr(w.sinks.lines, "login refused (locked)"));
	fake_loop_run(w.loop, 600000);
	world_refuse(&w, ALICE, world_bad(5), 50126);
	world_end(&w);
}

static void us_government_users_are_locked_after_two(void **state)
{
	struct world w;

	world_begin(&w);
	w.tenant->us_government = true;
	world_open(&w);
	world_refuse(&w, ALICE, world_bad(0), 50126);
	world_refuse(&w, ALICE, world_bad(1), 50126);
	world_expect(&w, ALICE, world_bad(2), MAUTH_LOCKED);
	world_end(&w);
}

static void a_lock_at_entra_keeps_everything_back_but_live_tokens(void **state)
{
	struct world w;
	struct outcome outcome;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	outcome = world_refuse(&w, ALICE, world_bad(0), 50053);
	world_ended(&outcome, MAUTH_LOCKED);
	world_expect(&w, ALICE, world_bad(1), MAUTH_LOCKED);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

static void no_token_is_renewed_while_its_user_is_locked(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3100000);
	world_refuse(&w, ALICE, world_bad(0), 50053);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	world_end(&w);
}

static void less_than_five_minutes_of_a_token_are_enough_for_a_locked_user(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	world_fetch(&w, ALICE, GOOD, 3600);
	fake_loop_run(w.loop, 3310000);
	world_refuse(&w, ALICE, world_bad(0), 50053);
	world_expect(&w, ALICE, GOOD, MAUTH_OK);
	fake_loop_run(w.loop, 281000);
	world_expect(&w, ALICE, GOOD, MAUTH_LOCKED);
	world_end(&w);
}

static void a_success_resets_what_was_counted(void **state)
{
	struct world w;

	world_begin(&w);
	world_open(&w);
	for (unsigned int i = 0; i < 4; i++)
		world_refuse(&w, ALICE, world_bad(i), 50126);
	world_fetch(&w, ALICE, GOOD, 3600);
	for (unsigned int i = 4; i < 9; i++)
		world_refuse(&w, ALICE, world_bad(i), 50126);
	world_expect(&w, ALICE, world_bad(9), MAUTH_LOCKED);
	world_end(&w);
}

static void a_new_password_takes_over_from_the_old_one(void **state)
{
	struct world w;
	struct outcome old, new;

	world_begin(&w);
	world_open(&w);
	old = world_fetch(&w, ALICE, "0ld", 3600);
	new = world_fetch(&w, ALICE, "n3w", 3600);
	assert_string_not_equal(old.token, new.token);
	world_refuse(&w, ALICE, "0ld", 50126);
	/* remembered as bad, although the cache has an entry */
	world_expect(&w, ALICE, "0ld", MAUTH_BAD_CREDENTIALS);
	world_expect(&w, ALICE, "n3w", MAUTH_OK);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fifty_logins_with_one_wrong_password_are_one_request),
		cmocka_unit_test(a_remembered_password_is_refused_with_its_code),
		cmocka_unit_test(five_bad_passwords_keep_the_sixth_from_entra_but_not_the_user_from_mail),
		cmocka_unit_test(us_government_users_are_locked_after_two),
		cmocka_unit_test(a_lock_at_entra_keeps_everything_back_but_live_tokens),
		cmocka_unit_test(no_token_is_renewed_while_its_user_is_locked),
		cmocka_unit_test(less_than_five_minutes_of_a_token_are_enough_for_a_locked_user),
		cmocka_unit_test(a_success_resets_what_was_counted),
		cmocka_unit_test(a_new_password_takes_over_from_the_old_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
