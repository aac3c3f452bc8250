/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "core/shield.h"
#include "fake_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TENANT 0xc0ffee00u
#define ALICE "alice@contoso.com"
#define THRESHOLD 5

struct world {
	struct fake_loop *loop;
	struct mauth_verifier_key key;
	struct mauth_shield *shield;
};

static const struct mauth_shield_settings settings = {
	.remember_secs = 900, .other_secs = 60, .window_secs = 600, .lockout_secs = 600,
};

static void begin(struct world *world)
{
	world->loop = fake_loop_new(1700000000);
	mauth_verifier_key_new(&world->key);
	world->shield = mauth_shield_new(fake_loop_loop(world->loop), &world->key, &settings);
}

static void end(struct world *world)
{
	mauth_shield_free(&world->shield);
	assert_null(world->shield);
	mauth_shield_free(&world->shield);
	fake_loop_free(&world->loop);
}

static void sleep_secs(struct world *world, unsigned int secs)
{
	fake_loop_run(world->loop, secs * 1000);
}

static bool refuse_as(struct world *world, const char *password, enum mauth_status status, int code, bool counts,
		      unsigned int threshold)
{
	struct mauth_secret *p = mauth_secret_new(password, strlen(password));
	bool locked = mauth_shield_refused(world->shield, TENANT, ALICE, p, status, code, counts, threshold);

	mauth_secret_free(&p);
	return locked;
}

/* Entra finds it wrong. */
static bool refuse(struct world *world, const char *password)
{
	return refuse_as(world, password, MAUTH_BAD_CREDENTIALS, 50126, true, THRESHOLD);
}

static void accept(struct world *world, const char *password)
{
	struct mauth_secret *p = mauth_secret_new(password, strlen(password));

	mauth_shield_accepted(world->shield, TENANT, ALICE, p);
	mauth_secret_free(&p);
}

/* For how many seconds password is remembered; 0: it is not. */
static unsigned int remembered_of(struct world *world, const char *upn, const char *password)
{
	struct mauth_secret *p = mauth_secret_new(password, strlen(password));
	struct mauth_refusal refusal = { .left_secs = 0 };
	bool known = mauth_shield_remembers(world->shield, TENANT, upn, p, &refusal);

	mauth_secret_free(&p);
	assert_int_equal(known, refusal.left_secs > 0);
	return refusal.left_secs;
}

static unsigned int remembered(struct world *world, const char *password)
{
	return remembered_of(world, ALICE, password);
}

static unsigned int locked(struct world *world)
{
	return mauth_shield_locked(world->shield, TENANT, ALICE);
}

static unsigned int allowance(struct world *world, unsigned int threshold)
{
	return mauth_shield_allowance(world->shield, TENANT, ALICE, threshold);
}

static void a_bad_password_is_remembered_and_no_other(void **state)
{
	struct world world;

	begin(&world);
	assert_int_equal(remembered(&world, "wrong"), 0);
	assert_false(refuse(&world, "wrong"));
	assert_int_equal(remembered(&world, "wrong"), 900);
	assert_int_equal(remembered(&world, "Wrong"), 0);
	assert_int_equal(remembered(&world, ""), 0);
	assert_int_equal(remembered_of(&world, "bob@contoso.com", "wrong"), 0);
	assert_int_equal(locked(&world), 0);
	end(&world);
}

static void what_is_remembered_is_what_entra_said(void **state)
{
	struct world world;
	struct mauth_secret *p = mauth_secret_new("right", 5);
	struct mauth_refusal refusal;

	begin(&world);
	refuse_as(&world, "right", MAUTH_INTERACTION, 50076, false, THRESHOLD);
	assert_true(mauth_shield_remembers(world.shield, TENANT, ALICE, p, &refusal));
	assert_int_equal(refusal.status, MAUTH_INTERACTION);
	assert_int_equal(refusal.code, 50076);
	assert_int_equal(refusal.left_secs, 60);
	mauth_secret_free(&p);
	end(&world);
}

static void a_bad_password_is_asked_again_after_twice_the_time_up_to_sixteen_times(void **state)
{
	static const unsigned int times[] = { 900, 1800, 3600, 7200, 14400, 14400, 14400 };
	struct world world;

	begin(&world);
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		refuse(&world, "wrong");
		assert_int_equal(remembered(&world, "wrong"), times[i]);
		sleep_secs(&world, times[i] - 1);
		assert_int_equal(remembered(&world, "wrong"), 1);
		sleep_secs(&world, 1);
		assert_int_equal(remembered(&world, "wrong"), 0);
	}
	assert_int_equal(locked(&world), 0);
	end(&world);
}

