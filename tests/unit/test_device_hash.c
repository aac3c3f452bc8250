/* SPDX-License-Identifier: MIT */
/* Device passwords that people chose: scrypt, computed elsewhere and once. It is slow on purpose, so that these tests
 * count it. */
#include "core/devices-row.h"
#include "devices_world.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RIGHT "Correct Horse-battery staple"
#define OTHER "Tr0ub4dor&3"

/* Of RIGHT and OTHER, computed once for all tests. */
static char *right_hash, *other_hash;

static int compute_hashes(void **state)
{
	struct devices_world world;

	devices_begin(&world);
	right_hash = devices_hash(&world, RIGHT);
	other_hash = devices_hash(&world, OTHER);
	devices_end(&world);
	return 0;
}

static int free_hashes(void **state)
{
	free(right_hash);
	free(other_hash);
	return 0;
}

/* Computes what a check waits for. */
static void compute(struct devices_world *world, const char *user, const char *password)
{
	unsigned int calls = world->calls;

	assert_int_equal(devices_ask(world, CONTOSO, user, password), MAUTH_DEVICE_WAIT);
	assert_non_null(devices_compute(world, user, password));
	assert_int_equal(fake_worker_run(world->worker, 1), 1);
	assert_int_equal(world->calls, calls + 1);
}

static void a_hash_is_a_text_of_its_own_salt(void **state)
{
	unsigned char salt[MAUTH_SALT_SIZE], verifier[MAUTH_VERIFIER_SIZE], again[MAUTH_VERIFIER_SIZE];

	assert_int_equal(strncmp(right_hash, "scrypt-15-8-1:", 14), 0);
	assert_int_equal(strlen(right_hash), 14 + 22 + 1 + 43);
	assert_true(mauth_device_hash_parse(right_hash, salt, verifier));
	assert_int_equal(EVP_PBE_scrypt(RIGHT, strlen(RIGHT), salt, sizeof(salt), 32768, 8, 1, 64u << 20, again,
					sizeof(again)), 1);
	assert_memory_equal(verifier, again, sizeof(verifier));
	assert_string_not_equal(right_hash, other_hash);
	assert_memory_not_equal(right_hash + 14, other_hash + 14, 22);
}

static void what_is_no_hash_of_ours_is_refused(void **state)
{
	static const char *const hashes[] = {
		"", "scrypt", "scrypt-15-8-1:", "scrypt-15-8-1::", "scrypt-15-8-1:MDEyMzQ1Njc4OWFiY2RlZg",
		"scrypt-15-8-1:MDEyMzQ1Njc4OWFiY2RlZg:", "scrypt-15-8-1:MDEyMzQ1Njc4OWFiY2RlZg:AAAA",
		"scrypt-15-8-1:AAAA:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"scrypt-14-8-1:MDEyMzQ1Njc4OWFiY2RlZg:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"scrypt-15-8-1:MDEyMzQ1Njc4OWFiY2RlZg:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"scrypt-15-8-1:MDEyMzQ1Njc4OWFiY2RlZg:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY:",
		"$2y$05$abcdefghijklmnopqrstuv", RIGHT,
	};
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "Phone" };
	struct devices_world world;
	struct mauth_error error;

	devices_begin(&world);
	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
		assert_int_equal(mauth_devices_add_hashed(world.devices, &new, hashes[i], NULL, NULL, &error),
				 MAUTH_CONFIG);
		assert_string_equal(error.text, "this is no hash of a device password");
	}
	assert_int_equal(fake_store_writes(world.store), 0);
	new.name = "";
	assert_int_equal(mauth_devices_add_hashed(world.devices, &new, right_hash, NULL, NULL, &error), MAUTH_CONFIG);
	devices_end(&world);
}

static void a_password_that_cannot_be_one_is_not_hashed(void **state)
{
	static char text[MAUTH_PASSWORD_MAX + 1];
	struct devices_world world;

	devices_begin(&world);
	memset(text, 'p', sizeof(text));
	for (int i = 0; i < 2; i++) {
		struct mauth_secret *password = mauth_secret_new(text, i == 0 ? 0 : sizeof(text));
		struct mauth_error error;

		assert_int_equal(mauth_devices_hash(world.devices, password, NULL, NULL, &error), MAUTH_CONFIG);
		devices_add_hashed(&world, ALICE, i == 0 ? "a" : "b", right_hash);
		/* Nor would it be waited for. */
		assert_int_equal(devices_ask_secret(&world, ALICE, password), MAUTH_DEVICE_NO_MATCH);
		mauth_secret_free(&password);
	}
	assert_int_equal(fake_worker_waiting(world.worker), 0);
	devices_end(&world);
}

