/* SPDX-License-Identifier: MIT */
/* The vault: opening a store with its keys, and sealing everything anew while the service goes on. */
#include "vault_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY_ROW "verifier-key"

/* -- opening ------------------------------------------------------------------------------------------------ */

static void the_first_start_makes_a_key_and_a_row(void **state)
{
	struct vault_world world;

	vault_world_begin(&world);
	vault_world_open(&world);
	assert_int_equal(world.key_writes, 1);
	assert_non_null(strstr(world.keys, mauth_vault_key_id(world.vault)));
	assert_int_equal(fake_store_count(world.store, NULL), 1);
	assert_non_null(fake_store_value(world.store, MAUTH_META_KIND, KEY_ROW));
	assert_int_equal(world_count(world.w.sinks.lines, "made a key for the store"), 1);
	vault_world_end(&world);
}

static void the_second_start_reads_them(void **state)
{
	struct vault_world world;
	char id[MAUTH_SEAL_KEY_ID_SIZE];
	struct mauth_verifier_key key;
	unsigned int writes;

	vault_world_begin(&world);
	vault_world_open(&world);
	snprintf(id, sizeof(id), "%s", mauth_vault_key_id(world.vault));
	key = *mauth_vault_device_key(world.vault);
	writes = fake_store_writes(world.store);
	vault_world_restart(&world);
	assert_string_equal(mauth_vault_key_id(world.vault), id);
	assert_memory_equal(mauth_vault_device_key(world.vault), &key, sizeof(key));
	assert_int_equal(world.key_writes, 1);
	assert_int_equal(fake_store_writes(world.store), writes);
	vault_world_end(&world);
}

/* A store with something in it, which nobody has open. */
static void begin_used(struct vault_world *world)
{
	vault_world_begin(world);
	vault_world_open(world);
	world_enrol(world, ALICE, "refresh-token-1");
	free(world_device(world, ALICE, "Ricoh"));
	vault_world_close(world);
}