static void what_an_admin_can_mend_is_not_remembered_for_longer_each_time(void **state)
{
	struct world world;

	begin(&world);
	for (int i = 0; i < 5; i++) {
		assert_false(refuse_as(&world, "right", MAUTH_DISABLED, 50057, false, THRESHOLD));
		assert_int_equal(remembered(&world, "right"), 60);
		sleep_secs(&world, 60);
	}
	/* When it turns out to be wrong, it is so for the first time. */
	refuse(&world, "right");
	assert_int_equal(remembered(&world, "right"), 900);
	end(&world);
}

static void five_bad_passwords_in_ten_minutes_lock_the_user(void **state)
{
	static const char *const passwords[] = { "a", "b", "c", "d" };
	struct world world;

	begin(&world);
	for (size_t i = 0; i < 4; i++) {
		assert_false(refuse(&world, passwords[i]));
		/* Again does not count again: nor does it at Microsoft. */
		assert_false(refuse(&world, passwords[i]));
		sleep_secs(&world, 100);
	}
	assert_int_equal(locked(&world), 0);
	assert_true(refuse(&world, "e"));
	assert_int_equal(locked(&world), 600);
	assert_int_equal(mauth_shield_locked(world.shield, TENANT, "bob@contoso.com"), 0);
	assert_int_equal(mauth_shield_locked(world.shield, TENANT + 1, ALICE), 0);
	sleep_secs(&world, 599);
	assert_int_equal(locked(&world), 1);
	sleep_secs(&world, 1);
	assert_int_equal(locked(&world), 0);
	end(&world);
}

