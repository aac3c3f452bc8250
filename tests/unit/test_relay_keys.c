/* SPDX-License-Identifier: MIT */
/* Relay keys: what they are for, how long, and what is left of them on disk. */
#include "relay_world.h"

#define DAY 86400

static enum mauth_status check(struct vault_world *world, const char *key, const char *identity)
{
	struct mauth_secret *secret = mauth_secret_new(key, strlen(key));
	const struct mauth_relay_key *found;
	struct mauth_error error = { .status = MAUTH_OK };
	enum mauth_status status = mauth_relay_keys_check(relay_keys_of(world), secret, identity, &found, &error);

	assert_int_equal(status == MAUTH_BAD_CREDENTIALS, found == NULL);
	assert_int_equal(status == MAUTH_OK, error.status == MAUTH_OK);
	if (status != MAUTH_OK)
		assert_true(error.advice[0] != '\0');
	mauth_secret_free(&secret);
	return status;
}

static void open_world(struct vault_world *world)
{
	vault_world_open_with(world, "EA");
}

/* -- what a key is for -- */

static void a_key_opens_what_its_patterns_name(void **state)
{
	static const struct {
		const char *pattern, *identity;
		enum mauth_status status;
	} rows[] = {
		{ "scanner@contoso.com", "scanner@contoso.com", MAUTH_OK },
		{ "Scanner@Contoso.COM", "scanner@contoso.com", MAUTH_OK },
		{ "scanner@contoso.com", "scanner2@contoso.com", MAUTH_POLICY },
		{ "*@contoso.com", "anna@contoso.com", MAUTH_OK },
		{ "*@contoso.com", "anna@contoso.com.evil.example", MAUTH_POLICY },
		{ "fax-*@contoso.com", "fax-7@contoso.com", MAUTH_OK },
		{ "*", "anna@fabrikam.com", MAUTH_OK },
	};
	struct vault_world world;

	open_world(&world);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[16], *key;

		snprintf(name, sizeof(name), "key-%zu", i);
		key = relay_key(&world, name, rows[i].pattern, 0);
		if (check(&world, key, rows[i].identity) != rows[i].status)
			fail_msg("%s for %s", rows[i].pattern, rows[i].identity);
		free(key);
	}
	vault_world_end(&world);
}

static void a_key_is_known_as_a_person_types_it(void **state)
{
	struct vault_world world;
	char *key, typed[64];
	size_t size = 0;

	open_world(&world);
	key = relay_key(&world, "postfix", "*", 0);
	for (const char *at = key; *at != '\0'; at++) {
		if (*at != '-')
			typed[size++] = *at >= 'A' && *at <= 'Z' ? (char)(*at + 32) : *at;
	}
	typed[size] = '\0';
	assert_int_equal(check(&world, typed, ALICE), MAUTH_OK);
	typed[0] = typed[0] == '2' ? '3' : '2';
	assert_int_equal(check(&world, typed, ALICE), MAUTH_BAD_CREDENTIALS);
	assert_int_equal(check(&world, "", ALICE), MAUTH_BAD_CREDENTIALS);
	typed[size - 1] = '\0';
	assert_int_equal(check(&world, typed, ALICE), MAUTH_BAD_CREDENTIALS);
	free(key);
	vault_world_end(&world);
}

static void no_device_password_is_a_key_and_no_key_a_device_password(void **state)
{
	struct vault_world world;
	char *key, *device;

	open_world(&world);
	key = relay_key(&world, "postfix", "*", 0);
	device = world_device(&world, ALICE, "phone");
	assert_int_equal(check(&world, device, ALICE), MAUTH_BAD_CREDENTIALS);
	world_at_once(&world, key, false, MAUTH_BAD_CREDENTIALS);
	free(key);
	free(device);
	vault_world_end(&world);
}

static void a_key_ends_by_itself(void **state)
{
	struct vault_world world;
	char *key;

	open_world(&world);
	key = relay_key(&world, "postfix", "*", WORLD_WALL + DAY);
	fake_loop_jump(world.w.loop, DAY - 1);
	assert_int_equal(check(&world, key, ALICE), MAUTH_OK);
	fake_loop_jump(world.w.loop, 1);
	assert_int_equal(check(&world, key, ALICE), MAUTH_EXPIRED);
	free(key);
	vault_world_end(&world);
}

