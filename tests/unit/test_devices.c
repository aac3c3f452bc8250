/* SPDX-License-Identifier: MIT */
/* Device passwords: who matches, what changes, what is written. Rows are in test_device_rows.c, scrypt in
 * test_device_hash.c. */
#include "devices_world.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static unsigned int devices_of(const struct devices_world *world, const char *user)
{
	unsigned int count = 0;

	for (const struct mauth_device *d = mauth_devices_of(world->devices, CONTOSO, user); d != NULL; d = d->next)
		count++;
	assert_int_equal(mauth_devices_has(world->devices, CONTOSO, user), count > 0);
	return count;
}

static const char *row_of(const struct devices_world *world, const char *user, const char *id)
{
	char name[MAUTH_STORE_NAME_MAX + 1];

	snprintf(name, sizeof(name), "%s/%s/%s", CONTOSO, user, id);
	return fake_store_value(world->store, MAUTH_DEVICE_KIND, name);
}

/* -- who matches -- */

static void a_password_is_good_for_its_user_in_its_tenant_only(void **state)
{
	struct devices_world world;
	char *alice, *bob, *other;

	devices_begin(&world);
	alice = devices_add(&world, CONTOSO, ALICE, "Printer");
	bob = devices_add(&world, CONTOSO, BOB, "Printer");
	other = devices_add(&world, "fabrikam", ALICE, "Printer");
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, alice), MAUTH_DEVICE_MATCH);
	assert_string_equal(world.device->name, "Printer");
	assert_int_equal(devices_ask(&world, CONTOSO, BOB, bob), MAUTH_DEVICE_MATCH);
	assert_int_equal(devices_ask(&world, "fabrikam", ALICE, other), MAUTH_DEVICE_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, BOB, alice), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, "fabrikam", ALICE, alice), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, "carol@contoso.com", alice), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, "K7QM-3XPD-9RTA-VW2HE"), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, ""), MAUTH_DEVICE_NO_MATCH);
	alice[0] = alice[0] == 'A' ? 'B' : 'A';
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, alice), MAUTH_DEVICE_NO_MATCH);
	free(alice);
	free(bob);
	free(other);
	devices_end(&world);
}

static void generated_passwords_can_be_typed_on_a_panel(void **state)
{
	static const char alphabet[] = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";
	unsigned int seen[128] = { 0 };
	char last[32] = "";

	for (int round = 0; round < 2000; round++) {
		struct mauth_secret *secret = mauth_device_generate();
		const char *text = mauth_secret_expose(secret);

		assert_int_equal(mauth_secret_size(secret), 20);
		for (unsigned int i = 0; i < 20; i++) {
			if (i == 4 || i == 9 || i == 14)
				assert_int_equal(text[i], '-');
			else
				seen[(unsigned char)text[i]]++;
		}
		assert_string_not_equal(text, last);
		snprintf(last, sizeof(last), "%s", text);
		mauth_secret_free(&secret);
	}
	for (const char *c = alphabet; *c != '\0'; c++) {
		/* 34,000 characters, 1,097 of each: ten standard deviations. */
		assert_in_range(seen[(unsigned char)*c], 767, 1427);
		seen[(unsigned char)*c] = 0;
	}
	for (size_t i = 0; i < COUNT(seen); i++)
		assert_int_equal(seen[i], 0);
}

static void case_hyphens_and_blanks_do_not_matter(void **state)
{
	struct devices_world world;
	char *password, typed[64] = " ", *end = typed + 1;

	devices_begin(&world);
	password = devices_add(&world, CONTOSO, ALICE, "Printer");
	for (const char *c = password; *c != '\0'; c++) {
		if (*c != '-')
			*end++ = (char)tolower((unsigned char)*c);
		if (c - password == 6)
			*end++ = '\t';
	}
	*end++ = ' ';
	*end++ = '-';
	*end = '\0';
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, typed), MAUTH_DEVICE_MATCH);
	/* but every character does */
	end[-3] = '\0';
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, typed), MAUTH_DEVICE_NO_MATCH);
	free(password);
	devices_end(&world);
}