/* It cannot be opened, the text has needle, and neither store nor keys are touched. */
static void expect_refused(struct vault_world *world, const char *needle)
{
	char *before = fake_store_list(world->store), *after, *keys = mauth_strdup(world->keys);
	unsigned int writes = fake_store_writes(world->store);
	struct mauth_error error;

	assert_int_equal(vault_world_try(world, &error), MAUTH_CONFIG);
	if (strstr(error.text, needle) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", needle, error.text);
	assert_null(world->vault);
	world_turn(&world->w);
	after = fake_store_list(world->store);
	assert_string_equal(before, after);
	assert_int_equal(fake_store_writes(world->store), writes);
	assert_true((keys == NULL) == (world->keys == NULL));
	if (keys != NULL)
		assert_string_equal(keys, world->keys);
	free(keys);
	free(before);
	free(after);
}

static void without_its_key_a_store_is_refused_and_nothing_written(void **state)
{
	struct vault_world world;
	char *keys;

	begin_used(&world);
	keys = world.keys;
	world.keys = NULL;
	expect_refused(&world, "its key is missing: /var/lib/modernauth/modernauth.key");
	/* With the file restored all is well. */
	world.keys = keys;
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	assert_string_equal(world_refresh_token(&world, ALICE), "refresh-token-1");
	vault_world_end(&world);
}

static void set_keys(struct vault_world *world, const struct mauth_keyring *keyring)
{
	struct mauth_secret *text = mauth_keyring_format(keyring);

	free(world->keys);
	world->keys = mauth_strdup(mauth_secret_expose(text));
	mauth_secret_free(&text);
}

static void a_foreign_key_is_refused_and_the_right_one_named(void **state)
{
	struct mauth_keyring *foreign = mauth_keyring_new();
	struct vault_world world;
	char id[MAUTH_SEAL_KEY_ID_SIZE];

	begin_used(&world);
	snprintf(id, sizeof(id), "%.16s", strstr(world.keys, "modernauth-key ") + strlen("modernauth-key "));
	set_keys(&world, foreign);
	expect_refused(&world, id);
	mauth_keyring_free(&foreign);
	vault_world_end(&world);
}

static void a_key_file_that_cannot_be_read_is_refused(void **state)
{
	struct vault_world world;

	begin_used(&world);
	strstr(world.keys, "modernauth-key ")[20] ^= 1;
	expect_refused(&world, "modernauth.key:");
	vault_world_end(&world);
}

static void a_key_that_cannot_be_written_is_no_start(void **state)
{
	struct vault_world world;
	struct mauth_error error;

	vault_world_begin(&world);
	world_open(&world.w);
	world.keys_read_only = true;
	assert_int_equal(vault_world_try(&world, &error), MAUTH_CONFIG);
	assert_int_equal(fake_store_writes(world.store), 0);
	world.keys_read_only = false;
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	vault_world_end(&world);
}

/* text under the name of the row of the key, sealed as that is. */
static void put_key_row(struct vault_world *world, const char *text)
{
	const struct mauth_seal_context seal = { MAUTH_META_KIND, "", KEY_ROW };
	struct mauth_secret *keys = mauth_secret_new(world->keys, strlen(world->keys));
	struct mauth_secret *plain = mauth_secret_new(text, strlen(text));
	struct mauth_keyring *keyring = NULL;
	struct mauth_buf sealed = { 0 };

	assert_int_equal(mauth_keyring_parse("keys", keys, &keyring, NULL), MAUTH_OK);
	mauth_seal(keyring, &seal, plain, &sealed);
	fake_store_put(world->store, MAUTH_META_KIND, KEY_ROW, sealed.data);
	mauth_buf_free(&sealed);
	mauth_keyring_free(&keyring);
	mauth_secret_free(&plain);
	mauth_secret_free(&keys);
}

static void a_damaged_store_is_refused_and_says_which_row(void **state)
{
	struct vault_world world;

	begin_used(&world);
	fake_store_put(world.store, MAUTH_META_KIND, KEY_ROW, "garbage");
	expect_refused(&world, "not a sealed value");
	put_key_row(&world, "too short to be a key");
	expect_refused(&world, "meta/verifier-key is no key");
	fake_store_put(world.store, MAUTH_META_KIND, KEY_ROW, NULL);
	expect_refused(&world, "meta/verifier-key is missing");
	put_key_row(&world, "32 octets are a key of passwords");
	fake_store_put(world.store, MAUTH_DEVICE_KIND, "contoso/x@contoso.com/abcdefghijkl", "{}");
	expect_refused(&world, "contoso/x@contoso.com/abcdefghijkl");
	fake_store_put(world.store, MAUTH_DEVICE_KIND, "contoso/x@contoso.com/abcdefghijkl", NULL);
	fake_store_put(world.store, MAUTH_LINK_KIND, "contoso/x@contoso.com", "{\"account\":\"\",\"mailbox\":\"m\"}");
	expect_refused(&world, "contoso/x@contoso.com");
	vault_world_end(&world);
}

static void a_first_row_that_could_not_be_written_is_written_later(void **state)
{
	struct vault_world world;
	char *device;
	struct outcome outcome;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "A");
	fake_store_fail(world.store, "disk full");
	vault_world_open(&world);
	fake_store_fail(world.store, NULL);
	device = world_device(&world, ALICE, "Ricoh");
	fake_loop_run(world.w.loop, 60000);
	/* Otherwise the next start would take the store for a damaged one. */
	vault_world_restart(&world);
	world_cache(&world, MAUTH_GRANT_APP, "t0ken");
	outcome = world_try(&world, ALICE, device, false);
	world_ended(&outcome, MAUTH_OK);
	free(device);
	vault_world_end(&world);
}

static void the_process_may_end_before_its_first_row_is_written(void **state)
{
	struct vault_world world;

	vault_world_begin(&world);
	world_open(&world.w);
	fake_store_hold(world.store, true);
	fake_store_fail(world.store, "disk full");
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	vault_world_close(&world);
	assert_int_equal(fake_store_count(world.store, NULL), 0);
	fake_store_fail(world.store, NULL);
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	assert_int_equal(world.key_writes, 1);
	vault_world_end(&world);
}

/* -- sealing anew ------------------------------------------------------------------------------------------- */