static void bad_passwords_of_long_ago_do_not_count(void **state)
{
	static const char *const passwords[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
	struct world world;

	begin(&world);
	for (size_t i = 0; i < sizeof(passwords) / sizeof(passwords[0]); i++) {
		assert_false(refuse(&world, passwords[i]));
		sleep_secs(&world, 151);
	}
	end(&world);
}

static void two_bad_passwords_lock_in_us_government_clouds(void **state)
{
	struct world world;

	begin(&world);
	assert_false(refuse_as(&world, "a", MAUTH_BAD_CREDENTIALS, 50126, true, 2));
	assert_true(refuse_as(&world, "b", MAUTH_BAD_CREDENTIALS, 50126, true, 2));
	assert_int_equal(locked(&world), 600);
	end(&world);
}

static void a_threshold_that_cannot_be_counted_is_lowered(void **state)
{
	struct world world;
	char password[16];
	bool now = false;

	begin(&world);
	for (unsigned int i = 0; i < MAUTH_SHIELD_SLOTS; i++) {
		assert_false(now);
		assert_true(allowance(&world, 100) <= MAUTH_SHIELD_SLOTS - i);
		snprintf(password, sizeof(password), "p%u", i);
		now = refuse_as(&world, password, MAUTH_BAD_CREDENTIALS, 50126, true, 100);
	}
	assert_true(now);
	end(&world);
}

static void refusals_that_do_not_count_never_lock(void **state)
{
	struct world world;
	char password[16];

	begin(&world);
	for (int i = 0; i < 40; i++) {
		snprintf(password, sizeof(password), "p%d", i);
		assert_false(refuse_as(&world, password, MAUTH_INTERACTION, 50076, false, THRESHOLD));
	}
	assert_int_equal(locked(&world), 0);
	assert_int_equal(allowance(&world, THRESHOLD), THRESHOLD);
	end(&world);
}

static void a_lock_at_entra_is_a_lock_here_at_once(void **state)
{
	struct world world;

	begin(&world);
	assert_true(refuse_as(&world, "perhaps right", MAUTH_LOCKED, 50053, false, THRESHOLD));
	assert_int_equal(locked(&world), 600);
	assert_int_equal(remembered(&world, "perhaps right"), 0);
	end(&world);
}

static void a_success_begins_the_count_anew_and_lifts_the_lock(void **state)
{
	struct world world;

	begin(&world);
	for (char p[] = "a"; *p < 'e'; ++*p)
		refuse(&world, p);
	accept(&world, "right");
	assert_int_equal(allowance(&world, THRESHOLD), THRESHOLD);
	for (char p[] = "e"; *p < 'i'; ++*p)
		assert_false(refuse(&world, p));
	assert_true(refuse(&world, "i"));
	accept(&world, "right");
	assert_int_equal(locked(&world), 0);
	/* The others are no better for that. */
	assert_true(remembered(&world, "a") > 0);
	assert_true(remembered(&world, "i") > 0);
	end(&world);
}

static void an_accepted_password_is_no_longer_bad(void **state)
{
	struct world world;

	begin(&world);
	accept(&world, "nobody asked about it");
	assert_int_equal(mauth_shield_count(world.shield), 0);
	refuse(&world, "changed");
	accept(&world, "changed");
	assert_int_equal(remembered(&world, "changed"), 0);
	/* nor remembered for longer, should it be refused another day */
	refuse(&world, "changed");
	assert_int_equal(remembered(&world, "changed"), 900);
	end(&world);
}

static void the_allowance_shrinks_with_each_bad_password(void **state)
{
	struct world world;
	unsigned int expected = THRESHOLD;

	begin(&world);
	for (char p[] = "a"; *p < 'f'; ++*p) {
		assert_int_equal(allowance(&world, THRESHOLD), expected);
		refuse(&world, p);
		expected = expected > 1 ? expected - 1 : 1;
	}
	assert_int_equal(allowance(&world, THRESHOLD), 1);
	assert_int_equal(allowance(&world, 1), 1);
	sleep_secs(&world, 600);
	assert_int_equal(allowance(&world, THRESHOLD), THRESHOLD);
	end(&world);
}

static void the_newest_bad_passwords_are_the_ones_remembered(void **state)
{
	struct world world;
	char password[16];

	begin(&world);
	for (unsigned int i = 0; i < MAUTH_SHIELD_SLOTS + 4; i++) {
		snprintf(password, sizeof(password), "p%u", i);
		refuse(&world, password);
		sleep_secs(&world, 1);
	}
	assert_int_equal(remembered(&world, "p3"), 0);
	assert_true(remembered(&world, "p4") > 0);
	assert_true(remembered(&world, password) > 0);
	end(&world);
}

static void a_spray_over_many_names_is_bounded(void **state)
{
	struct world world;
	struct mauth_secret *p = mauth_secret_new("spring2024", 10);
	char upn[32];

	begin(&world);
	for (int i = 0; i < 65536 + 10; i++) {
		snprintf(upn, sizeof(upn), "u%d@contoso.com", i);
		mauth_shield_refused(world.shield, TENANT, upn, p, MAUTH_USER_UNKNOWN, 50034, false, THRESHOLD);
	}
	assert_int_equal(mauth_shield_count(world.shield), 65536);
	assert_int_equal(remembered_of(&world, "u9@contoso.com", "spring2024"), 0);
	assert_int_equal(remembered_of(&world, "u10@contoso.com", "spring2024"), 60);
	mauth_secret_free(&p);
	end(&world);
}

static void a_successor_knows_what_we_knew(void **state)
{
	struct world world;
	struct mauth_shield *heir;
	const struct mauth_shield_user *user;

	begin(&world);
	for (char p[] = "a"; *p < 'f'; ++*p)
		refuse(&world, p);
	sleep_secs(&world, 100);
	heir = mauth_shield_new(fake_loop_loop(world.loop), &world.key, &settings);
	for (user = mauth_shield_next(world.shield, NULL); user != NULL; user = mauth_shield_next(world.shield, user))
		mauth_shield_adopt(heir, user, user->node.tenant, user->upn);
	mauth_shield_free(&world.shield);
	world.shield = heir;
	assert_int_equal(mauth_shield_count(heir), 1);
	assert_int_equal(locked(&world), 500);
	assert_int_equal(remembered(&world, "a"), 800);
	assert_int_equal(remembered(&world, "right"), 0);
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_password_is_remembered_and_no_other),
		cmocka_unit_test(what_is_remembered_is_what_entra_said),
		cmocka_unit_test(a_bad_password_is_asked_again_after_twice_the_time_up_to_sixteen_times),
		cmocka_unit_test(what_an_admin_can_mend_is_not_remembered_for_longer_each_time),
		cmocka_unit_test(five_bad_passwords_in_ten_minutes_lock_the_user),
		cmocka_unit_test(bad_passwords_of_long_ago_do_not_count),
		cmocka_unit_test(two_bad_passwords_lock_in_us_government_clouds),
		cmocka_unit_test(a_threshold_that_cannot_be_counted_is_lowered),
		cmocka_unit_test(refusals_that_do_not_count_never_lock),
		cmocka_unit_test(a_lock_at_entra_is_a_lock_here_at_once),
		cmocka_unit_test(a_success_begins_the_count_anew_and_lifts_the_lock),
		cmocka_unit_test(an_accepted_password_is_no_longer_bad),
		cmocka_unit_test(the_allowance_shrinks_with_each_bad_password),
		cmocka_unit_test(the_newest_bad_passwords_are_the_ones_remembered),
		cmocka_unit_test(a_spray_over_many_names_is_bounded),
		cmocka_unit_test(a_successor_knows_what_we_knew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
