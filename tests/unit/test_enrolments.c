/* SPDX-License-Identifier: MIT */
/* Enrolments: what is known of them, their tokens on the way to the disk, and keeping them alive. */
#include "vault_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DAVE "dave@contoso.com"

/* A write that was begun. */
struct written {
	unsigned int calls;
	struct mauth_error error;           /* status MAUTH_OK: none */
};

static void on_disk(const struct mauth_error *error, void *context)
{
	struct written *written = context;

	written->calls++;
	if (error != NULL)
		written->error = *error;
}

static struct mauth_enrolments *of(struct vault_world *world)
{
	return mauth_vault_enrolments(world->vault);
}

static struct mauth_secret *token_of(struct vault_world *world, const char *text)
{
	world_secret(&world->w, text);
	return mauth_secret_new(text, strlen(text));
}

static void put(struct vault_world *world, const char *token, const char *oid, struct written *written)
{
	struct mauth_secret *secret = token_of(world, token);

	mauth_enrolments_put(of(world), &(struct mauth_enrolment_new){
		.tenant = world->w.tenant, .account = ALICE, .oid = oid, .refresh_token = secret }, on_disk, written);
	mauth_secret_free(&secret);
}

/* token NULL: the refresh grant gave none. */
static void rotate(struct vault_world *world, unsigned int generation, const char *token, struct written *written)
{
	struct mauth_secret *secret = token == NULL ? NULL : token_of(world, token);

	mauth_enrolments_rotated(of(world), CONTOSO, ALICE, generation, secret, on_disk, written);
	mauth_secret_free(&secret);
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

static enum mauth_status usable(struct vault_world *world, struct mauth_error *error_r)
{
	return mauth_enrolments_usable(of(world), world->w.tenant, ALICE, error_r);
}

/* An open vault in which ALICE is enrolled with "token-1", and whose store is held. */
static void begin(struct vault_world *world)
{
	vault_world_open_with(world, "E");
	world_enrol(world, ALICE, "token-1");
	fake_store_hold(world->store, true);
}

static void finish(struct vault_world *world)
{
	while (fake_store_finish(world->store) > 0)
		;
}

/* -- coming and going --------------------------------------------------------------------------------------- */

static void an_enrolment_is_there_when_it_is_on_disk(void **state)
{
	struct vault_world world;
	struct written written = { 0 };

	vault_world_open_with(&world, "E");
	fake_store_hold(world.store, true);
	put(&world, "token-1", "oid-1", &written);
	assert_null(world_enrolment(&world, ALICE));
	assert_int_equal(usable(&world, NULL), MAUTH_INTERACTION);
	assert_true(mauth_enrolments_writing(of(&world), CONTOSO, ALICE));
	finish(&world);
	assert_int_equal(written.calls, 1);
	assert_int_equal(usable(&world, NULL), MAUTH_OK);
	expect_token(&world, "token-1");
	assert_false(mauth_enrolments_writing(of(&world), CONTOSO, ALICE));
	vault_world_end(&world);
}

static void an_enrolment_survives_the_process(void **state)
{
	struct vault_world world;
	const struct mauth_enrolment *enrolment;

	begin(&world);
	vault_world_restart(&world);
	enrolment = world_enrolment(&world, ALICE);
	assert_string_equal(enrolment->oid, "oid-1");
	assert_int_equal(enrolment->enrolled_at, WORLD_WALL);
	assert_int_equal(mauth_enrolment_expires_at(enrolment), WORLD_WALL + MAUTH_ENROLMENT_LIFE_SECS);
	assert_int_equal(mauth_enrolments_count(of(&world)), 1);
	assert_ptr_equal(mauth_enrolments_next(of(&world), NULL), enrolment);
	assert_null(mauth_enrolments_next(of(&world), enrolment));
	expect_token(&world, "token-1");
	vault_world_end(&world);
}

static void one_that_cannot_be_written_is_none_and_leaves_the_one_before(void **state)
{
	struct vault_world world;
	struct written written = { 0 };

	begin(&world);
	put(&world, "token-2", "oid-2", &written);
	fake_store_fail(world.store, "disk full");
	finish(&world);
	fake_store_fail(world.store, NULL);
	assert_string_equal(written.error.text, "disk full");
	assert_string_equal(world_enrolment(&world, ALICE)->oid, "oid-1");
	expect_token(&world, "token-1");
	/* And it can be refreshed as before. */
	rotate(&world, generation(&world), "token-3", &written);
	finish(&world);
	expect_token(&world, "token-3");
	vault_world_end(&world);
}

static void enrolling_again_raises_the_dead(void **state)
{
	struct vault_world world;
	struct written written = { 0 };
	struct mauth_error error;

	begin(&world);
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 50173);
	finish(&world);
	assert_int_equal(usable(&world, &error), MAUTH_INTERACTION);
	assert_int_equal(error.code, 50173);
	put(&world, "token-2", "oid-1", &written);
	finish(&world);
	assert_int_equal(usable(&world, NULL), MAUTH_OK);
	assert_false(mauth_enrolments_refused(of(&world), CONTOSO, ALICE, NULL));
	expect_token(&world, "token-2");
	vault_world_restart(&world);
	assert_int_equal(usable(&world, NULL), MAUTH_OK);
	vault_world_end(&world);
}

