/* SPDX-License-Identifier: MIT */
/* Device passwords as rows of the store: what is kept, what can be read, and what a row is worth. */
#include "core/mem.h"
#include "devices_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_same_rows_give_the_same_answers(void **state)
{
	struct mauth_network networks[2];
	struct mauth_device_new new = {
		.tenant = CONTOSO, .user = ALICE, .name = "B\xc3\xbcro \"3\"",
		.networks = networks, .networks_count = 2,
		.services = 1u << MAUTH_SERVICE_POP3 | 1u << MAUTH_SERVICE_SUBMISSION, .expires_at = NOW + 3600,
	};
	const struct mauth_device *device;
	struct devices_world world;
	char *password, *first, id[ID_SIZE];

	devices_begin(&world);
	mauth_network_parse("10.0.0.0/8", &networks[0], NULL);
	mauth_network_parse("2001:db8::/32", &networks[1], NULL);
	first = devices_add(&world, CONTOSO, ALICE, "first");
	devices_sleep(&world, 1);
	password = devices_add_new(&world, &new);
	memcpy(id, world.id, sizeof(id));
	devices_use(&world, ALICE, id, "10.9.8.7");
	devices_sleep(&world, 60);
	devices_restart(&world);
	assert_int_equal(mauth_devices_count(world.devices), 2);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, first), MAUTH_DEVICE_MATCH);
	assert_int_equal(devices_ask_from(&world, ALICE, password, MAUTH_SERVICE_POP3, "2001:db8::7"),
			 MAUTH_DEVICE_MATCH);
	assert_int_equal(devices_ask_from(&world, ALICE, password, MAUTH_SERVICE_IMAP, "10.1.1.1"),
			 MAUTH_DEVICE_REFUSED);
	assert_int_equal(devices_ask_from(&world, ALICE, password, MAUTH_SERVICE_POP3, "192.0.2.7"),
			 MAUTH_DEVICE_REFUSED);
	device = mauth_devices_of(world.devices, CONTOSO, ALICE);
	assert_string_equal(device->name, "first");
	device = device->next;
	assert_string_equal(device->id, id);
	assert_string_equal(device->name, new.name);
	assert_int_equal(device->origin, MAUTH_DEVICE_GENERATED);
	assert_int_equal(device->networks_count, 2);
	assert_memory_equal(device->networks, networks, sizeof(networks));
	assert_int_equal(device->services, new.services);
	assert_int_equal(device->created_at, NOW + 1);
	assert_int_equal(device->expires_at, NOW + 3600);
	assert_int_equal(device->last_used_at, NOW + 1);
	assert_string_equal(device->last_ip, "10.9.8.7");
	assert_int_equal(device->last_service, MAUTH_SERVICE_POP3);
	assert_null(device->next);
	free(password);
	free(first);
	devices_end(&world);
}

#define SALT "\"salt\":\"MDEyMzQ1Njc4OWFiY2RlZg\""
#define VERIFIER "\"verifier\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\""
#define ROW(name, origin, networks, services, times, last_service, scheme, rest) \
	"{\"name\":" name ",\"origin\":" origin ",\"networks\":" networks ",\"services\":" services "," times \
	",\"last_ip\":\"\",\"last_service\":" last_service ",\"scheme\":" scheme "," rest "}"
#define GENERATED "\"generated\""
#define IMAP "\"imap\""
#define HMAC_SHA256 "\"hmac-sha256\""
#define TIMES "\"created_at\":5,\"expires_at\":0,\"last_used_at\":0"
#define GOOD_NAME "contoso/alice@contoso.com/abcdefghijkl"