static void a_password_of_absurd_size_is_wrong(void **state)
{
	struct devices_world world;
	char text[MAUTH_PASSWORD_MAX + 2], *password;

	devices_begin(&world);
	password = devices_add(&world, CONTOSO, ALICE, "Printer");
	memset(text, '-', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, password, strlen(password));
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, text), MAUTH_DEVICE_NO_MATCH);
	text[MAUTH_PASSWORD_MAX] = '\0';
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, text), MAUTH_DEVICE_MATCH);
	free(password);
	devices_end(&world);
}

static void a_right_password_is_refused_where_it_must_not_be_used(void **state)
{
	static const struct {
		const char *name, *network;
		unsigned int services;
		enum mauth_service service;
		const char *client_ip, *refusal; /* NULL: it matches */
	} rows[] = {
		{ "any", NULL, 0, MAUTH_SERVICE_POP3, NULL, NULL },
		{ "here", "192.0.2.0/24", 0, MAUTH_SERVICE_IMAP, "192.0.2.7", NULL },
		{ "mapped", "192.0.2.0/24", 0, MAUTH_SERVICE_IMAP, "::ffff:192.0.2.7", NULL },
		{ "away", "192.0.2.0/24", 0, MAUTH_SERVICE_IMAP, "198.51.100.7",
		  "the device password \"away\" is not for clients at 198.51.100.7" },
		{ "nowhere", "192.0.2.0/24", 0, MAUTH_SERVICE_IMAP, NULL,
		  "the device password \"nowhere\" is not for clients at an unknown address" },
		{ "sends", NULL, 1u << MAUTH_SERVICE_SUBMISSION, MAUTH_SERVICE_SUBMISSION, "192.0.2.7", NULL },
		{ "reads", NULL, 1u << MAUTH_SERVICE_SUBMISSION, MAUTH_SERVICE_IMAP, "192.0.2.7",
		  "the device password \"reads\" is not for imap" },
		{ "both", "192.0.2.0/24", 1u << MAUTH_SERVICE_IMAP, MAUTH_SERVICE_POP3, "198.51.100.7",
		  "the device password \"both\" is not for pop3" },
	};
	struct devices_world world;

	devices_begin(&world);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct mauth_network network;
		struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = rows[i].name,
						.services = rows[i].services, .networks = &network };
		enum mauth_device_answer answer;
		char *password;

		if (rows[i].network != NULL)
			new.networks_count = mauth_network_parse(rows[i].network, &network, NULL);
		password = devices_add_new(&world, &new);
		answer = devices_ask_from(&world, ALICE, password, rows[i].service, rows[i].client_ip);
		assert_int_equal(answer, rows[i].refusal == NULL ? MAUTH_DEVICE_MATCH : MAUTH_DEVICE_REFUSED);
		assert_string_equal(world.device->name, rows[i].name);
		assert_string_equal(world.refusal.text, rows[i].refusal == NULL ? "" : rows[i].refusal);
		assert_int_equal(world.refusal.status, rows[i].refusal == NULL ? MAUTH_OK : MAUTH_POLICY);
		/* A wrong one learns nothing. */
		password[0]++;
		answer = devices_ask_from(&world, ALICE, password, rows[i].service, rows[i].client_ip);
		assert_int_equal(answer, MAUTH_DEVICE_NO_MATCH);
		free(password);
	}
	devices_end(&world);
}

static void a_device_ends_with_the_first_second_after(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "Visitor", .expires_at = NOW + 3600 };
	struct devices_world world;
	char *password;

	devices_begin(&world);
	password = devices_add_new(&world, &new);
	devices_sleep(&world, 3599);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), MAUTH_DEVICE_MATCH);
	devices_sleep(&world, 1);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), MAUTH_DEVICE_REFUSED);
	assert_int_equal(world.refusal.status, MAUTH_EXPIRED);
	assert_string_equal(world.refusal.text, "the device password \"Visitor\" has expired");
	free(password);
	devices_end(&world);
}