static void a_removed_one_is_gone_at_once_and_after_a_restart(void **state)
{
	struct vault_world world;
	struct written written = { 0 };
	struct mauth_error error;

	begin(&world);
	assert_int_equal(mauth_enrolments_remove(of(&world), CONTOSO, ALICE, on_disk, &written, &error), MAUTH_OK);
	assert_null(world_enrolment(&world, ALICE));
	expect_token(&world, "");
	assert_int_equal(written.calls, 0);
	assert_int_equal(mauth_enrolments_remove(of(&world), CONTOSO, ALICE, on_disk, &written, &error),
			 MAUTH_USER_UNKNOWN);
	finish(&world);
	assert_int_equal(written.calls, 1);
	assert_int_equal(fake_store_count(world.store, MAUTH_REFRESH_TOKEN_KIND), 0);
	vault_world_restart(&world);
	assert_null(world_enrolment(&world, ALICE));
	vault_world_end(&world);
}

static void a_removal_that_cannot_be_written_says_so(void **state)
{
	struct vault_world world;
	struct written written = { 0 };

	begin(&world);
	mauth_enrolments_remove(of(&world), CONTOSO, ALICE, on_disk, &written, NULL);
	fake_store_fail(world.store, "disk full");
	finish(&world);
	fake_store_fail(world.store, NULL);
	assert_string_equal(written.error.text, "disk full");
	assert_null(world_enrolment(&world, ALICE));
	vault_world_end(&world);
}

static void tenants_do_not_share_enrolments(void **state)
{
	struct vault_world world;

	begin(&world);
	assert_null(mauth_enrolments_find(of(&world), "fabrikam", ALICE));
	assert_int_equal(mauth_enrolments_remove(of(&world), "fabrikam", ALICE, on_disk, NULL, NULL),
			 MAUTH_USER_UNKNOWN);
	vault_world_end(&world);
}

/* -- races -------------------------------------------------------------------------------------------------- */

static void a_rotation_that_ends_after_a_new_enrolment_changes_nothing(void **state)
{
	struct vault_world world;
	struct written enrolled = { 0 }, rotated = { 0 };
	unsigned int before;

	begin(&world);
	before = generation(&world);
	put(&world, "token-2", "oid-2", &enrolled);
	/* While it is being written, and when it has been. */
	rotate(&world, before, "token-old-1", &rotated);
	finish(&world);
	rotate(&world, before, "token-old-2", &rotated);
	refuse_as(&world, before, MAUTH_INTERACTION, 50173);
	finish(&world);
	assert_int_equal(enrolled.calls, 1);
	assert_int_equal(rotated.calls, 2);
	expect_token(&world, "token-2");
	assert_int_equal(usable(&world, NULL), MAUTH_OK);
	vault_world_restart(&world);
	expect_token(&world, "token-2");
	vault_world_end(&world);
}

static void a_rotation_begun_with_the_new_token_waits_its_turn_too(void **state)
{
	struct vault_world world;
	struct written enrolled = { 0 }, rotated = { 0 };

	begin(&world);
	put(&world, "token-2", "oid-2", &enrolled);
	/* Somebody asked for the token in between, and was given the one before. */
	rotate(&world, generation(&world), "token-old", &rotated);
	finish(&world);
	expect_token(&world, "token-2");
	assert_string_equal(world_enrolment(&world, ALICE)->oid, "oid-2");
	vault_world_end(&world);
}