static void rows_that_cannot_be_read_are_named(void **state)
{
	static const struct {
		const char *name, *value, *why;
	} rows[] = {
		{ "contoso", "{}", "the name is not tenant/user/id" },
		{ "contoso/abcdefghijkl", "{}", "the name is not tenant/user/id" },
		{ "contoso//abcdefghijkl", "{}", "the name is not tenant/user/id" },
		{ "/alice@contoso.com/abcdefghijkl", "{}", "the name is not tenant/user/id" },
		{ "contoso/alice@contoso.com/abc", "{}", "the name is not tenant/user/id" },
		{ "contoso/alice@contoso.com/abcdefghijkL", "{}", "the name is not tenant/user/id" },
		{ GOOD_NAME, "", "no JSON object" }, { GOOD_NAME, "[]", "no JSON object" },
		{ GOOD_NAME, "{}", "no name that can be shown" },
		{ GOOD_NAME, ROW("\"a\\u001b\"", GENERATED, "[]", "[]", TIMES, IMAP, HMAC_SHA256, SALT "," VERIFIER),
		  "no name that can be shown" },
		{ GOOD_NAME, ROW("\"a\"", "\"found\"", "[]", "[]", TIMES, IMAP, HMAC_SHA256, SALT "," VERIFIER),
		  "unknown origin" },
		{ GOOD_NAME, ROW("\"a\"", "\"chosen\"", "[]", "[]", TIMES, IMAP, HMAC_SHA256, SALT "," VERIFIER),
		  "unknown scheme of the verifier" },
		{ GOOD_NAME, ROW("\"a\"", "\"chosen\"", "[]", "[]", TIMES, IMAP, "\"scrypt-99-8-1\"", SALT),
		  "unknown scheme of the verifier" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "null", "[]", TIMES, IMAP, HMAC_SHA256, SALT "," VERIFIER),
		  "networks that cannot be read" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "[7]", "[]", TIMES, IMAP, HMAC_SHA256, SALT "," VERIFIER),
		  "networks that cannot be read" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "[]", "[\"smtp\"]", TIMES, IMAP, HMAC_SHA256, SALT "," VERIFIER),
		  "services that cannot be read" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "[]", "[]", "\"created_at\":5", IMAP, HMAC_SHA256, SALT),
		  "expires_at is no number" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "[]", "[]", "\"created_at\":\"5\"", IMAP, HMAC_SHA256, SALT),
		  "created_at is no number" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "[]", "[]", TIMES, "\"nntp\"", HMAC_SHA256, SALT "," VERIFIER),
		  "unknown last_service" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "[]", "[]", TIMES, IMAP, HMAC_SHA256, VERIFIER),
		  "salt that cannot be read" },
		{ GOOD_NAME, ROW("\"a\"", GENERATED, "[]", "[]", TIMES, IMAP, HMAC_SHA256, SALT ",\"verifier\":\"AA\""),
		  "verifier that cannot be read" },
	};
	struct devices_world world;

	devices_begin(&world);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_store_row row = { "device", rows[i].name, rows[i].value, strlen(rows[i].value) };
		struct mauth_error error = { .status = MAUTH_OK };
		char text[MAUTH_TEXT_MAX];

		assert_int_equal(mauth_devices_load(world.devices, &row, &error), MAUTH_CONFIG);
		snprintf(text, sizeof(text), "device password %s in the store cannot be read: %s", rows[i].name,
			 rows[i].why);
		assert_string_equal(error.text, text);
	}
	assert_int_equal(mauth_devices_count(world.devices), 0);
	assert_false(mauth_devices_has(world.devices, CONTOSO, ALICE));
	devices_end(&world);
}

