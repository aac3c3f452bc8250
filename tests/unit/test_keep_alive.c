/* SPDX-License-Identifier: MIT */
/* Enrolments that nobody uses: kept alive evenly, and those that end are announced. */
#include "vault_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DAY 86400
#define DAVE "dave@contoso.com"

static struct mauth_enrolments *of(struct vault_world *world)
{
	return mauth_vault_enrolments(world->vault);
}

static void refuse_as(struct vault_world *world, unsigned int generation, enum mauth_status status, int code)
{
	struct mauth_error error;

	mauth_fail(&error, status, code, "AADSTS%d: scripted", code);
	mauth_enrolments_refusal(of(world), CONTOSO, ALICE, generation, &error, code);
}

static unsigned int generation(struct vault_world *world)
{
	return world_enrolment(world, ALICE)->generation;
}

static void expect_token(struct vault_world *world, const char *token)
{
	assert_string_equal(world_refresh_token(world, ALICE), token);
}

/* An open vault in which ALICE is enrolled with "token-1", and whose store is held. */
static void begin(struct vault_world *world)
{
	vault_world_open_with(world, "E");
	world_enrol(world, ALICE, "token-1");
	fake_store_hold(world->store, true);
}

/* -- keeping them alive ------------------------------------------------------------------------------------- */

#define MANY 10000u

struct refreshes {
	struct vault_world *world;
	unsigned int count, late;
	bool outage;
};

/* Ten thousand who have enrolled in the same second. */
static void load_many(struct vault_world *world)
{
	static const char value[] =
		"{\"oid\":\"o\",\"app\":\"a\",\"enrolled_at\":1700000000,\"refreshed_at\":1700000000}";
	char name[64];

	for (unsigned int i = 0; i < MANY; i++) {
		const struct mauth_store_row row = { MAUTH_ENROLMENT_KIND, name, value, strlen(value) };

		snprintf(name, sizeof(name), "contoso/user%u@contoso.com", i);
		assert_int_equal(mauth_enrolments_load(of(world), &row, NULL), MAUTH_OK);
	}
}

static void those_who_enrolled_together_are_refreshed_evenly(void **state)
{
	struct vault_world world;
	unsigned int days[31] = { 0 };
	const struct mauth_enrolment *enrolment = NULL;

	vault_world_open_with(&world, "E");
	load_many(&world);
	while ((enrolment = mauth_enrolments_next(of(&world), enrolment)) != NULL) {
		int64_t after = mauth_enrolment_due_at(enrolment) - WORLD_WALL;

		assert_in_range(after, 15 * DAY, 30 * DAY);
		days[after / DAY]++;
	}
	for (unsigned int day = 15; day < 30; day++)
		assert_in_range(days[day], MANY / 15 * 8 / 10, MANY / 15 * 12 / 10);
	vault_world_end(&world);
}

static void count_due(const struct mauth_enrolment *enrolment, void *context)
{
	struct refreshes *refreshes = context;
	int64_t now = mauth_wall_secs(fake_loop_loop(refreshes->world->w.loop));

	assert_true(now >= enrolment->refreshed_at + 15 * DAY);
	refreshes->late += now > enrolment->refreshed_at + 30 * DAY + 3600;
	refreshes->count++;
	if (!refreshes->outage)
		((struct mauth_enrolment *)(uintptr_t)enrolment)->refreshed_at = now;
}

/* An hour of tending: one look every ten seconds. */
static unsigned int tend_for_an_hour(struct refreshes *refreshes)
{
	unsigned int before = refreshes->count;

	for (unsigned int i = 0; i < 360; i++) {
		fake_loop_lag(refreshes->world->w.loop, 10000);
		mauth_enrolments_tend(of(refreshes->world), 20, count_due, refreshes);
	}
	return refreshes->count - before;
}

static void nobody_waits_longer_than_keep_alive(void **state)
{
	struct vault_world world;
	struct refreshes refreshes = { .world = &world };

	vault_world_open_with(&world, "E");
	load_many(&world);
	world.w.config->expiry_warning_secs = 0;
	for (unsigned int hour = 0; hour < 31 * 24; hour += 24) {
		/* Look at one hour of each day, and only at the day's end for the rest. */
		for (unsigned int i = 0; i < 23; i++) {
			fake_loop_lag(world.w.loop, 3600000);
			for (unsigned int j = 0; j < 5; j++)
				mauth_enrolments_tend(of(&world), 20, count_due, &refreshes);
		}
		assert_in_range(tend_for_an_hour(&refreshes), 0, 200);
	}
	assert_int_equal(refreshes.late, 0);
	assert_in_range(refreshes.count, MANY, 2 * MANY);
	vault_world_end(&world);
}