/* -- changes -- */

static void a_new_one_works_once_it_is_in_the_store(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "Printer" };
	struct mauth_secret *password = NULL;
	struct devices_world world;

	devices_begin(&world);
	fake_store_hold(world.store, true);
	assert_int_equal(mauth_devices_add(world.devices, &new, &password, devices_changed, &world, NULL), MAUTH_OK);
	devices_sleep(&world, 5);
	assert_int_equal(devices_ask_secret(&world, ALICE, password), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_of(&world, ALICE), 0);
	assert_int_equal(world.changes, 0);
	assert_int_equal(fake_store_finish(world.store), 1);
	assert_int_equal(world.changes, 1);
	assert_int_equal(world.error.status, MAUTH_OK);
	assert_int_equal(strlen(world.id), ID_SIZE - 1);
	assert_int_equal(devices_ask_secret(&world, ALICE, password), MAUTH_DEVICE_MATCH);
	assert_string_equal(world.device->id, world.id);
	assert_int_equal(world.device->created_at, NOW);
	assert_non_null(row_of(&world, ALICE, world.id));
	mauth_secret_free(&password);
	devices_end(&world);
}

static void a_name_can_be_taken_only_once(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "printer" };
	struct mauth_secret *password = NULL;
	struct mauth_error error;
	struct devices_world world;

	devices_begin(&world);
	fake_store_hold(world.store, true);
	assert_int_equal(mauth_devices_add(world.devices, &new, &password, devices_changed, &world, NULL), MAUTH_OK);
	mauth_secret_free(&password);
	new.name = "Printer";
	/* as soon as it is being added, and when it is */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mauth_devices_add(world.devices, &new, &password, NULL, NULL, &error), MAUTH_CONFIG);
		assert_string_equal(error.text, "there is a device password \"Printer\" already");
		assert_null(password);
		fake_store_finish(world.store);
	}
	fake_store_hold(world.store, false);
	free(devices_add(&world, CONTOSO, BOB, "printer"));
	/* A removed one's name is free. */
	devices_remove(&world, ALICE, "PRINTER");
	devices_sleep(&world, 0);
	free(devices_add(&world, CONTOSO, ALICE, "Printer"));
	devices_end(&world);
}

static void the_fifty_first_device_is_one_too_many(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "n" };
	struct mauth_secret *password = NULL;
	struct devices_world world;
	struct mauth_error error;
	char name[16];

	devices_begin(&world);
	for (unsigned int i = 0; i < MAUTH_DEVICES_PER_USER_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		if (i == 25)
			fake_store_hold(world.store, true);
		new.name = name;
		assert_int_equal(mauth_devices_add(world.devices, &new, &password, NULL, NULL, &error), MAUTH_OK);
		mauth_secret_free(&password);
	}
	new.name = "one more";
	assert_int_equal(mauth_devices_add(world.devices, &new, &password, NULL, NULL, &error), MAUTH_CONFIG);
	assert_string_equal(error.text, "a user has at most 50 device passwords");
	fake_store_hold(world.store, false);
	devices_sleep(&world, 0);
	assert_int_equal(devices_of(&world, ALICE), 50);
	assert_int_equal(mauth_devices_add(world.devices, &new, &password, NULL, NULL, &error), MAUTH_CONFIG);
	devices_remove(&world, ALICE, "n7");
	assert_int_equal(mauth_devices_add(world.devices, &new, &password, NULL, NULL, &error), MAUTH_OK);
	mauth_secret_free(&password);
	devices_end(&world);
}