static void a_new_enrolment_overtakes_a_rotation_under_way(void **state)
{
	struct vault_world world;
	struct written enrolled = { 0 }, rotated = { 0 };

	for (int fails = 0; fails < 2; fails++) {
		begin(&world);
		rotate(&world, generation(&world), "token-old", &rotated);
		put(&world, "token-2", "oid-2", &enrolled);
		if (fails > 0) {
			/* Only the rotation fails: nobody may remember its token. */
			fake_store_fail(world.store, "disk full");
			fake_store_finish(world.store);
			fake_store_fail(world.store, NULL);
			put(&world, "token-2", "oid-2", &enrolled);
		}
		finish(&world);
		expect_token(&world, "token-2");
		vault_world_restart(&world);
		expect_token(&world, "token-2");
		vault_world_end(&world);
	}
}

static void two_enrolments_at_once_end_with_the_later_one(void **state)
{
	struct vault_world world;
	struct written first = { 0 }, second = { 0 };

	vault_world_open_with(&world, "E");
	fake_store_hold(world.store, true);
	put(&world, "token-1", "oid-1", &first);
	put(&world, "token-2", "oid-2", &second);
	finish(&world);
	assert_int_equal(first.calls + second.calls, 2);
	expect_token(&world, "token-2");
	assert_string_equal(world_enrolment(&world, ALICE)->oid, "oid-2");
	vault_world_end(&world);
}

struct between {
	struct vault_world *world;
	struct written rotated;
};

static void rotate_now(const struct mauth_error *error, void *context)
{
	struct between *between = context;

	assert_null(error);
	rotate(between->world, generation(between->world), "token-old", &between->rotated);
	refuse_as(between->world, generation(between->world), MAUTH_INTERACTION, 50173);
}

static void between_two_enrolments_the_first_ones_token_is_not_written_over_the_second(void **state)
{
	struct vault_world world;
	struct between between = { .world = &world };
	struct written second = { 0 };
	struct mauth_secret *secret;

	vault_world_open_with(&world, "E");
	fake_store_hold(world.store, true);
	secret = token_of(&world, "token-1");
	mauth_enrolments_put(of(&world), &(struct mauth_enrolment_new){
		.tenant = world.w.tenant, .account = ALICE, .oid = "oid-1", .refresh_token = secret },
		rotate_now, &between);
	put(&world, "token-2", "oid-2", &second);
	finish(&world);
	assert_int_equal(between.rotated.calls, 1);
	for (int restarted = 0; restarted < 2; restarted++) {
		expect_token(&world, "token-2");
		assert_int_equal(usable(&world, NULL), MAUTH_OK);
		vault_world_restart(&world);
	}
	mauth_secret_free(&secret);
	vault_world_end(&world);
}

static void what_is_removed_while_it_is_written_does_not_come_back(void **state)
{
	static const char *const what[] = { "first enrolment", "another enrolment", "rotation", "death" };

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		struct vault_world world;
		struct written written = { 0 }, removed = { 0 };

		vault_world_open_with(&world, "E");
		if (i > 0)
			world_enrol(&world, ALICE, "token-1");
		fake_store_hold(world.store, true);
		if (i < 2)
			put(&world, "token-2", "oid-2", &written);
		else if (i == 2)
			rotate(&world, generation(&world), "token-2", &written);
		else
			refuse_as(&world, generation(&world), MAUTH_INTERACTION, 50173);
		if (mauth_enrolments_remove(of(&world), CONTOSO, ALICE, on_disk, &removed, NULL) != MAUTH_OK)
			fail_msg("%s cannot be removed", what[i]);
		finish(&world);
		assert_int_equal(removed.calls, 1);
		/* Nobody is to go on as if it were there. */
		if (i < 2)
			assert_int_equal(written.error.status, MAUTH_POLICY);
		if (world_enrolment(&world, ALICE) != NULL)
			fail_msg("%s came back", what[i]);
		vault_world_restart(&world);
		if (world_enrolment(&world, ALICE) != NULL ||
		    fake_store_count(world.store, MAUTH_REFRESH_TOKEN_KIND) > 0)
			fail_msg("%s came back with the restart", what[i]);
		vault_world_end(&world);
	}
}

