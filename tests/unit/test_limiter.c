/* SPDX-License-Identifier: MIT */
#include "core/limiter.h"

#include "core/mem.h"
#include "fake_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SLOTS 3000u
#define OPEN MAUTH_LIMITER_OPEN
#define SILENT MAUTH_LIMITER_SILENT_MSECS

/* Requests of an endpoint, numbered in the order in which they came. */
struct scene {
	struct fake_loop *loop;
	struct mauth_limiter limiter;
	struct mauth_limiter_slot slots[SLOTS];
	unsigned int entered;
	unsigned int gone[SLOTS], gone_count;   /* numbers, in the order in which go() came */
	unsigned int leaves;             /* go() makes this one leave */
};

static struct scene *scene;

static void go(void *context)
{
	struct mauth_limiter_slot *slot = context;

	scene->gone[scene->gone_count++] = (unsigned int)(slot - scene->slots);
	if (scene->leaves > 0)
		mauth_limiter_leave(&scene->limiter, &scene->slots[scene->leaves], false);
	scene->leaves = 0;
}

static int setup(void **state)
{
	scene = mauth_new(sizeof(*scene));
	scene->loop = fake_loop_new(1700000000);
	mauth_limiter_init(&scene->limiter, fake_loop_loop(scene->loop));
	return 0;
}

static int teardown(void **state)
{
	for (unsigned int i = 0; i < scene->entered; i++)
		mauth_limiter_leave(&scene->limiter, &scene->slots[i], false);
	assert_int_equal(scene->limiter.open + scene->limiter.waiting, 0);
	fake_loop_free(&scene->loop);
	free(scene);
	return 0;
}

/* How many of count more may be sent at once. */
static unsigned int enter(unsigned int count)
{
	unsigned int sent = 0;

	while (count-- > 0) {
		struct mauth_limiter_slot *slot = &scene->slots[scene->entered++];

		sent += mauth_limiter_enter(&scene->limiter, slot, go, slot);
	}
	return sent;
}

static void leave(unsigned int number, bool answered)
{
	mauth_limiter_leave(&scene->limiter, &scene->slots[number], answered);
}

/* As many as may be open, and no answer for as long as that may last: count more stand in line. */
static void hang_with_line(unsigned int count)
{
	assert_int_equal(enter(OPEN), OPEN);
	fake_loop_run(scene->loop, SILENT);
	assert_int_equal(enter(count), 0);
	assert_int_equal(scene->limiter.waiting, count);
}

static void two_thousand_at_once_are_sent_at_once(void **state)
{
	assert_int_equal(enter(2000), 2000);
	fake_loop_run(scene->loop, SILENT - 1);
	leave(0, true);
	fake_loop_run(scene->loop, SILENT - 1);
	assert_int_equal(enter(500), 500);
}

static void nothing_is_limited_while_answers_come(void **state)
{
	unsigned int answered = 0;

	assert_int_equal(enter(OPEN * 2), OPEN * 2);
	/* seldom, but they come */
	for (unsigned int i = 0; i < 100; i++) {
		fake_loop_run(scene->loop, SILENT - 1);
		leave(answered++, true);
		assert_int_equal(enter(5), 5);
	}
	assert_int_equal(scene->gone_count, 0);
}

static void few_open_requests_are_never_limited(void **state)
{
	assert_int_equal(enter(OPEN - 1), OPEN - 1);
	fake_loop_run(scene->loop, 3600 * 1000);
	assert_int_equal(enter(1), 1);
}

static void many_open_ones_without_an_answer_let_the_next_wait(void **state)
{
	hang_with_line(3);
	fake_loop_run(scene->loop, 3600 * 1000);
	assert_int_equal(scene->gone_count, 0);
}

static void a_busy_host_is_not_the_endpoints_fault(void **state)
{
	assert_int_equal(enter(OPEN), OPEN);
	fake_loop_lag(scene->loop, SILENT * 10);
	assert_int_equal(enter(500), 500);
	leave(0, true);
	fake_loop_run(scene->loop, 0);
	assert_int_equal(enter(500), 500);
}

static void an_answer_lets_all_go_in_the_order_in_which_they_came(void **state)
{
	hang_with_line(500);
	leave(7, true);
	assert_int_equal(scene->gone_count, 0);
	fake_loop_run(scene->loop, 1);
	assert_int_equal(scene->gone_count, 500);
	for (unsigned int i = 0; i < 500; i++)
		assert_int_equal(scene->gone[i], OPEN + i);
	assert_int_equal(enter(5), 5);
}

static void nobody_overtakes_the_line(void **state)
{
	hang_with_line(1);
	leave(0, true);
	assert_int_equal(enter(1), 0);
	fake_loop_run(scene->loop, 1);
	assert_int_equal(scene->gone_count, 2);
	assert_int_equal(scene->gone[0], OPEN);
}

static void a_failure_lets_the_next_one_go(void **state)
{
	hang_with_line(3);
	leave(0, false);
	leave(0, false);
	fake_loop_run(scene->loop, SILENT * 4);
	assert_int_equal(scene->gone_count, 1);
	assert_int_equal(scene->gone[0], OPEN);
	assert_int_equal(enter(1), 0);
}

static void who_leaves_the_line_does_not_go(void **state)
{
	hang_with_line(3);
	leave(OPEN + 1, false);
	leave(0, true);
	fake_loop_run(scene->loop, 1);
	assert_int_equal(scene->gone_count, 2);
	assert_int_equal(scene->gone[1], OPEN + 2);
}

static void who_goes_may_make_others_leave(void **state)
{
	hang_with_line(4);
	scene->leaves = OPEN + 1;
	leave(0, true);
	fake_loop_run(scene->loop, 1);
	assert_int_equal(scene->gone_count, 3);
	assert_int_equal(scene->gone[1], OPEN + 2);
}

static void silence_is_forgotten_when_nothing_is_open(void **state)
{
	hang_with_line(0);
	for (unsigned int i = 0; i < OPEN; i++)
		leave(i, false);
	assert_int_equal(fake_loop_timers(scene->loop), 0);
	assert_int_equal(enter(OPEN * 2), OPEN * 2);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(two_thousand_at_once_are_sent_at_once),
		CASE(nothing_is_limited_while_answers_come),
		CASE(few_open_requests_are_never_limited),
		CASE(many_open_ones_without_an_answer_let_the_next_wait),
		CASE(a_busy_host_is_not_the_endpoints_fault),
		CASE(an_answer_lets_all_go_in_the_order_in_which_they_came),
		CASE(nobody_overtakes_the_line),
		CASE(a_failure_lets_the_next_one_go),
		CASE(who_leaves_the_line_does_not_go),
		CASE(who_goes_may_make_others_leave),
		CASE(silence_is_forgotten_when_nothing_is_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