static void what_cannot_be_made_says_why(void **state)
{
	static const char *const good[] = { ALICE }, *const none[] = { "" }, *const blank[] = { "a b@contoso.com" };
	static const char *const bare[] = { "alice" }, *const control[] = { "a\1@contoso.com" };
	static const struct {
		struct mauth_relay_key_new new;
		const char *text;
	} rows[] = {
		{ { .name = "", .identities = good, .identities_count = 1 }, "needs a name" },
		{ { .name = "two words", .identities = good, .identities_count = 1 }, "needs a name" },
		{ { .name = "\xff", .identities = good, .identities_count = 1 }, "needs a name" },
		{ { .name = "taken", .identities = good, .identities_count = 1 }, "already" },
		{ { .name = "new", .identities = good, .identities_count = 0 }, "1 to 32 identities" },
		{ { .name = "new", .identities = good, .identities_count = 33 }, "1 to 32 identities" },
		{ { .name = "new", .identities = none, .identities_count = 1 }, "identity \"\"" },
		{ { .name = "new", .identities = blank, .identities_count = 1 }, "identity \"a b@contoso.com\"" },
		{ { .name = "new", .identities = bare, .identities_count = 1 }, "identity \"alice\"" },
		{ { .name = "new", .identities = control, .identities_count = 1 }, "was expected" },
		{ { .name = "new", .identities = good, .identities_count = 1, .expires_at = WORLD_WALL }, "in the past" },
	};
	struct mauth_secret *secret = NULL;
	struct relay_change change = { 0 };
	struct vault_world world;
	struct mauth_error error;

	open_world(&world);
	free(relay_key(&world, "taken", ALICE, 0));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(mauth_relay_keys_add(relay_keys_of(&world), &rows[i].new, &secret, relay_changed, &change, &error),
				 MAUTH_CONFIG);
		if (strstr(error.text, rows[i].text) == NULL)
			fail_msg("no \"%s\" in \"%s\"", rows[i].text, error.text);
		assert_null(secret);
	}
	world_turn(&world.w);
	assert_int_equal(change.calls, 0);
	assert_int_equal(mauth_relay_keys_count(relay_keys_of(&world)), 1);
	vault_world_end(&world);
}

/* -- what is on disk -- */

static void all_of_it_is_there_after_a_restart(void **state)
{
	const struct mauth_relay_key *key;
	struct vault_world world;
	char *first, *second;

	open_world(&world);
	first = relay_key(&world, "first", "*@contoso.com", 0);
	fake_loop_jump(world.w.loop, 1);
	second = relay_key(&world, "second", ALICE, WORLD_WALL + DAY);
	vault_world_restart(&world);
	assert_int_equal(check(&world, first, BOB), MAUTH_OK);
	assert_int_equal(check(&world, second, ALICE), MAUTH_OK);
	assert_int_equal(check(&world, second, BOB), MAUTH_POLICY);
	key = mauth_relay_keys_next(relay_keys_of(&world), NULL);
	assert_string_equal(key->name, "first");
	assert_string_equal(key->identities[0], "*@contoso.com");
	assert_string_equal(key->by, "root");
	key = mauth_relay_keys_next(relay_keys_of(&world), key);
	assert_string_equal(key->name, "second");
	assert_int_equal(key->expires_at, WORLD_WALL + DAY);
	assert_null(mauth_relay_keys_next(relay_keys_of(&world), key));
	free(first);
	free(second);
	vault_world_end(&world);
}

static void a_key_opens_nothing_before_it_is_on_disk(void **state)
{
	static const char *const anybody[] = { "*" };
	const struct mauth_relay_key_new new = { .name = "postfix", .identities = anybody, .identities_count = 1 };
	struct mauth_secret *secret = NULL, *other = NULL;
	struct relay_change change = { 0 };
	struct vault_world world;
	struct mauth_error error;

	open_world(&world);
	fake_store_hold(world.store, true);
	assert_int_equal(mauth_relay_keys_add(relay_keys_of(&world), &new, &secret, relay_changed, &change, &error), MAUTH_OK);
	world_secret(&world.w, mauth_secret_expose(secret));
	assert_int_equal(check(&world, mauth_secret_expose(secret), ALICE), MAUTH_BAD_CREDENTIALS);
	/* Nor is there a second one of that name meanwhile. */
	assert_int_equal(mauth_relay_keys_add(relay_keys_of(&world), &new, &other, relay_changed, &change, &error), MAUTH_CONFIG);
	fake_store_fail(world.store, "the disk is full");
	fake_store_finish(world.store);
	assert_int_equal(change.calls, 1);
	assert_true(change.failed);
	assert_string_equal(change.text, "it has not been added: the disk is full");
	assert_int_equal(check(&world, mauth_secret_expose(secret), ALICE), MAUTH_BAD_CREDENTIALS);
	fake_store_fail(world.store, NULL);
	mauth_secret_free(&secret);
	vault_world_end(&world);
}