static void what_cannot_be_kept_is_refused_at_once(void **state)
{
	static const char long_name[] = "12345678901234567890123456789012345678901234567890123456789012345";
	static const struct mauth_network networks[MAUTH_DEVICE_NETWORKS_MAX + 1];
	char tenant[200], user[MAUTH_USER_MAX + 2];
	const struct mauth_device_new rows[] = {
		{ .tenant = CONTOSO, .user = ALICE, .name = NULL },
		{ .tenant = CONTOSO, .user = ALICE, .name = "" },
		{ .tenant = CONTOSO, .user = ALICE, .name = "two\nlines" },
		{ .tenant = CONTOSO, .user = ALICE, .name = "\xff" },
		{ .tenant = CONTOSO, .user = ALICE, .name = long_name },
		{ .tenant = CONTOSO, .user = ALICE, .name = "a", .networks = networks,
		  .networks_count = COUNT(networks) },
		{ .tenant = CONTOSO, .user = ALICE, .name = "a", .services = 1u << MAUTH_SERVICE_COUNT },
		{ .tenant = CONTOSO, .user = ALICE, .name = "a", .expires_at = NOW },
		{ .tenant = CONTOSO, .user = ALICE, .name = "a", .expires_at = -1 },
		{ .tenant = "", .user = ALICE, .name = "a" },
		{ .tenant = "con/toso", .user = ALICE, .name = "a" },
		{ .tenant = CONTOSO, .user = "", .name = "a" },
		{ .tenant = CONTOSO, .user = user, .name = "a" },
		{ .tenant = tenant, .user = user + 1, .name = "a" },
	};
	struct mauth_secret *password = NULL;
	struct devices_world world;

	devices_begin(&world);
	memset(user, 'u', sizeof(user) - 1);
	user[sizeof(user) - 1] = '\0';
	memset(tenant, 't', sizeof(tenant) - 1);
	tenant[sizeof(tenant) - 1] = '\0';
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct mauth_error error = { .status = MAUTH_OK };

		if (mauth_devices_add(world.devices, &rows[i], &password, NULL, NULL, &error) != MAUTH_CONFIG)
			fail_msg("row %zu", i);
		assert_int_equal(error.status, MAUTH_CONFIG);
		assert_true(error.text[0] != '\0');
		assert_null(password);
	}
	assert_int_equal(fake_store_writes(world.store), 0);
	devices_end(&world);
}

static void a_removed_one_is_refused_at_once(void **state)
{
	struct devices_world world;
	struct mauth_error error;
	char *password, id[ID_SIZE];

	devices_begin(&world);
	free(devices_add(&world, CONTOSO, ALICE, "first"));
	password = devices_add(&world, CONTOSO, ALICE, "second");
	memcpy(id, world.id, sizeof(id));
	free(devices_add(&world, CONTOSO, ALICE, "third"));
	fake_store_hold(world.store, true);
	devices_remove(&world, ALICE, id);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_of(&world, ALICE), 2);
	assert_int_equal(world.changes, 3);
	assert_non_null(row_of(&world, ALICE, id));
	fake_store_finish(world.store);
	assert_int_equal(world.changes, 4);
	assert_string_equal(world.id, id);
	assert_int_equal(world.error.status, MAUTH_OK);
	assert_null(row_of(&world, ALICE, id));
	assert_int_equal(mauth_devices_remove(world.devices, CONTOSO, ALICE, id, NULL, NULL, &error),
			 MAUTH_USER_UNKNOWN);
	assert_int_equal(mauth_devices_remove(world.devices, CONTOSO, BOB, id, NULL, NULL, &error), MAUTH_USER_UNKNOWN);
	assert_int_equal(mauth_devices_expire(world.devices, CONTOSO, ALICE, "no", 0, NULL, NULL, &error),
			 MAUTH_USER_UNKNOWN);
	assert_string_equal(error.text, "alice@contoso.com has no device password \"no\"");
	devices_remove(&world, ALICE, "FIRST");
	devices_remove(&world, ALICE, "third");
	assert_int_equal(devices_of(&world, ALICE), 0);
	assert_int_equal(mauth_devices_count(world.devices), 0);
	free(password);
	devices_end(&world);
}