static void enrolling_after_a_removal_under_way_holds(void **state)
{
	struct vault_world world;
	struct written removed = { 0 }, first = { 0 }, second = { 0 };

	begin(&world);
	put(&world, "token-2", "oid-2", &first);
	mauth_enrolments_remove(of(&world), CONTOSO, ALICE, on_disk, &removed, NULL);
	put(&world, "token-3", "oid-3", &second);
	finish(&world);
	assert_int_equal(second.error.status, MAUTH_OK);
	expect_token(&world, "token-3");
	vault_world_restart(&world);
	expect_token(&world, "token-3");
	vault_world_end(&world);
}

static void dying_while_a_new_enrolment_is_written_is_no_death(void **state)
{
	struct vault_world world;
	struct written written = { 0 };

	begin(&world);
	put(&world, "token-2", "oid-2", &written);
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 50173);
	finish(&world);
	assert_int_equal(usable(&world, NULL), MAUTH_OK);
	assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_died"), 0);
	vault_world_restart(&world);
	assert_int_equal(usable(&world, NULL), MAUTH_OK);
	vault_world_end(&world);
}

static void writes_outlive_the_enrolments(void **state)
{
	struct vault_world world;
	struct written written[4] = { { 0 } };

	begin(&world);
	rotate(&world, generation(&world), "token-2", &written[0]);
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 50173);
	put(&world, "token-3", "oid-3", &written[1]);
	mauth_enrolments_remove(of(&world), CONTOSO, ALICE, on_disk, &written[2], NULL);
	put(&world, "token-4", "oid-4", &written[3]);
	vault_world_restart(&world);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(written[i].calls, 1);
	expect_token(&world, "token-4");
	vault_world_end(&world);
}

/* -- anything, in any order ---------------------------------------------------------------------------------- */

#define STEPS 3000u

/* What has been acknowledged: the store keeps the order. */
struct promise {
	char *acknowledged;                 /* the refresh token's text */
	unsigned int putting;               /* new enrolments on their way, and not revoked */
};

struct change {
	struct promise *promise;
	char token[24];                     /* "": removed; "-": nothing was to be written */
	bool put;
};

static void promised(const struct mauth_error *error, void *context)
{
	struct change *change = context;

	/* Not those that were revoked: they are not counted any more. */
	if (change->put && change->promise->putting > 0 && (error == NULL || error->status != MAUTH_POLICY))
		change->promise->putting--;
	/* What was revoked on its way to the disk is overtaken by its removal. */
	if (error == NULL && strcmp(change->token, "-") != 0)
		snprintf(change->promise->acknowledged, 24, "%s", change->token);
	free(change);
}

static struct change *change_new(struct promise *promise, const char *token)
{
	struct change *change = mauth_new(sizeof(*change));

	change->promise = promise;
	snprintf(change->token, sizeof(change->token), "%s", token);
	return change;
}

static void do_something(struct vault_world *world, struct promise *promise, unsigned int step)
{
	const struct mauth_enrolment *enrolment = world_enrolment(world, ALICE);
	struct mauth_secret *secret;
	struct change *change;
	char token[24];

	snprintf(token, sizeof(token), "t0ken-%u.", step);
	secret = mauth_secret_new(token, strlen(token));
	switch (rand() % 8) {
	case 0:
		mauth_enrolments_put(of(world), &(struct mauth_enrolment_new){
			.tenant = world->w.tenant, .account = ALICE, .oid = "", .refresh_token = secret },
			promised, change = change_new(promise, token));
		change->put = true;
		promise->putting++;
		break;
	case 1:
	case 2:
		/* One that Entra was asked for just now, or some time ago. */
		change = change_new(promise, enrolment != NULL && promise->putting == 0 && step % 2 == 0 ? token : "-");
		mauth_enrolments_rotated(of(world), CONTOSO, ALICE,
					 enrolment == NULL ? 0 : enrolment->generation - step % 2, secret, promised,
					 change);
		break;
	case 3:
		if (step % 5 != 0)
			break;
		change = change_new(promise, "");
		if (mauth_enrolments_remove(of(world), CONTOSO, ALICE, promised, change, NULL) != MAUTH_OK)
			free(change);
		else
			promise->putting = 0;
		break;
	case 4:
		if (enrolment != NULL)
			refuse_as(world, enrolment->generation - step % 2, MAUTH_INTERACTION,
				  step % 3 == 0 ? 50173 : 50076);
		break;
	default:
		/* A moment of a full disk. */
		fake_store_fail(world->store, rand() % 4 == 0 ? "disk full" : NULL);
		fake_store_finish(world->store);
		fake_store_fail(world->store, NULL);
	}
	mauth_secret_free(&secret);
}