static void an_outage_does_not_become_a_storm(void **state)
{
	struct vault_world world;
	struct refreshes refreshes = { .world = &world, .outage = true };

	vault_world_open_with(&world, "E");
	load_many(&world);
	world.w.config->expiry_warning_secs = 0;
	fake_loop_jump(world.w.loop, 40 * DAY);
	fake_loop_lag(world.w.loop, 1000);
	/* All are overdue, and every try fails: two a second at most, none twice in an hour. */
	assert_int_equal(tend_for_an_hour(&refreshes), 7200);
	mauth_enrolments_tend(of(&world), 0, count_due, &refreshes);
	assert_int_equal(refreshes.count, 7200);
	refreshes.outage = false;
	tend_for_an_hour(&refreshes);
	tend_for_an_hour(&refreshes);
	assert_int_equal(refreshes.count, 7200 + MANY);
	assert_int_equal(tend_for_an_hour(&refreshes), 0);
	vault_world_end(&world);
}

static void what_ends_soon_is_said_once_a_day(void **state)
{
	struct vault_world world;
	struct refreshes none = { .world = &world, .outage = true };

	begin(&world);
	fake_store_hold(world.store, false);
	world_enrol(&world, DAVE, "token-of-dave");
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 50076);
	world_turn(&world.w);
	fake_loop_jump(world.w.loop, 75 * DAY);
	mauth_enrolments_tend(of(&world), 0, count_due, &none);
	assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_expiring"), 0);
	for (unsigned int day = 0; day < 3; day++) {
		fake_loop_jump(world.w.loop, DAY + 1);
		for (unsigned int i = 0; i < 3; i++)
			mauth_enrolments_tend(of(&world), 0, count_due, &none);
		assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_expiring"), 2 * (day + 1));
	}
	assert_int_equal(world_count(world.w.sinks.lines, "ends in 11 days"), 2);
	assert_true(world_count(world.w.sinks.lines, "Entra's last answer: AADSTS50076") > 0);
	/* The dead are not said to end. */
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 50173);
	world_turn(&world.w);
	fake_loop_jump(world.w.loop, DAY);
	mauth_enrolments_tend(of(&world), 0, count_due, &none);
	assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_expiring"), 7);
	vault_world_end(&world);
}

static void the_broker_keeps_an_idle_enrolment_alive(void **state)
{
	struct vault_world world;

	begin(&world);
	fake_store_hold(world.store, false);
	fake_loop_jump(world.w.loop, 31 * DAY);
	fake_loop_run(world.w.loop, 10000);
	assert_int_equal(fake_http_open(world.w.http), 1);
	world_refreshed(&world, ALICE, "oid-1", "token-2");
	world_turn(&world.w);
	fake_loop_run(world.w.loop, 3600000);
	assert_int_equal(fake_http_open(world.w.http), 0);
	expect_token(&world, "token-2");
	assert_in_range(world_enrolment(&world, ALICE)->refreshed_at, WORLD_WALL + 31 * DAY,
			WORLD_WALL + 31 * DAY + 60);
	vault_world_end(&world);
}

static void nobody_is_refreshed_whose_application_is_gone(void **state)
{
	struct vault_world world;

	begin(&world);
	world.w.tenant->client_id[0] ^= 1;
	fake_loop_jump(world.w.loop, 31 * DAY);
	fake_loop_run(world.w.loop, 10000);
	assert_int_equal(fake_http_started(world.w.http), 0);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(those_who_enrolled_together_are_refreshed_evenly),
		cmocka_unit_test(nobody_waits_longer_than_keep_alive),
		cmocka_unit_test(an_outage_does_not_become_a_storm),
		cmocka_unit_test(what_ends_soon_is_said_once_a_day),
		cmocka_unit_test(the_broker_keeps_an_idle_enrolment_alive),
		cmocka_unit_test(nobody_is_refreshed_whose_application_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