#define MANY 120u

/* What is said of a rekey. */
struct progress {
	unsigned int calls, finished;
	size_t done, total;
	struct mauth_error error;           /* status MAUTH_OK: none */
};

static void hear(const struct mauth_rekey_progress *progress, void *context)
{
	struct progress *heard = context;

	heard->calls++;
	heard->finished += progress->finished;
	assert_true(progress->done >= heard->done && progress->done <= progress->total);
	heard->done = progress->done;
	heard->total = progress->total;
	if (progress->error != NULL) {
		assert_true(progress->finished);
		heard->error = *progress->error;
	}
}

static void hear_nothing(const struct mauth_enrol_news *news, void *context)
{
	(void)news;
	(void)context;
}

/* MANY are enrolled, and a code is waited for. */
static void begin_many(struct vault_world *world)
{
	struct mauth_enrol_want bob = { .login = BOB, .account = BOB, .mailbox = BOB };
	struct mauth_enrol_listener *listener;
	char account[64], token[32];

	vault_world_open_with(world, "E");
	for (unsigned int i = 0; i < MANY; i++) {
		snprintf(account, sizeof(account), "user%u@contoso.com", i);
		snprintf(token, sizeof(token), "refresh-token-%u.", i);
		world_enrol(world, account, token);
	}
	bob.tenant = world->w.tenant;
	listener = mauth_enrol_start(mauth_broker_enrols(world->w.broker), &bob, hear_nothing, NULL, NULL);
	mauth_enrol_unlisten(&listener);
	fake_http_device_code(world->w.http, 1);
	world_turn(&world->w);
	assert_int_equal(fake_store_count(world->store, MAUTH_PENDING_KIND), 1);
}

static void expect_all_readable(struct vault_world *world)
{
	char account[64], token[32];

	for (unsigned int i = 0; i < MANY; i++) {
		snprintf(account, sizeof(account), "user%u@contoso.com", i);
		snprintf(token, sizeof(token), "refresh-token-%u.", i);
		assert_string_equal(world_refresh_token(world, account), token);
	}
	assert_int_equal(mauth_enrols_count(mauth_broker_enrols(world->w.broker)), 1);
}

static unsigned int keys_in(const char *text)
{
	return world_count(text, "modernauth-key ");
}