static void what_was_acknowledged_is_there_after_a_restart(void **state)
{
	for (unsigned int seed = 1; seed <= 5; seed++) {
		char acknowledged[24] = "";
		struct promise promise = { acknowledged, 0 };
		struct vault_world world;

		srand(seed);
		vault_world_open_with(&world, "E");
		fake_store_hold(world.store, true);
		for (unsigned int step = 1; step <= STEPS; step++) {
			do_something(&world, &promise, step);
			if (rand() % 50 != 0)
				continue;
			vault_world_restart(&world);
			if (strcmp(world_refresh_token(&world, ALICE), acknowledged) != 0)
				fail_msg("seed %u, step %u: \"%s\" instead of \"%s\"", seed, step,
					 world_refresh_token(&world, ALICE), acknowledged);
			fake_store_hold(world.store, true);
		}
		vault_world_end(&world);
	}
}

/* -- a store that fails ------------------------------------------------------------------------------------- */

static void a_token_that_could_not_be_written_is_kept_and_written_later(void **state)
{
	struct vault_world world;
	struct written written = { 0 };

	begin(&world);
	rotate(&world, generation(&world), "token-2", &written);
	fake_store_fail(world.store, "disk full");
	finish(&world);
	fake_store_fail(world.store, NULL);
	assert_string_equal(written.error.text, "disk full");
	expect_token(&world, "token-2");
	assert_int_equal(world_enrolment(&world, ALICE)->refreshed_at, WORLD_WALL);
	/* Entra gave no newer one this time. */
	fake_loop_run(world.w.loop, 5000);
	rotate(&world, generation(&world), NULL, &written);
	finish(&world);
	assert_int_equal(written.calls, 2);
	vault_world_restart(&world);
	expect_token(&world, "token-2");
	assert_int_equal(world_enrolment(&world, ALICE)->refreshed_at, WORLD_WALL + 5);
	vault_world_end(&world);
}

static void a_row_without_a_token_does_not_make_it_forget_one(void **state)
{
	struct vault_world world;
	struct written written = { 0 };

	begin(&world);
	rotate(&world, generation(&world), "token-2", &written);
	fake_store_fail(world.store, "disk full");
	finish(&world);
	fake_store_fail(world.store, NULL);
	/* The row of a death has no token. */
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 70008);
	finish(&world);
	expect_token(&world, "token-2");
	vault_world_end(&world);
}

/* -- refusals ----------------------------------------------------------------------------------------------- */

static void only_five_codes_mean_the_end(void **state)
{
	static const struct {
		int code;
		bool dead;
	} rows[] = {
		{ 50173, true }, { 700082, true }, { 70008, true }, { 70000, true }, { 70043, true },
		{ 0, false }, { 50076, false }, { 50057, false }, { 53003, false }, { 700084, false }, { 50089, false },
		{ 65001, false }, { 7000222, false }, { 50132, false }, { 90000, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vault_world world;
		struct mauth_error error;

		begin(&world);
		refuse_as(&world, generation(&world), MAUTH_INTERACTION, rows[i].code);
		finish(&world);
		if ((usable(&world, &error) != MAUTH_OK) != rows[i].dead)
			fail_msg("AADSTS%d", rows[i].code);
		assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_died"), rows[i].dead);
		/* Whatever it was, the token is kept. */
		assert_int_equal(fake_store_count(world.store, MAUTH_REFRESH_TOKEN_KIND), 1);
		expect_token(&world, "token-1");
		vault_world_restart(&world);
		assert_int_equal(usable(&world, &error) != MAUTH_OK, rows[i].dead);
		if (rows[i].dead)
			assert_non_null(strstr(error.text, "scripted"));
		expect_token(&world, "token-1");
		vault_world_end(&world);
	}
}

static void death_is_said_once(void **state)
{
	struct vault_world world;

	begin(&world);
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 50173);
	refuse_as(&world, generation(&world), MAUTH_INTERACTION, 70008);
	finish(&world);
	assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_died"), 1);
	assert_int_equal(world_enrolment(&world, ALICE)->code, 50173);
	assert_int_equal(world_count(world.w.sinks.lines, "doveadm modernauth enroll " ALICE), 1);
	vault_world_end(&world);
}