static void an_end_can_be_set_and_lifted_at_once(void **state)
{
	static const struct {
		int64_t end, kept;
		enum mauth_device_answer answer;
	} rows[] = {
		{ NOW, NOW, MAUTH_DEVICE_REFUSED }, { NOW + 1, NOW + 1, MAUTH_DEVICE_MATCH },
		{ 1, 1, MAUTH_DEVICE_REFUSED }, { 0, 0, MAUTH_DEVICE_MATCH }, { -1, 1, MAUTH_DEVICE_REFUSED },
		{ INT64_MIN, 1, MAUTH_DEVICE_REFUSED }, { INT64_MAX, 253402300799, MAUTH_DEVICE_MATCH },
	};
	struct devices_world world;
	char *password;

	devices_begin(&world);
	password = devices_add(&world, CONTOSO, ALICE, "Printer");
	for (size_t i = 0; i < COUNT(rows); i++) {
		const unsigned int changes = world.changes;

		assert_int_equal(mauth_devices_expire(world.devices, CONTOSO, ALICE, "printer", rows[i].end,
						      devices_changed, &world, NULL),
				 MAUTH_OK);
		assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), rows[i].answer);
		assert_int_equal(world.device->expires_at, rows[i].kept);
		assert_int_equal(world.changes, changes);
		devices_sleep(&world, 0);
		assert_int_equal(world.changes, changes + 1);
	}
	devices_restart(&world);
	assert_int_equal(mauth_devices_of(world.devices, CONTOSO, ALICE)->expires_at, 253402300799);
	free(password);
	devices_end(&world);
}

/* -- a store that fails -- */

static void a_new_one_that_cannot_be_written_does_not_work(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "Printer" };
	struct mauth_secret *password = NULL;
	struct devices_world world;

	devices_begin(&world);
	fake_store_fail(world.store, "disk full");
	assert_int_equal(mauth_devices_add(world.devices, &new, &password, devices_changed, &world, NULL), MAUTH_OK);
	devices_sleep(&world, 0);
	assert_int_equal(world.changes, 1);
	assert_int_equal(world.error.status, MAUTH_TEMPORARY);
	assert_string_equal(world.error.text, "the device password has not been added: disk full");
	assert_int_equal(devices_ask_secret(&world, ALICE, password), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_of(&world, ALICE), 0);
	mauth_secret_free(&password);
	/* Nothing is left of it: not even its name. */
	fake_store_fail(world.store, NULL);
	devices_sleep(&world, 120);
	assert_int_equal(fake_store_count(world.store, NULL), 0);
	free(devices_add(&world, CONTOSO, ALICE, "Printer"));
	devices_end(&world);
}

static void a_removal_stays_in_effect_and_is_written_when_the_store_is_back(void **state)
{
	struct devices_world world;
	char *password, id[ID_SIZE];

	devices_begin(&world);
	password = devices_add(&world, CONTOSO, ALICE, "Printer");
	memcpy(id, world.id, sizeof(id));
	fake_store_fail(world.store, "disk full");
	devices_remove(&world, ALICE, "Printer");
	devices_sleep(&world, 0);
	assert_int_equal(world.error.status, MAUTH_TEMPORARY);
	assert_string_equal(world.error.text, "the device password is removed and does not work any more, but would "
			    "be back after a restart: the store is tried again every minute: disk full");
	assert_non_null(strstr(world.sinks.lines, "error device password contoso/alice@contoso.com/"));
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), MAUTH_DEVICE_NO_MATCH);
	devices_sleep(&world, 180);
	assert_int_equal(fake_store_writes(world.store), 5);
	assert_non_null(row_of(&world, ALICE, id));
	fake_store_fail(world.store, NULL);
	devices_sleep(&world, 60);
	assert_null(row_of(&world, ALICE, id));
	devices_sleep(&world, 600);
	assert_int_equal(fake_store_writes(world.store), 6);
	free(password);
	devices_end(&world);
}