static void numbers_beyond_reason_are_clamped(void **state)
{
	static const struct {
		const char *times;
		int64_t created_at, expires_at, last_used_at;
	} rows[] = {
		{ "\"created_at\":-1,\"expires_at\":0,\"last_used_at\":-1", 0, 0, 0 },
		/* What ended long ago must not come to mean "never". */
		{ "\"created_at\":1,\"expires_at\":-1,\"last_used_at\":2", 1, 1, 2 },
		{ "\"created_at\":1e300,\"expires_at\":-1e300,\"last_used_at\":9223372036854775807", 253402300799, 1,
		  253402300799 },
		{ "\"created_at\":5.9,\"expires_at\":9e18,\"last_used_at\":0", 5, 253402300799, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct mauth_device *device;
		struct mauth_store_row row = { .kind = "device", .name = GOOD_NAME };
		struct devices_world world;
		char *value = mauth_printf(ROW("\"a\"", GENERATED, "[]", "[]", "%s", IMAP, HMAC_SHA256,
					       SALT "," VERIFIER), rows[i].times);

		devices_begin(&world);
		row.value = value;
		row.size = strlen(value);
		assert_int_equal(mauth_devices_load(world.devices, &row, NULL), MAUTH_OK);
		device = mauth_devices_of(world.devices, CONTOSO, ALICE);
		assert_int_equal(device->created_at, rows[i].created_at);
		assert_int_equal(device->expires_at, rows[i].expires_at);
		assert_int_equal(device->last_used_at, rows[i].last_used_at);
		free(value);
		devices_end(&world);
	}
}

static void a_row_too_many_or_twice_is_refused(void **state)
{
	static const char value[] =
		ROW("\"a\"", GENERATED, "[]", "[]", TIMES, IMAP, HMAC_SHA256, SALT "," VERIFIER);
	struct devices_world world;
	struct mauth_error error;

	devices_begin(&world);
	for (unsigned int i = 0; i < 51; i++) {
		char name[64];
		struct mauth_store_row row = { "device", name, value, sizeof(value) - 1 };

		snprintf(name, sizeof(name), "contoso/alice@contoso.com/abcdefghij%02u", i);
		assert_int_equal(mauth_devices_load(world.devices, &row, &error), i < 50 ? MAUTH_OK : MAUTH_CONFIG);
		if (i < 50)
			assert_int_equal(mauth_devices_load(world.devices, &row, &error), MAUTH_CONFIG);
		assert_string_equal(strrchr(error.text, ':'),
				    i < 50 ? ": it is there already" : ": the user has too many");
	}
	assert_int_equal(mauth_devices_count(world.devices), 50);
	devices_end(&world);
}

static void note(const char *tenant, const char *user, const struct mauth_device *device, void *context)
{
	char *text = context;
	size_t size = strlen(text);

	snprintf(text + size, 256 - size, "%s %s %s\n", tenant, user, device->name);
}

static void all_devices_can_be_listed(void **state)
{
	struct devices_world world;
	char text[256] = "";

	devices_begin(&world);
	free(devices_add(&world, CONTOSO, "a/b@contoso.com", "one"));
	free(devices_add(&world, CONTOSO, BOB, "two"));
	devices_restart(&world);
	mauth_devices_each(world.devices, note, text);
	assert_non_null(strstr(text, "contoso a/b@contoso.com one\n"));
	assert_non_null(strstr(text, "contoso bob@contoso.com two\n"));
	assert_int_equal(strlen(text), strlen("contoso a/b@contoso.com one\ncontoso bob@contoso.com two\n"));
	devices_end(&world);
}

/* Whoever can write to the store cannot give one user's device to another. */
static void a_row_under_another_name_is_worth_nothing(void **state)
{
	struct devices_world world;
	char *password, *row, name[64];

	devices_begin(&world);
	password = devices_add(&world, CONTOSO, ALICE, "Printer");
	snprintf(name, sizeof(name), "contoso/alice@contoso.com/%s", world.id);
	row = mauth_strdup(fake_store_value(world.store, "device", name));
	fake_store_put(world.store, "device", "contoso/bob@contoso.com/abcdefghijkl", row);
	fake_store_put(world.store, "device", "fabrikam/alice@contoso.com/abcdefghijkl", row);
	devices_restart(&world);
	assert_int_equal(mauth_devices_count(world.devices), 3);
	assert_int_equal(devices_ask(&world, CONTOSO, ALICE, password), MAUTH_DEVICE_MATCH);
	assert_int_equal(devices_ask(&world, CONTOSO, BOB, password), MAUTH_DEVICE_NO_MATCH);
	assert_int_equal(devices_ask(&world, "fabrikam", ALICE, password), MAUTH_DEVICE_NO_MATCH);
	free(password);
	free(row);
	devices_end(&world);
}

static void long_names_that_differ_at_their_end_are_different(void **state)
{
	char tenant[121], one[MAUTH_USER_MAX + 1], two[MAUTH_USER_MAX + 1];
	struct devices_world world;
	char *password, *other;

	devices_begin(&world);
	memset(tenant, 't', sizeof(tenant) - 1);
	tenant[sizeof(tenant) - 1] = '\0';
	memset(one, 'u', sizeof(one) - 1);
	one[sizeof(one) - 1] = '\0';
	memcpy(two, one, sizeof(two));
	two[sizeof(two) - 2] = 'v';
	password = devices_add(&world, tenant, one, "a");
	other = devices_add(&world, tenant, two, "a");
	assert_int_equal(devices_ask(&world, tenant, one, password), MAUTH_DEVICE_MATCH);
	assert_int_equal(devices_ask(&world, tenant, two, password), MAUTH_DEVICE_NO_MATCH);
	devices_restart(&world);
	assert_int_equal(devices_ask(&world, tenant, two, other), MAUTH_DEVICE_MATCH);
	free(password);
	free(other);
	devices_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_rows_give_the_same_answers),
		cmocka_unit_test(rows_that_cannot_be_read_are_named),
		cmocka_unit_test(numbers_beyond_reason_are_clamped),
		cmocka_unit_test(a_row_too_many_or_twice_is_refused),
		cmocka_unit_test(all_devices_can_be_listed),
		cmocka_unit_test(a_row_under_another_name_is_worth_nothing),
		cmocka_unit_test(long_names_that_differ_at_their_end_are_different),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
