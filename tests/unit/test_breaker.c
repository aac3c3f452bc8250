/* SPDX-License-Identifier: MIT */
#include "core/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW 1000000

/* Fails count times at time; true if the breaker opened with the last one. */
static bool fail_times(struct mauth_breaker *breaker, int64_t time, unsigned int count)
{
	bool opened = false;

	while (count-- > 0)
		opened = mauth_breaker_failure(breaker, time, 0);
	return opened;
}

static void it_opens_after_five_failures_in_a_row(void **state)
{
	struct mauth_breaker breaker = { 0 };
	unsigned int left = 99;

	assert_true(mauth_breaker_allow(&breaker, NOW, &left));
	assert_int_equal(left, 0);
	assert_false(fail_times(&breaker, NOW, 4));
	assert_true(mauth_breaker_allow(&breaker, NOW, NULL));
	assert_true(fail_times(&breaker, NOW, 1));
	assert_false(mauth_breaker_allow(&breaker, NOW, &left));
	assert_int_equal(left, 5);
	assert_false(mauth_breaker_allow(&breaker, NOW + 4001, &left));
	assert_int_equal(left, 1);
}

static void a_success_between_failures_begins_the_count_anew(void **state)
{
	struct mauth_breaker breaker = { 0 };

	fail_times(&breaker, NOW, 4);
	mauth_breaker_success(&breaker, NOW);
	assert_false(fail_times(&breaker, NOW, 4));
	assert_true(mauth_breaker_allow(&breaker, NOW, NULL));
}

static void it_opens_once_however_many_fail(void **state)
{
	struct mauth_breaker breaker = { 0 };
	unsigned int left;

	assert_true(fail_times(&breaker, NOW, 5));
	assert_false(fail_times(&breaker, NOW + 1000, 20));
	assert_false(mauth_breaker_allow(&breaker, NOW + 1000, &left));
	assert_int_equal(left, 4);
}

static void after_the_pause_one_request_tries(void **state)
{
	struct mauth_breaker breaker = { 0 };

	fail_times(&breaker, NOW, 5);
	assert_false(mauth_breaker_allow(&breaker, NOW + 4999, NULL));
	assert_true(mauth_breaker_allow(&breaker, NOW + 5000, NULL));
	assert_false(mauth_breaker_allow(&breaker, NOW + 5000, NULL));
	mauth_breaker_success(&breaker, NOW + 5100);
	assert_true(mauth_breaker_allow(&breaker, NOW + 5100, NULL));
	assert_true(mauth_breaker_allow(&breaker, NOW + 5100, NULL));
	/* and closed for good: it takes five failures again */
	assert_false(fail_times(&breaker, NOW + 5100, 4));
}

static void a_probe_that_tells_nothing_makes_way_for_another(void **state)
{
	struct mauth_breaker breaker = { 0 };

	fail_times(&breaker, NOW, 5);
	assert_true(mauth_breaker_allow(&breaker, NOW + 5000, NULL));
	mauth_breaker_abandoned(&breaker);
	assert_true(mauth_breaker_allow(&breaker, NOW + 5000, NULL));
	assert_false(mauth_breaker_allow(&breaker, NOW + 5000, NULL));
}

static void each_failed_probe_doubles_the_pause_up_to_a_minute(void **state)
{
	static const unsigned int pauses[] = { 5, 10, 20, 40, 60, 60, 60 };
	struct mauth_breaker breaker = { 0 };
	unsigned int left;
	int64_t now = NOW;

	fail_times(&breaker, now, 4);
	for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
		assert_true(fail_times(&breaker, now, 1));
		assert_false(mauth_breaker_allow(&breaker, now, &left));
		assert_int_equal(left, pauses[i]);
		now += (int64_t)pauses[i] * 1000;
		assert_true(mauth_breaker_allow(&breaker, now, NULL));
	}
}

static void retry_after_is_kept_from_the_first_failure_on(void **state)
{
	struct mauth_breaker breaker = { 0 };
	unsigned int left;

	assert_true(mauth_breaker_failure(&breaker, NOW, 120));
	assert_true(breaker.asked_to_wait);
	assert_false(mauth_breaker_allow(&breaker, NOW + 119999, &left));
	assert_int_equal(left, 1);
	assert_true(mauth_breaker_allow(&breaker, NOW + 120000, NULL));
}

static void a_late_success_does_not_end_the_pause_that_entra_asked_for(void **state)
{
	struct mauth_breaker breaker = { 0 };

	mauth_breaker_failure(&breaker, NOW, 120);
	mauth_breaker_success(&breaker, NOW + 1000);
	assert_false(mauth_breaker_allow(&breaker, NOW + 1000, NULL));
	assert_true(mauth_breaker_allow(&breaker, NOW + 120000, NULL));
	mauth_breaker_success(&breaker, NOW + 120000);
	assert_false(breaker.asked_to_wait);
	assert_true(mauth_breaker_allow(&breaker, NOW + 120000, NULL));
}

static void a_late_success_ends_a_pause_of_our_own(void **state)
{
	struct mauth_breaker breaker = { 0 };

	fail_times(&breaker, NOW, 5);
	mauth_breaker_success(&breaker, NOW + 1000);
	assert_true(mauth_breaker_allow(&breaker, NOW + 1000, NULL));
}

static void the_longest_wish_wins(void **state)
{
	struct mauth_breaker breaker = { 0 };
	unsigned int left;

	assert_true(mauth_breaker_failure(&breaker, NOW, 60));
	assert_false(mauth_breaker_failure(&breaker, NOW, 10));
	assert_false(mauth_breaker_allow(&breaker, NOW, &left));
	assert_int_equal(left, 60);
	assert_false(mauth_breaker_failure(&breaker, NOW, 90));
	/* Nor does a failure that asks for nothing shorten it. */
	assert_false(fail_times(&breaker, NOW, 9));
	assert_false(mauth_breaker_allow(&breaker, NOW, &left));
	assert_int_equal(left, 90);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_opens_after_five_failures_in_a_row),
		cmocka_unit_test(a_success_between_failures_begins_the_count_anew),
		cmocka_unit_test(it_opens_once_however_many_fail),
		cmocka_unit_test(after_the_pause_one_request_tries),
		cmocka_unit_test(a_probe_that_tells_nothing_makes_way_for_another),
		cmocka_unit_test(each_failed_probe_doubles_the_pause_up_to_a_minute),
		cmocka_unit_test(retry_after_is_kept_from_the_first_failure_on),
		cmocka_unit_test(a_late_success_does_not_end_the_pause_that_entra_asked_for),
		cmocka_unit_test(a_late_success_ends_a_pause_of_our_own),
		cmocka_unit_test(the_longest_wish_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