static void a_refusal_pauses_for_a_minute(void **state)
{
	struct vault_world world;
	struct mauth_error error;
	struct written written = { 0 };

	begin(&world);
	refuse_as(&world, generation(&world), MAUTH_DISABLED, 50057);
	assert_true(mauth_enrolments_refused(of(&world), CONTOSO, ALICE, &error));
	assert_int_equal(error.status, MAUTH_DISABLED);
	assert_false(mauth_enrolments_refused(of(&world), CONTOSO, BOB, NULL));
	fake_loop_run(world.w.loop, 59999);
	assert_true(mauth_enrolments_refused(of(&world), CONTOSO, ALICE, NULL));
	fake_loop_run(world.w.loop, 1);
	assert_false(mauth_enrolments_refused(of(&world), CONTOSO, ALICE, NULL));
	/* A token ends it at once. */
	refuse_as(&world, generation(&world), MAUTH_DISABLED, 50057);
	rotate(&world, generation(&world), "token-2", &written);
	assert_false(mauth_enrolments_refused(of(&world), CONTOSO, ALICE, NULL));
	finish(&world);
	vault_world_end(&world);
}

/* -- whose it is -------------------------------------------------------------------------------------------- */

static void the_owner_is_known_by_object_id_and_else_by_name(void **state)
{
	static const struct {
		const char *known, *upn, *oid;
		bool owner;
	} rows[] = {
		{ "oid-1", ALICE, "oid-1", true },
		{ "oid-1", "alice.miller@contoso.com", "oid-1", true },         /* she has married */
		{ "oid-1", ALICE, "oid-2", false },                             /* a new one of the same name */
		{ "oid-1", ALICE, "", true },
		{ "oid-1", "Alice@Contoso.com", "", true },
		{ "oid-1", BOB, "", false },
		{ "oid-1", "", "", true },
		{ "", ALICE, "oid-2", true },
		{ "", BOB, "oid-2", false },
		{ "", "", "oid-2", true },
	};
	struct vault_world world;
	struct written written = { 0 };

	vault_world_open_with(&world, "E");
	assert_false(mauth_enrolments_is_owner(of(&world), CONTOSO, ALICE, ALICE, "oid-1"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put(&world, "token-1", rows[i].known, &written);
		world_turn(&world.w);
		if (mauth_enrolments_is_owner(of(&world), CONTOSO, ALICE, rows[i].upn, rows[i].oid) != rows[i].owner)
			fail_msg("row %zu", i);
	}
	vault_world_end(&world);
}

static void an_enrolment_is_good_for_its_application_only(void **state)
{
	struct vault_world world;
	struct mauth_error error;
	const char *const parts[] = { "client_id", "tenant_id", "authority" };

	begin(&world);
	for (size_t i = 0; i < 3; i++) {
		struct mauth_tenant *tenant = world.w.tenant;
		char *text = i == 0 ? tenant->client_id : i == 1 ? tenant->tenant_id : tenant->authority;

		text[0] ^= 1;
		if (usable(&world, &error) != MAUTH_INTERACTION)
			fail_msg("%s does not matter", parts[i]);
		text[0] ^= 1;
		assert_int_equal(usable(&world, NULL), MAUTH_OK);
	}
	vault_world_end(&world);
}

/* -- rows --------------------------------------------------------------------------------------------------- */

static void a_row_that_cannot_be_read_is_named(void **state)
{
	static const struct {
		const char *name, *value;
	} rows[] = {
		{ "contoso/dave@contoso.com", "" }, { "contoso/dave@contoso.com", "{" },
		{ "contoso/dave@contoso.com", "[]" }, { "contoso", "{}" }, { "/dave@contoso.com", "{}" },
		{ "contoso/", "{}" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vault_world world;
		struct mauth_error error;

		begin(&world);
		vault_world_close(&world);
		fake_store_put(world.store, MAUTH_ENROLMENT_KIND, rows[i].name, rows[i].value);
		assert_int_equal(vault_world_try(&world, &error), MAUTH_CONFIG);
		assert_non_null(strstr(error.text, rows[i].name));
		vault_world_end(&world);
	}
}

static void a_row_of_a_later_version_is_read_as_far_as_it_goes(void **state)
{
	struct vault_world world;
	const struct mauth_enrolment *dave;

	begin(&world);
	vault_world_close(&world);
	fake_store_put(
		world.store, MAUTH_ENROLMENT_KIND, "contoso/" DAVE,
		"{\"oid\":7,\"app\":\"0123456789abcdef0123456789abcdef00\","
		"\"refreshed_at\":-5,\"enrolled_at\":99999999999999999,\"code\":-1,\"reason\":\"a\\nb\",\"more\":{}}");
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	dave = world_enrolment(&world, DAVE);
	assert_string_equal(dave->oid, "");
	assert_int_equal(dave->refreshed_at, 0);
	assert_int_equal(dave->enrolled_at, 0);
	assert_int_not_equal(dave->code, 0);
	assert_null(strchr(dave->reason, '\n'));
	vault_world_end(&world);
}

static void a_missing_or_foreign_token_is_an_error_of_the_store(void **state)
{
	struct vault_world world;
	struct mauth_secret *token = NULL;
	struct mauth_error error;
	unsigned int generation;

	begin(&world);
	fake_store_hold(world.store, false);
	world_enrol(&world, DAVE, "token-of-dave");
	/* Somebody has put one user's token under another one's name. */
	fake_store_put(world.store, MAUTH_REFRESH_TOKEN_KIND, "contoso/" ALICE,
		       fake_store_value(world.store, MAUTH_REFRESH_TOKEN_KIND, "contoso/" DAVE));
	assert_int_equal(mauth_enrolments_token(of(&world), CONTOSO, ALICE, &token, &generation, &error), MAUTH_CONFIG);
	fake_store_put(world.store, MAUTH_REFRESH_TOKEN_KIND, "contoso/" ALICE, NULL);
	assert_int_equal(mauth_enrolments_token(of(&world), CONTOSO, ALICE, &token, &generation, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, ALICE));
	assert_null(token);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_enrolment_is_there_when_it_is_on_disk),
		cmocka_unit_test(an_enrolment_survives_the_process),
		cmocka_unit_test(one_that_cannot_be_written_is_none_and_leaves_the_one_before),
		cmocka_unit_test(enrolling_again_raises_the_dead),
		cmocka_unit_test(a_removed_one_is_gone_at_once_and_after_a_restart),
		cmocka_unit_test(a_removal_that_cannot_be_written_says_so),
		cmocka_unit_test(tenants_do_not_share_enrolments),
		cmocka_unit_test(a_rotation_that_ends_after_a_new_enrolment_changes_nothing),
		cmocka_unit_test(a_rotation_begun_with_the_new_token_waits_its_turn_too),
		cmocka_unit_test(a_new_enrolment_overtakes_a_rotation_under_way),
		cmocka_unit_test(two_enrolments_at_once_end_with_the_later_one),
		cmocka_unit_test(between_two_enrolments_the_first_ones_token_is_not_written_over_the_second),
		cmocka_unit_test(what_is_removed_while_it_is_written_does_not_come_back),
		cmocka_unit_test(enrolling_after_a_removal_under_way_holds),
		cmocka_unit_test(dying_while_a_new_enrolment_is_written_is_no_death),
		cmocka_unit_test(writes_outlive_the_enrolments),
		cmocka_unit_test(what_was_acknowledged_is_there_after_a_restart),
		cmocka_unit_test(a_token_that_could_not_be_written_is_kept_and_written_later),
		cmocka_unit_test(a_row_without_a_token_does_not_make_it_forget_one),
		cmocka_unit_test(only_five_codes_mean_the_end),
		cmocka_unit_test(death_is_said_once),
		cmocka_unit_test(a_refusal_pauses_for_a_minute),
		cmocka_unit_test(the_owner_is_known_by_object_id_and_else_by_name),
		cmocka_unit_test(an_enrolment_is_good_for_its_application_only),
		cmocka_unit_test(a_row_that_cannot_be_read_is_named),
		cmocka_unit_test(a_row_of_a_later_version_is_read_as_far_as_it_goes),
		cmocka_unit_test(a_missing_or_foreign_token_is_an_error_of_the_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