static void a_right_password_is_computed_once(void **state)
{
	struct devices_world world;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	assert_int_equal(mauth_devices_of(world.devices, CONTOSO, ALICE)->origin, MAUTH_DEVICE_CHOSEN);
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	assert_string_equal(world.device->name, "Phone");
	/* It is what it is: no case, no hyphen may change. */
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "correct horsebattery staple"), MAUTH_DEVICE_NO_MATCH);
	/* The same text is another user's business. */
	devices_add_hashed(&world, BOB, "Phone", right_hash);
	assert_int_equal(devices_ask(&world, CONTOSO, BOB, RIGHT), MAUTH_DEVICE_WAIT);
	assert_int_equal(devices_ask(&world, CONTOSO, "carol@contoso.com", RIGHT), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(fake_worker_done(world.worker), 1);
	/* Another process has to compute it again, and comes to the same answer. */
	devices_restart(&world);
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	devices_end(&world);
}

static void a_wrong_password_is_computed_once(void **state)
{
	struct devices_world world;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	compute(&world, ALICE, "wrong");
	for (int i = 0; i < 3; i++)
		assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "wrong"), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "wrong too"), MAUTH_DEVICE_WAIT);
	/* Once the right one is known, every other one is known to be wrong. */
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "wrong too"), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "wrong"), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	assert_int_equal(fake_worker_done(world.worker), 2);
	devices_end(&world);
}

static void a_thousand_questions_share_one_computation(void **state)
{
	struct devices_world world;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	for (int i = 0; i < 1000; i++)
		assert_non_null(devices_compute(&world, ALICE, RIGHT));
	assert_int_equal(fake_worker_waiting(world.worker), 1);
	assert_true(fake_worker_work(world.worker));
	/* Worked on, but the loop has not heard of it. */
	assert_non_null(devices_compute(&world, ALICE, RIGHT));
	assert_int_equal(world.calls, 0);
	assert_int_equal(fake_worker_run(world.worker, 10), 1);
	assert_int_equal(world.calls, 1001);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	devices_end(&world);
}

static void several_devices_are_computed_in_one_job(void **state)
{
	struct devices_world world;
	char *generated;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	devices_add_hashed(&world, ALICE, "Tablet", other_hash);
	generated = devices_add(&world, CONTOSO, ALICE, "Printer");
	/* A generated one needs no scrypt, whatever else there is. */
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, generated), MAUTH_DEVICE_MATCH);
	compute(&world, ALICE, OTHER);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, OTHER), MAUTH_DEVICE_MATCH);
	assert_string_equal(world.device->name, "Tablet");
	/* The one that is known is not computed for the other's password. */
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	assert_string_equal(world.device->name, "Phone");
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "wrong"), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(fake_worker_done(world.worker), 2);
	free(generated);
	devices_end(&world);
}

static void a_match_comes_before_a_refusal(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "Visit", .expires_at = NOW + 10 };
	struct devices_world world;

	devices_begin(&world);
	assert_int_equal(mauth_devices_add_hashed(world.devices, &new, right_hash, NULL, NULL, NULL), MAUTH_OK);
	devices_sleep(&world, 10);
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_REFUSED);
	assert_int_equal(world.refusal.status, MAUTH_EXPIRED);
	/* The same password chosen again, without an end. */
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	assert_string_equal(world.device->name, "Phone");
	devices_end(&world);
}

/* Waiters that must be cancelled in the end. */
struct waiting {
	struct mauth_device_waiter *list[80];
	size_t count;
};

/* Is it admitted? */
static bool admitted(struct devices_world *world, struct waiting *waiting, const char *user, const char *password)
{
	waiting->list[waiting->count] = devices_compute(world, user, password);
	return waiting->list[waiting->count] != NULL && ++waiting->count > 0;
}

static void cancel_from(struct waiting *waiting, size_t begin)
{
	for (size_t i = begin; i < waiting->count; i++)
		mauth_device_cancel(&waiting->list[i]);
}