static void a_removed_key_opens_nothing_whatever_the_store_says(void **state)
{
	struct relay_change change = { 0 };
	struct vault_world world;
	struct mauth_error error;
	char *key;

	open_world(&world);
	key = relay_key(&world, "postfix", "*", 0);
	fake_store_fail(world.store, "the disk is full");
	assert_int_equal(mauth_relay_keys_remove(relay_keys_of(&world), "postfix", relay_changed, &change, &error), MAUTH_OK);
	assert_int_equal(check(&world, key, ALICE), MAUTH_BAD_CREDENTIALS);
	world_turn(&world.w);
	assert_true(change.failed);
	assert_non_null(strstr(change.text, "opens nothing any more, but would be back after a restart"));
	assert_int_equal(fake_store_count(world.store, MAUTH_RELAY_KEY_KIND), 1);
	fake_store_fail(world.store, NULL);
	fake_loop_run(world.w.loop, 10000);
	assert_int_equal(fake_store_count(world.store, MAUTH_RELAY_KEY_KIND), 0);
	assert_int_equal(mauth_relay_keys_remove(relay_keys_of(&world), "postfix", relay_changed, &change, &error),
			 MAUTH_USER_UNKNOWN);
	free(key);
	vault_world_end(&world);
}

static void a_key_is_removed_by_its_id_too_and_its_name_is_free(void **state)
{
	struct relay_change change = { 0 };
	struct vault_world world;
	struct mauth_error error;
	char *old, *new;

	open_world(&world);
	old = relay_key(&world, "postfix", "*", 0);
	assert_int_equal(mauth_relay_keys_remove(relay_keys_of(&world), mauth_relay_keys_next(relay_keys_of(&world), NULL)->id,
						 relay_changed, &change, &error), MAUTH_OK);
	new = relay_key(&world, "postfix", "*", 0);
	assert_int_equal(check(&world, old, ALICE), MAUTH_BAD_CREDENTIALS);
	assert_int_equal(check(&world, new, ALICE), MAUTH_OK);
	free(old);
	free(new);
	vault_world_end(&world);
}

static void a_use_is_written_once_an_hour_and_at_the_end(void **state)
{
	const struct mauth_relay_key *key;
	struct vault_world world;
	unsigned int writes;

	open_world(&world);
	free(relay_key(&world, "postfix", "*", 0));
	key = mauth_relay_keys_next(relay_keys_of(&world), NULL);
	writes = fake_store_writes(world.store);
	mauth_relay_keys_used(relay_keys_of(&world), key->id);
	fake_loop_run(world.w.loop, 20000);
	assert_int_equal(fake_store_writes(world.store), writes + 1);
	for (int i = 0; i < 100; i++) {
		mauth_relay_keys_used(relay_keys_of(&world), key->id);
		fake_loop_run(world.w.loop, 10000);
	}
	assert_int_equal(fake_store_writes(world.store), writes + 1);
	vault_world_restart(&world);
	key = mauth_relay_keys_next(relay_keys_of(&world), NULL);
	assert_true(key->last_used_at > WORLD_WALL + 900);
	vault_world_end(&world);
}

static void a_row_that_cannot_be_read_closes_the_store(void **state)
{
	static const char good[] = "{\"name\":\"n\",\"identities\":[\"*\"],\"created_at\":1,\"expires_at\":0,\"last_used_at\":0,"
		"\"by\":\"root\",\"uid\":0,\"scheme\":\"hmac-sha256\",\"salt\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"verifier\":"
		"\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}";
	static const struct {
		const char *name, *from, *to;
	} rows[] = {
		{ "abcdefghijkl", "{", "[" }, { "abcdefghijkl", "[\"*\"]", "[]" }, { "abcdefghijkl", "[\"*\"]", "\"*\"" },
		{ "abcdefghijkl", "[\"*\"]", "[1]" }, { "abcdefghijkl", "\"expires_at\":0,", "" },
		{ "abcdefghijkl", "hmac-sha256", "md5" }, { "abcdefghijkl", "\"AAAAAAAAAAAAAAAAAAAAAA\"", "\"AAAA\"" },
		{ "abcdefghijkl", "\"name\":\"n\"", "\"name\":\"\"" }, { "../../etc/pw", "{", "{" }, { "short", "{", "{" },
	};
	struct vault_world world;
	struct mauth_error error;

	open_world(&world);
	vault_world_close(&world);
	fake_store_put(world.store, MAUTH_RELAY_KEY_KIND, "abcdefghijkl", good);
	assert_int_equal(vault_world_try(&world, &error), MAUTH_OK);
	vault_world_close(&world);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *at = strstr(good, rows[i].from);
		char *bad = mauth_printf("%.*s%s%s", (int)(at - good), good, rows[i].to, at + strlen(rows[i].from));

		fake_store_put(world.store, MAUTH_RELAY_KEY_KIND, "abcdefghijkl", NULL);
		fake_store_put(world.store, MAUTH_RELAY_KEY_KIND, rows[i].name, bad);
		if (vault_world_try(&world, &error) != MAUTH_CONFIG)
			fail_msg("read: %s %s", rows[i].name, bad);
		fake_store_put(world.store, MAUTH_RELAY_KEY_KIND, rows[i].name, NULL);
		free(bad);
	}
	vault_world_end(&world);
}