static void an_end_that_cannot_be_written_is_in_effect_and_written_later(void **state)
{
	struct devices_world world;
	char *password;

	devices_begin(&world);
	password = devices_add(&world, CONTOSO, ALICE, "Printer");
	fake_store_fail(world.store, "disk full");
	mauth_devices_expire(world.devices, CONTOSO, ALICE, "Printer", 1, devices_changed, &world, NULL);
	devices_sleep(&world, 0);
	assert_string_equal(world.error.text, "the end of the device password is in effect, but would be forgotten by "
			    "a restart: the store is tried again every minute: disk full");
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), MAUTH_DEVICE_REFUSED);
	devices_sleep(&world, 60);
	fake_store_fail(world.store, NULL);
	devices_sleep(&world, 60);
	devices_restart(&world);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), MAUTH_DEVICE_REFUSED);
	free(password);
	devices_end(&world);
}

/* -- last uses -- */

static void uses_go_to_the_store_together_once_a_minute(void **state)
{
	struct devices_world world;
	char alice[ID_SIZE], bob[ID_SIZE];

	devices_begin(&world);
	free(devices_add(&world, CONTOSO, ALICE, "a"));
	memcpy(alice, world.id, sizeof(alice));
	free(devices_add(&world, CONTOSO, BOB, "b"));
	memcpy(bob, world.id, sizeof(bob));
	for (int second = 0; second < 59; second++) {
		devices_use(&world, ALICE, alice, "192.0.2.7");
		devices_use(&world, BOB, bob, NULL);
		devices_use(&world, BOB, alice, NULL);        /* not his */
		devices_use(&world, "carol@contoso.com", alice, NULL);
		devices_sleep(&world, 1);
	}
	assert_int_equal(fake_store_writes(world.store), 2);
	assert_int_equal(mauth_devices_of(world.devices, CONTOSO, ALICE)->last_used_at, NOW + 58);
	devices_sleep(&world, 1);
	assert_int_equal(fake_store_writes(world.store), 3);
	assert_non_null(strstr(row_of(&world, ALICE, alice), "\"last_used_at\":1700000058,\"last_ip\":\"192.0.2.7\","
			       "\"last_service\":\"pop3\""));
	assert_non_null(strstr(row_of(&world, BOB, bob), "\"last_used_at\":1700000058,\"last_ip\":\"\""));
	devices_sleep(&world, 600);
	assert_int_equal(fake_store_writes(world.store), 3);
	for (int second = 0; second < 300; second++) {
		devices_use(&world, ALICE, alice, "192.0.2.7");
		devices_sleep(&world, 1);
	}
	assert_int_equal(fake_store_writes(world.store), 8);
	devices_end(&world);
}

static void a_use_never_brings_a_removed_one_back(void **state)
{
	struct devices_world world;
	char id[ID_SIZE];

	devices_begin(&world);
	for (int when = 0; when < 3; when++) {
		free(devices_add(&world, CONTOSO, ALICE, "Printer"));
		memcpy(id, world.id, sizeof(id));
		devices_use(&world, ALICE, id, "192.0.2.7");
		fake_store_hold(world.store, when == 1);
		if (when > 0)
			devices_sleep(&world, 60);            /* the use is being written, or has failed to be */
		if (when == 2)
			fake_store_fail(world.store, "disk full");
		devices_remove(&world, ALICE, id);
		devices_use(&world, ALICE, id, "192.0.2.7");
		devices_sleep(&world, 61);
		fake_store_fail(world.store, NULL);
		fake_store_hold(world.store, false);
		devices_sleep(&world, 240);
		assert_int_equal(fake_store_count(world.store, NULL), 0);
		devices_restart(&world);
		assert_int_equal(mauth_devices_count(world.devices), 0);
	}
	devices_end(&world);
}