static void a_flood_is_bounded(void **state)
{
	struct mauth_secret *password = mauth_secret_new(RIGHT, strlen(RIGHT));
	struct waiting waiting = { .count = 0 };
	struct devices_world world;
	char name[32], text[32];

	devices_begin(&world);
	for (unsigned int i = 0; i < 100; i++) {
		bool room = i < 80 && i % 20 < 16;

		snprintf(name, sizeof(name), "u%u@contoso.com", i / 20);
		if (i % 20 == 0)
			devices_add_hashed(&world, name, "Phone", right_hash);
		snprintf(text, sizeof(text), "guess %u", i % 20);
		assert_int_equal(admitted(&world, &waiting, name, text), room);
		assert_int_equal(world.error.status, room ? MAUTH_OK : MAUTH_TEMPORARY);
	}
	assert_int_equal(fake_worker_waiting(world.worker), 64);
	assert_string_equal(world.error.text, "too many passwords are being checked at once");
	/* Who asks what is being computed already may wait for it. */
	assert_true(admitted(&world, &waiting, "u0@contoso.com", "guess 3"));
	assert_false(admitted(&world, &waiting, "u0@contoso.com", "guess 17"));
	assert_string_equal(world.error.text, "too many passwords of this user are being checked at once");
	assert_int_equal(mauth_devices_hash(world.devices, password, NULL, NULL, &world.error), MAUTH_TEMPORARY);
	/* What has been computed leaves room. */
	assert_int_equal(fake_worker_run(world.worker, 1), 1);
	assert_true(admitted(&world, &waiting, "u4@contoso.com", "guess 1"));
	assert_false(admitted(&world, &waiting, "u4@contoso.com", "guess 2"));
	cancel_from(&waiting, 1);
	mauth_secret_free(&password);
	devices_end(&world);
}

static void many_devices_are_as_many_computations(void **state)
{
	struct waiting waiting = { .count = 0 };
	struct devices_world world;
	char name[16];

	devices_begin(&world);
	for (unsigned int i = 0; i < MAUTH_DEVICES_PER_USER_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		devices_add_hashed(&world, ALICE, name, right_hash);
	}
	devices_add_hashed(&world, BOB, "Phone", right_hash);
	assert_true(admitted(&world, &waiting, ALICE, "guess"));
	assert_false(admitted(&world, &waiting, ALICE, "another guess"));
	for (unsigned int i = 0; i < 14; i++) {
		snprintf(name, sizeof(name), "guess %u", i);
		assert_true(admitted(&world, &waiting, BOB, name));
	}
	assert_false(admitted(&world, &waiting, BOB, "guess 14"));
	cancel_from(&waiting, 0);
	devices_end(&world);
}

static void who_has_cancelled_is_not_called(void **state)
{
	struct mauth_device_waiter *waiters[4];
	struct devices_world world;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	for (int i = 0; i < 4; i++)
		waiters[i] = devices_compute(&world, ALICE, RIGHT);
	mauth_device_cancel(&waiters[0]);
	mauth_device_cancel(&waiters[2]);
	assert_null(waiters[0]);
	mauth_device_cancel(&waiters[0]);
	assert_int_equal(fake_worker_run(world.worker, 1), 1);
	assert_int_equal(world.calls, 2);
	/* If nobody is left it is computed all the same, and known to the next one. */
	waiters[0] = devices_compute(&world, ALICE, "wrong");
	mauth_device_cancel(&waiters[0]);
	fake_worker_run(world.worker, 1);
	assert_int_equal(world.calls, 2);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "wrong"), MAUTH_DEVICE_NO_MATCH);
	devices_end(&world);
}

static void a_device_may_go_or_come_while_it_is_computed(void **state)
{
	struct devices_world world;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	assert_non_null(devices_compute(&world, ALICE, OTHER));
	devices_add_hashed(&world, ALICE, "Tablet", other_hash);
	fake_worker_run(world.worker, 1);
	/* The new one has not been looked at. */
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, OTHER), MAUTH_DEVICE_WAIT);
	assert_non_null(devices_compute(&world, ALICE, OTHER));
	devices_remove(&world, ALICE, "Tablet");
	fake_worker_run(world.worker, 1);
	assert_int_equal(world.calls, 2);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, OTHER), MAUTH_DEVICE_NO_MATCH);
	assert_non_null(devices_compute(&world, ALICE, RIGHT));
	devices_remove(&world, ALICE, "Phone");
	fake_worker_run(world.worker, 1);
	assert_int_equal(world.calls, 3);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_NO_MATCH);
	assert_null(devices_compute(&world, ALICE, RIGHT));
	assert_int_equal(world.error.status, MAUTH_TEMPORARY);
	devices_end(&world);
}