static enum mauth_status told(struct vault_world *world, const char *name, const char *value)
{
	const struct mauth_store_row row = { MAUTH_RELAY_KEY_KIND, name, value, value == NULL ? 0 : strlen(value) };
	struct mauth_error error;
	bool reopen = true;
	enum mauth_status status = mauth_vault_follow(world->vault, &row, &reopen, &error);

	assert_false(reopen);
	return status;
}

static void what_another_front_end_changes_holds_here(void **state)
{
	const struct mauth_relay_key *key;
	struct vault_world world;
	struct mauth_buf row = { 0 };
	char id[MAUTH_RELAY_KEY_ID_SIZE], *secret;

	open_world(&world);
	secret = relay_key(&world, "scanner", ALICE, 0);
	key = mauth_relay_keys_next(relay_keys_of(&world), NULL);
	memcpy(id, key->id, sizeof(id));
	mauth_relay_key_encode(key, &row);
	mauth_buf_putc(&row, '\0');
	/* Removed there; it comes back; what is no row changes nothing. */
	assert_int_equal(told(&world, id, NULL), MAUTH_OK);
	assert_int_equal(check(&world, secret, ALICE), MAUTH_BAD_CREDENTIALS);
	assert_int_equal(told(&world, id, row.data), MAUTH_OK);
	assert_int_equal(check(&world, secret, ALICE), MAUTH_OK);
	assert_int_equal(told(&world, id, row.data), MAUTH_OK);
	assert_int_equal(mauth_relay_keys_count(relay_keys_of(&world)), 1);
	assert_int_equal(told(&world, id, "nonsense"), MAUTH_CONFIG);
	assert_int_equal(check(&world, secret, ALICE), MAUTH_OK);
	mauth_buf_free(&row);
	free(secret);
	vault_world_end(&world);
}

static void who_follows_writes_no_use(void **state)
{
	const struct mauth_relay_key *key;
	struct vault_world world;
	unsigned int writes;
	char *secret;

	open_world(&world);
	secret = relay_key(&world, "scanner", ALICE, 0);
	vault_world_close(&world);
	mauth_broker_free(&world.w.broker);
	fake_store_follow(world.store, true);
	vault_world_open(&world);
	writes = fake_store_writes(world.store);
	fake_loop_jump(world.w.loop, DAY);
	key = mauth_relay_keys_next(relay_keys_of(&world), NULL);
	assert_non_null(key);
	mauth_relay_keys_used(relay_keys_of(&world), key->id);
	mauth_relay_keys_tend(relay_keys_of(&world));
	world_turn(&world.w);
	vault_world_close(&world);
	assert_int_equal(fake_store_writes(world.store), writes);
	free(secret);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_opens_what_its_patterns_name),
		cmocka_unit_test(a_key_is_known_as_a_person_types_it),
		cmocka_unit_test(no_device_password_is_a_key_and_no_key_a_device_password),
		cmocka_unit_test(a_key_ends_by_itself),
		cmocka_unit_test(what_cannot_be_made_says_why),
		cmocka_unit_test(all_of_it_is_there_after_a_restart),
		cmocka_unit_test(a_key_opens_nothing_before_it_is_on_disk),
		cmocka_unit_test(a_removed_key_opens_nothing_whatever_the_store_says),
		cmocka_unit_test(a_key_is_removed_by_its_id_too_and_its_name_is_free),
		cmocka_unit_test(a_use_is_written_once_an_hour_and_at_the_end),
		cmocka_unit_test(a_row_that_cannot_be_read_closes_the_store),
		cmocka_unit_test(what_another_front_end_changes_holds_here),
		cmocka_unit_test(who_follows_writes_no_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