static void rekey(struct vault_world *world, struct progress *progress)
{
	struct mauth_error error;

	memset(progress, 0, sizeof(*progress));
	if (mauth_vault_rekey(world->vault, hear, progress, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	assert_int_equal(progress->calls, 0);
}

static void everything_is_sealed_under_the_new_key(void **state)
{
	struct vault_world world;
	struct progress progress;
	char *old, *new;

	begin_many(&world);
	old = mauth_strdup(world.keys);
	rekey(&world, &progress);
	/* On disk before anything is sealed with it. */
	assert_int_equal(keys_in(world.keys), 2);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(progress.finished, 1);
	assert_int_equal(progress.error.status, MAUTH_OK);
	assert_int_equal(progress.done, MANY + 2);
	assert_int_equal(progress.total, MANY + 2);
	assert_true(progress.calls > 2);
	assert_int_equal(keys_in(world.keys), 1);
	expect_all_readable(&world);
	vault_world_restart(&world);
	expect_all_readable(&world);
	/* The old key opens nothing any more. */
	vault_world_close(&world);
	new = world.keys;
	world.keys = old;
	expect_refused(&world, "which is not in the key file");
	free(old);
	world.keys = new;
	vault_world_end(&world);
}

static void wrote(const struct mauth_error *error, void *context)
{
	(void)error;
	++*(unsigned int *)context;
}

static unsigned int writes_done;

static void rotate(struct vault_world *world, const char *account, const char *token)
{
	struct mauth_secret *secret = mauth_secret_new(token, strlen(token));

	world_secret(&world->w, token);
	mauth_enrolments_rotated(mauth_vault_enrolments(world->vault), CONTOSO, account,
				 world_enrolment(world, account)->generation, secret, wrote, &writes_done);
	mauth_secret_free(&secret);
}

static void put(struct vault_world *world, const char *account, const char *token)
{
	struct mauth_secret *secret = mauth_secret_new(token, strlen(token));

	world_secret(&world->w, token);
	mauth_enrolments_put(mauth_vault_enrolments(world->vault),
			     &(struct mauth_enrolment_new){
				     .tenant = world->w.tenant, .account = account, .oid = "", .refresh_token = secret},
			     wrote, &writes_done);
	mauth_secret_free(&secret);
}

static void what_is_written_meanwhile_is_neither_lost_nor_overwritten(void **state)
{
	/* Writes of the store after which it comes in between. */
	for (unsigned int after = 0; after < 6; after++) {
		struct vault_world world;
		struct progress progress;
		unsigned int calls = 0;

		begin_many(&world);
		fake_store_hold(world.store, true);
		rotate(&world, "user0@contoso.com", "newer-before");
		put(&world, "carol@contoso.com", "carol-before");
		rekey(&world, &progress);
		for (unsigned int i = 0; i < after; i++) {
			world_turn(&world.w);
			fake_store_finish(world.store);
		}
		world_turn(&world.w);
		rotate(&world, "user1@contoso.com", "newer-1");
		rotate(&world, "user119@contoso.com", "newer-119");
		put(&world, "dave@contoso.com", "dave-1");
		mauth_enrolments_remove(mauth_vault_enrolments(world.vault), CONTOSO, "user60@contoso.com", wrote,
					&calls, NULL);
		fake_store_hold(world.store, false);
		fake_loop_run(world.w.loop, 60000);
		assert_int_equal(progress.finished, 1);
		assert_int_equal(progress.error.status, MAUTH_OK);
		assert_int_equal(keys_in(world.keys), 1);
		for (int restarted = 0; restarted < 2; restarted++) {
			assert_string_equal(world_refresh_token(&world, "user0@contoso.com"), "newer-before");
			assert_string_equal(world_refresh_token(&world, "carol@contoso.com"), "carol-before");
			assert_string_equal(world_refresh_token(&world, "user1@contoso.com"), "newer-1");
			assert_string_equal(world_refresh_token(&world, "user2@contoso.com"), "refresh-token-2.");
			assert_string_equal(world_refresh_token(&world, "user119@contoso.com"), "newer-119");
			assert_string_equal(world_refresh_token(&world, "dave@contoso.com"), "dave-1");
			assert_null(world_enrolment(&world, "user60@contoso.com"));
			assert_null(
				fake_store_value(world.store, MAUTH_REFRESH_TOKEN_KIND, "contoso/user60@contoso.com"));
			vault_world_restart(&world);
		}
		vault_world_end(&world);
	}
}

static void a_store_that_fails_in_the_middle_leaves_everything_readable(void **state)
{
	for (unsigned int good = 0; good < 4; good++) {
		struct vault_world world;
		struct progress progress;

		begin_many(&world);
		fake_store_hold(world.store, true);
		rekey(&world, &progress);
		for (unsigned int i = 0; i < good; i++) {
			world_turn(&world.w);
			assert_int_equal(fake_store_finish(world.store), 1);
		}
		fake_store_fail(world.store, "disk full");
		fake_store_hold(world.store, false);
		fake_loop_run(world.w.loop, 1000);
		assert_int_equal(progress.finished, 1);
		assert_string_equal(progress.error.text, "disk full");
		assert_int_equal(keys_in(world.keys), 2);
		fake_store_fail(world.store, NULL);
		expect_all_readable(&world);
		vault_world_restart(&world);
		expect_all_readable(&world);
		rekey(&world, &progress);
		fake_loop_run(world.w.loop, 1000);
		assert_int_equal(progress.error.status, MAUTH_OK);
		assert_int_equal(keys_in(world.keys), 1);
		vault_world_restart(&world);
		expect_all_readable(&world);
		vault_world_end(&world);
	}
}

static void it_can_be_repeated_more_often_than_there_is_room_for_keys(void **state)
{
	struct vault_world world;
	struct progress progress;

	begin_many(&world);
	for (unsigned int i = 0; i < 2 * MAUTH_SEAL_KEYS_MAX; i++) {
		fake_store_fail(world.store, "disk full");
		rekey(&world, &progress);
		fake_loop_run(world.w.loop, 1000);
		assert_string_equal(progress.error.text, "disk full");
	}
	fake_store_fail(world.store, NULL);
	rekey(&world, &progress);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(progress.error.status, MAUTH_OK);
	assert_int_equal(keys_in(world.keys), 1);
	vault_world_restart(&world);
	expect_all_readable(&world);
	vault_world_end(&world);
}

static void a_key_file_that_cannot_be_written_stops_it_before_anything_is_changed(void **state)
{
	struct vault_world world;
	struct progress progress = { 0 };
	struct mauth_error error;
	char *before, *after;

	begin_many(&world);
	before = fake_store_list(world.store);
	world.keys_read_only = true;
	assert_int_equal(mauth_vault_rekey(world.vault, hear, &progress, &error), MAUTH_CONFIG);
	fake_loop_run(world.w.loop, 1000);
	after = fake_store_list(world.store);
	assert_string_equal(before, after);
	assert_int_equal(progress.calls, 0);
	expect_all_readable(&world);
	free(before);
	free(after);
	vault_world_end(&world);
}

static void old_keys_that_cannot_be_dropped_stay(void **state)
{
	struct vault_world world;
	struct progress progress;

	begin_many(&world);
	rekey(&world, &progress);
	world.keys_read_only = true;
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(progress.finished, 1);
	assert_int_equal(progress.error.status, MAUTH_CONFIG);
	world.keys_read_only = false;
	expect_all_readable(&world);
	vault_world_restart(&world);
	expect_all_readable(&world);
	vault_world_end(&world);
}

static void two_at_once_are_one_too_many(void **state)
{
	struct vault_world world;
	struct progress progress, second = { 0 };
	struct mauth_error error;

	begin_many(&world);
	rekey(&world, &progress);
	assert_int_equal(mauth_vault_rekey(world.vault, hear, &second, &error), MAUTH_TEMPORARY);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(progress.finished, 1);
	assert_int_equal(second.calls, 0);
	vault_world_end(&world);
}

static void what_was_begun_by_somebody_else_is_brought_to_its_end(void **state)
{
	struct vault_world world;
	struct mauth_keyring *keyring;
	struct mauth_secret *text, *before;

	begin_many(&world);
	/* An admin, or a rekey that a crash has ended, has added a key. */
	before = mauth_secret_new(world.keys, strlen(world.keys));
	assert_int_equal(mauth_keyring_parse("keys", before, &keyring, NULL), MAUTH_OK);
	assert_int_equal(mauth_keyring_add(keyring, NULL), MAUTH_OK);
	text = mauth_keyring_format(keyring);
	free(world.keys);
	world.keys = mauth_strdup(mauth_secret_expose(text));
	vault_world_restart(&world);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(keys_in(world.keys), 1);
	assert_string_equal(mauth_vault_key_id(world.vault), mauth_keyring_id(keyring));
	vault_world_restart(&world);
	expect_all_readable(&world);
	mauth_secret_free(&text);
	mauth_secret_free(&before);
	mauth_keyring_free(&keyring);
	vault_world_end(&world);
}

static void keys_that_only_systemd_can_change_are_left_to_the_admin(void **state)
{
	struct vault_world world;
	struct mauth_keyring *keyring;
	struct mauth_secret *text, *before;

	begin_many(&world);
	before = mauth_secret_new(world.keys, strlen(world.keys));
	assert_int_equal(mauth_keyring_parse("keys", before, &keyring, NULL), MAUTH_OK);
	assert_int_equal(mauth_keyring_add(keyring, NULL), MAUTH_OK);
	text = mauth_keyring_format(keyring);
	free(world.keys);
	world.keys = mauth_strdup(mauth_secret_expose(text));
	world.key_file.fixed = true;
	vault_world_restart(&world);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(keys_in(world.keys), 2);
	assert_non_null(strstr(world.w.sinks.lines, "the older ones can be removed"));
	/* They can: nothing needs them. */
	mauth_keyring_retire(keyring);
	mauth_secret_free(&text);
	text = mauth_keyring_format(keyring);
	free(world.keys);
	world.keys = mauth_strdup(mauth_secret_expose(text));
	vault_world_restart(&world);
	expect_all_readable(&world);
	mauth_secret_free(&text);
	mauth_secret_free(&before);
	mauth_keyring_free(&keyring);
	vault_world_end(&world);
}

static void the_process_may_end_at_any_batch(void **state)
{
	for (unsigned int batches = 0; batches < 5; batches++) {
		struct vault_world world;
		struct progress progress;

		begin_many(&world);
		fake_store_hold(world.store, true);
		rekey(&world, &progress);
		for (unsigned int i = 0; i < batches; i++) {
			world_turn(&world.w);
			fake_store_finish(world.store);
		}
		world_turn(&world.w);
		vault_world_restart(&world);
		expect_all_readable(&world);
		rekey(&world, &progress);
		fake_loop_run(world.w.loop, 1000);
		assert_int_equal(progress.error.status, MAUTH_OK);
		assert_int_equal(keys_in(world.keys), 1);
		vault_world_restart(&world);
		expect_all_readable(&world);
		vault_world_end(&world);
	}
}

static void even_the_first_row_may_be_on_its_way(void **state)
{
	struct vault_world world;
	struct progress progress;

	vault_world_begin(&world);
	world_open(&world.w);
	fake_store_hold(world.store, true);
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	rekey(&world, &progress);
	world_turn(&world.w);
	fake_store_hold(world.store, false);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(progress.finished, 1);
	assert_int_equal(keys_in(world.keys), 1);
	/* The store can be opened with what is left. */
	vault_world_restart(&world);
	vault_world_end(&world);
}

static void a_row_that_cannot_be_unsealed_ends_it_and_nothing_is_lost(void **state)
{
	struct vault_world world;
	struct progress progress;

	begin_many(&world);
	fake_store_put(world.store, MAUTH_REFRESH_TOKEN_KIND, "contoso/erin@contoso.com", "garbage");
	rekey(&world, &progress);
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(progress.finished, 1);
	assert_int_equal(progress.error.status, MAUTH_CONFIG);
	assert_non_null(strstr(progress.error.text, "erin@contoso.com"));
	assert_int_equal(keys_in(world.keys), 2);
	expect_all_readable(&world);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_start_makes_a_key_and_a_row),
		cmocka_unit_test(the_second_start_reads_them),
		cmocka_unit_test(without_its_key_a_store_is_refused_and_nothing_written),
		cmocka_unit_test(a_foreign_key_is_refused_and_the_right_one_named),
		cmocka_unit_test(a_key_file_that_cannot_be_read_is_refused),
		cmocka_unit_test(a_key_that_cannot_be_written_is_no_start),
		cmocka_unit_test(a_damaged_store_is_refused_and_says_which_row),
		cmocka_unit_test(a_first_row_that_could_not_be_written_is_written_later),
		cmocka_unit_test(the_process_may_end_before_its_first_row_is_written),
		cmocka_unit_test(everything_is_sealed_under_the_new_key),
		cmocka_unit_test(what_is_written_meanwhile_is_neither_lost_nor_overwritten),
		cmocka_unit_test(a_store_that_fails_in_the_middle_leaves_everything_readable),
		cmocka_unit_test(it_can_be_repeated_more_often_than_there_is_room_for_keys),
		cmocka_unit_test(a_key_file_that_cannot_be_written_stops_it_before_anything_is_changed),
		cmocka_unit_test(old_keys_that_cannot_be_dropped_stay),
		cmocka_unit_test(two_at_once_are_one_too_many),
		cmocka_unit_test(what_was_begun_by_somebody_else_is_brought_to_its_end),
		cmocka_unit_test(keys_that_only_systemd_can_change_are_left_to_the_admin),
		cmocka_unit_test(the_process_may_end_at_any_batch),
		cmocka_unit_test(even_the_first_row_may_be_on_its_way),
		cmocka_unit_test(a_row_that_cannot_be_unsealed_ends_it_and_nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