static void a_machine_without_scrypt_says_so(void **state)
{
	struct devices_world world;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	assert_non_null(devices_compute(&world, ALICE, RIGHT));
	/* No implementation has this property. */
	assert_int_equal(EVP_set_default_properties(NULL, "provider=nobody"), 1);
	assert_true(fake_worker_work(world.worker));
	assert_int_equal(EVP_set_default_properties(NULL, ""), 1);
	fake_worker_run(world.worker, 1);
	assert_int_equal(world.calls, 1);
	assert_non_null(strstr(world.sinks.lines, "error scrypt cannot be computed"));
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_WAIT);
	/* Not again at once: waiting and asking would go round and round. */
	assert_null(devices_compute(&world, ALICE, RIGHT));
	assert_string_equal(world.error.text, "scrypt cannot be computed on this machine");
	devices_sleep(&world, 1);
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	devices_end(&world);
}

/* A waiter that ends everything. */
static void free_all(void *context)
{
	struct devices_world *world = context;

	mauth_devices_free(&world->devices);
}

static void computations_end_quietly_after_the_end(void **state)
{
	struct mauth_secret *password = mauth_secret_new(RIGHT, strlen(RIGHT));
	struct mauth_device_question question = { CONTOSO, ALICE, password, MAUTH_SERVICE_IMAP, NULL };
	struct mauth_device_waiter *waiter;
	struct devices_world world;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	waiter = devices_compute(&world, ALICE, "wrong");
	fake_worker_work(world.worker);
	mauth_device_cancel(&waiter);
	waiter = devices_compute(&world, ALICE, "wrong too");
	mauth_device_cancel(&waiter);
	/* done would crash */
	assert_int_equal(mauth_devices_hash(world.devices, password, NULL, NULL, NULL), MAUTH_OK);
	devices_restart(&world);
	assert_int_equal(fake_worker_done(world.worker), 3);
	assert_non_null(mauth_devices_compute(world.devices, &question, free_all, &world, NULL));
	fake_worker_run(world.worker, 1);
	assert_null(world.devices);
	mauth_secret_free(&password);
	devices_end(&world);
}

static void no_chosen_password_is_in_any_text_or_row(void **state)
{
	static const char *const secrets[] = { RIGHT, "wrong password" };
	struct devices_world world;
	char *list;

	devices_begin(&world);
	devices_add_hashed(&world, ALICE, "Phone", right_hash);
	compute(&world, ALICE, "wrong password");
	compute(&world, ALICE, RIGHT);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, RIGHT), MAUTH_DEVICE_MATCH);
	devices_use(&world, ALICE, world.device->id, "192.0.2.7");
	devices_sleep(&world, 60);
	list = fake_store_list(world.store);
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		assert_null(strstr(list, secrets[i]));
		assert_null(strstr(fake_store_history(world.store), secrets[i]));
		assert_null(strstr(world.sinks.lines, secrets[i]));
		assert_null(strstr(right_hash, secrets[i]));
	}
	free(list);
	devices_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hash_is_a_text_of_its_own_salt),
		cmocka_unit_test(what_is_no_hash_of_ours_is_refused),
		cmocka_unit_test(a_password_that_cannot_be_one_is_not_hashed),
		cmocka_unit_test(a_right_password_is_computed_once),
		cmocka_unit_test(a_wrong_password_is_computed_once),
		cmocka_unit_test(a_thousand_questions_share_one_computation),
		cmocka_unit_test(several_devices_are_computed_in_one_job),
		cmocka_unit_test(a_match_comes_before_a_refusal),
		cmocka_unit_test(a_flood_is_bounded),
		cmocka_unit_test(many_devices_are_as_many_computations),
		cmocka_unit_test(who_has_cancelled_is_not_called),
		cmocka_unit_test(a_device_may_go_or_come_while_it_is_computed),
		cmocka_unit_test(a_machine_without_scrypt_says_so),
		cmocka_unit_test(computations_end_quietly_after_the_end),
		cmocka_unit_test(no_chosen_password_is_in_any_text_or_row),
	};

	return cmocka_run_group_tests(tests, compute_hashes, free_hashes);
}