static void uses_that_could_not_be_written_are_written_later(void **state)
{
	struct devices_world world;
	char id[ID_SIZE], gone[ID_SIZE];

	devices_begin(&world);
	free(devices_add(&world, CONTOSO, ALICE, "stays"));
	memcpy(id, world.id, sizeof(id));
	free(devices_add(&world, CONTOSO, ALICE, "goes"));
	memcpy(gone, world.id, sizeof(gone));
	devices_use(&world, ALICE, id, "192.0.2.7");
	devices_use(&world, ALICE, gone, "192.0.2.7");
	fake_store_hold(world.store, true);
	devices_sleep(&world, 60);
	devices_remove(&world, ALICE, gone);
	fake_store_fail(world.store, "disk full");
	fake_store_finish(world.store);
	assert_non_null(strstr(world.sinks.lines, "warning device passwords: 2 rows could not be written, they are "
			       "tried again in a minute: disk full"));
	fake_store_fail(world.store, NULL);
	fake_store_hold(world.store, false);
	devices_sleep(&world, 61);
	assert_non_null(strstr(row_of(&world, ALICE, id), "192.0.2.7"));
	assert_null(row_of(&world, ALICE, gone));
	devices_end(&world);
}

static void many_uses_are_written_in_several_goes(void **state)
{
	struct devices_world world;
	unsigned int before;

	devices_begin(&world);
	for (unsigned int i = 0; i < 2500; i++) {
		char user[32];

		snprintf(user, sizeof(user), "u%u@contoso.com", i);
		free(devices_add(&world, CONTOSO, user, "a"));
		devices_use(&world, user, world.id, "192.0.2.7");
		/* the first of them become due meanwhile */
	}
	before = fake_store_writes(world.store);
	fake_store_hold(world.store, true);
	devices_sleep(&world, 60);
	assert_int_equal(fake_store_writes(world.store), before + 1);
	fake_store_finish(world.store);
	assert_int_equal(fake_store_writes(world.store), before + 2);
	fake_store_hold(world.store, false);
	devices_sleep(&world, 0);
	assert_int_equal(fake_store_writes(world.store), before + 3);
	devices_sleep(&world, 600);
	assert_int_equal(fake_store_writes(world.store), before + 3);
	devices_end(&world);
}

/* -- secrets, and the end -- */

static void no_password_is_in_any_text_or_row(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "Printer", .expires_at = NOW + 100 };
	struct devices_world world;
	char *password, bare[32], *end = bare, *list;

	devices_begin(&world);
	password = devices_add_new(&world, &new);
	for (const char *c = password; *c != '\0'; c++) {
		if (*c != '-')
			*end++ = *c;
	}
	*end = '\0';
	devices_use(&world, ALICE, world.id, password);
	devices_sleep(&world, 10);
	devices_use(&world, ALICE, world.id, "192.0.2.7");
	devices_sleep(&world, 100);
	devices_ask(&world, CONTOSO, ALICE, password);
	fake_store_fail(world.store, "disk full");
	devices_remove(&world, ALICE, "Printer");
	devices_sleep(&world, 100);
	list = fake_store_list(world.store);
	for (int i = 0; i < 2; i++) {
		const char *secret = i == 0 ? password : bare;

		assert_null(strstr(list, secret));
		assert_null(strstr(fake_store_history(world.store), secret));
		assert_null(strstr(world.sinks.lines, secret));
		assert_null(strstr(world.sinks.events, secret));
		assert_null(strstr(world.error.text, secret));
		assert_null(strstr(world.refusal.text, secret));
	}
	free(list);
	free(password);
	devices_end(&world);
}

static void what_is_under_way_ends_after_the_end(void **state)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = ALICE, .name = "new" };
	struct mauth_secret *password = NULL;
	struct devices_world world;
	unsigned int changes;

	devices_begin(&world);
	for (int fails = 0; fails < 2; fails++) {
		fake_store_hold(world.store, false);
		free(devices_add(&world, CONTOSO, BOB, "used before"));
		devices_use(&world, BOB, world.id, "192.0.2.7");
		free(devices_add(&world, CONTOSO, BOB, "removed"));
		fake_store_hold(world.store, true);
		devices_sleep(&world, 60);                    /* the use is being written */
		devices_use(&world, BOB, world.id, "192.0.2.8");
		mauth_devices_expire(world.devices, CONTOSO, BOB, "used before", NOW + 5, devices_changed, &world,
				     NULL);
		devices_remove(&world, BOB, "removed");
		assert_int_equal(mauth_devices_add(world.devices, &new, &password, devices_changed, &world, NULL),
				 MAUTH_OK);
		mauth_secret_free(&password);
		assert_int_equal(fake_store_waiting(world.store), 4);
		changes = world.changes;
		fake_store_fail(world.store, fails == 0 ? "disk full" : NULL);
		devices_restart(&world);
		/* Whoever began them is told. */
		assert_int_equal(world.changes, changes + 3);
		assert_int_equal(mauth_devices_count(world.devices), 2);
		fake_store_fail(world.store, NULL);
		fake_store_hold(world.store, false);
		while (mauth_devices_has(world.devices, CONTOSO, BOB))
			devices_remove(&world, BOB, mauth_devices_of(world.devices, CONTOSO, BOB)->id);
		devices_sleep(&world, 0);
	}
	devices_end(&world);
}

static void the_end_writes_what_is_left(void **state)
{
	struct devices_world world;
	char used[ID_SIZE], removed[ID_SIZE];

	devices_begin(&world);
	free(devices_add(&world, CONTOSO, ALICE, "removed"));
	memcpy(removed, world.id, sizeof(removed));
	free(devices_add(&world, CONTOSO, ALICE, "used"));
	memcpy(used, world.id, sizeof(used));
	devices_use(&world, ALICE, used, "198.51.100.1");
	fake_store_fail(world.store, "disk full");
	devices_remove(&world, ALICE, removed);
	devices_sleep(&world, 0);
	fake_store_fail(world.store, NULL);
	devices_restart(&world);
	assert_null(row_of(&world, ALICE, removed));
	assert_non_null(strstr(row_of(&world, ALICE, used), "198.51.100.1"));
	devices_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_password_is_good_for_its_user_in_its_tenant_only),
		cmocka_unit_test(generated_passwords_can_be_typed_on_a_panel),
		cmocka_unit_test(case_hyphens_and_blanks_do_not_matter),
		cmocka_unit_test(a_password_of_absurd_size_is_wrong),
		cmocka_unit_test(a_right_password_is_refused_where_it_must_not_be_used),
		cmocka_unit_test(a_device_ends_with_the_first_second_after),
		cmocka_unit_test(a_new_one_works_once_it_is_in_the_store),
		cmocka_unit_test(a_name_can_be_taken_only_once),
		cmocka_unit_test(the_fifty_first_device_is_one_too_many),
		cmocka_unit_test(what_cannot_be_kept_is_refused_at_once),
		cmocka_unit_test(a_removed_one_is_refused_at_once),
		cmocka_unit_test(an_end_can_be_set_and_lifted_at_once),
		cmocka_unit_test(a_new_one_that_cannot_be_written_does_not_work),
		cmocka_unit_test(a_removal_stays_in_effect_and_is_written_when_the_store_is_back),
		cmocka_unit_test(an_end_that_cannot_be_written_is_in_effect_and_written_later),
		cmocka_unit_test(uses_go_to_the_store_together_once_a_minute),
		cmocka_unit_test(a_use_never_brings_a_removed_one_back),
		cmocka_unit_test(uses_that_could_not_be_written_are_written_later),
		cmocka_unit_test(many_uses_are_written_in_several_goes),
		cmocka_unit_test(no_password_is_in_any_text_or_row),
		cmocka_unit_test(what_is_under_way_ends_after_the_end),
		cmocka_unit_test(the_end_writes_what_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
