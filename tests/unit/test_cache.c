/* SPDX-License-Identifier: MIT */
#include "core/cache.h"
#include "core/mem.h"
#include "fake_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TENANT 0xc0ffee00u
#define ALICE "alice@contoso.com"

struct world {
	struct fake_loop *loop;
	struct mauth_verifier_key key;
	struct mauth_cache *cache;
};

static void begin(struct world *world, uint64_t max_octets)
{
	world->loop = fake_loop_new(1700000000);
	mauth_verifier_key_new(&world->key);
	world->cache = mauth_cache_new(fake_loop_loop(world->loop), &world->key, max_octets);
}

static void end(struct world *world)
{
	mauth_cache_free(&world->cache);
	assert_null(world->cache);
	mauth_cache_free(&world->cache);
	fake_loop_free(&world->loop);
}

static void put(struct world *world, const char *upn, const char *password, const char *token, int64_t expires_in)
{
	struct mauth_secret *p = mauth_secret_new(password, strlen(password));
	struct mauth_secret *t = mauth_secret_new(token, strlen(token));
	struct mauth_cache_item item = {
		.tenant = TENANT, .upn = upn, .password = p, .token = t, .expires_in = expires_in,
		.refresh_in = expires_in / 2,
	};

	mauth_cache_put(world->cache, &item);
	mauth_secret_free(&p);
	mauth_secret_free(&t);
}

static struct mauth_cache_entry *find(struct world *world, const char *upn)
{
	return mauth_cache_find(world->cache, TENANT, upn);
}

static bool verify(struct world *world, const struct mauth_cache_entry *entry, const char *password)
{
	struct mauth_secret *p = mauth_secret_new(password, strlen(password));
	bool ok = mauth_cache_verify(world->cache, entry, p);

	mauth_secret_free(&p);
	return ok;
}

static void expect_token(const struct mauth_cache_entry *entry, const char *expected)
{
	struct mauth_secret *token = mauth_cache_token(entry);
	char id[MAUTH_TOKEN_ID_SIZE], expected_id[MAUTH_TOKEN_ID_SIZE];

	assert_string_equal(mauth_secret_expose(token), expected);
	assert_int_equal(mauth_secret_size(token), strlen(expected));
	mauth_cache_token_id(entry, id);
	mauth_token_id(expected, strlen(expected), expected_id);
	assert_string_equal(id, expected_id);
	mauth_secret_free(&token);
}

static struct mauth_cache_stats stats_of(const struct world *world)
{
	struct mauth_cache_stats stats;

	mauth_cache_stats(world->cache, &stats);
	return stats;
}

/* -- what is found -- */

static void a_token_is_found_under_its_name_and_tenant(void **state)
{
	struct world world;
	struct mauth_cache_entry *entry;

	begin(&world, 1 << 20);
	assert_null(find(&world, ALICE));
	put(&world, ALICE, "password", "token-1", 3600);
	entry = find(&world, ALICE);
	assert_non_null(entry);
	assert_string_equal(mauth_cache_upn(entry), ALICE);
	expect_token(entry, "token-1");
	assert_int_equal(mauth_cache_life(world.cache, entry), 3600);
	assert_null(find(&world, "alice@contoso.co"));
	assert_null(find(&world, "alice@contoso.comm"));
	assert_null(mauth_cache_find(world.cache, TENANT + 1, ALICE));
	end(&world);
}

static void only_the_password_that_was_verified_verifies(void **state)
{
	struct world world;

	begin(&world, 1 << 20);
	put(&world, ALICE, "password", "token-1", 3600);
	assert_true(verify(&world, find(&world, ALICE), "password"));
	assert_false(verify(&world, find(&world, ALICE), "Password"));
	assert_false(verify(&world, find(&world, ALICE), "passwor"));
	assert_false(verify(&world, find(&world, ALICE), "password1"));
	assert_false(verify(&world, find(&world, ALICE), ""));
	end(&world);
}

static void a_new_token_takes_the_place_of_the_old_one(void **state)
{
	struct world world;
	struct mauth_cache_entry *entry;
	uint64_t octets;

	begin(&world, 1 << 20);
	put(&world, ALICE, "old", "token-1", 3600);
	octets = stats_of(&world).octets;
	find(&world, ALICE)->refusals = 2;
	find(&world, ALICE)->refused_until = 99;
	find(&world, ALICE)->refused = true;
	put(&world, ALICE, "new", "token-2", 3600);
	entry = find(&world, ALICE);
	expect_token(entry, "token-2");
	assert_true(verify(&world, entry, "new"));
	assert_false(verify(&world, entry, "old"));
	/* How often the upstream refused is known of the user, that it refused is known of the token. */
	assert_int_equal(entry->refusals, 2);
	assert_int_equal(entry->refused_until, 99);
	assert_false(entry->refused);
	assert_int_equal(stats_of(&world).entries, 1);
	assert_int_equal(stats_of(&world).octets, octets);
	assert_int_equal(stats_of(&world).evicted, 0);
	end(&world);
}

/* -- expiry -- */

static void an_expired_token_is_gone(void **state)
{
	struct world world;

	begin(&world, 1 << 20);
	put(&world, ALICE, "password", "token-1", 3600);
	fake_loop_run(world.loop, 3599 * 1000);
	assert_int_equal(mauth_cache_life(world.cache, find(&world, ALICE)), 1);
	fake_loop_run(world.loop, 1000);
	assert_null(find(&world, ALICE));
	assert_int_equal(stats_of(&world).entries, 0);
	assert_int_equal(stats_of(&world).octets, 0);
	end(&world);
}

static void a_wall_clock_that_jumps_forward_expires_tokens(void **state)
{
	struct world world;

	begin(&world, 1 << 20);
	put(&world, ALICE, "password", "token-1", 3600);
	fake_loop_jump(world.loop, 3000);
	assert_int_equal(mauth_cache_life(world.cache, find(&world, ALICE)), 600);
	fake_loop_jump(world.loop, 600);
	assert_null(find(&world, ALICE));
	end(&world);
}

static void a_wall_clock_that_jumps_back_lengthens_no_life(void **state)
{
	struct world world;

	begin(&world, 1 << 20);
	put(&world, ALICE, "password", "token-1", 3600);
	fake_loop_jump(world.loop, -86400);
	assert_int_equal(mauth_cache_life(world.cache, find(&world, ALICE)), 3600);
	fake_loop_run(world.loop, 3600 * 1000);
	assert_null(find(&world, ALICE));
	end(&world);
}

/* -- bounds -- */

static void the_least_recently_used_goes_first(void **state)
{
	struct world world;
	char token[1025], upn[32];
	uint64_t one;

	begin(&world, 1 << 20);
	memset(token, 't', sizeof(token) - 1);
	token[sizeof(token) - 1] = '\0';
	put(&world, "user-0@contoso.com", "p", token, 3600);
	one = stats_of(&world).octets;
	assert_true(one > sizeof(token));
	end(&world);

	begin(&world, 4 * one + one / 2);
	for (int i = 0; i < 4; i++) {
		snprintf(upn, sizeof(upn), "user-%d@contoso.com", i);
		put(&world, upn, "p", token, 3600);
	}
	assert_int_equal(stats_of(&world).evicted, 0);
	assert_non_null(find(&world, "user-0@contoso.com"));
	put(&world, "user-4@contoso.com", "p", token, 3600);
	assert_int_equal(stats_of(&world).entries, 4);
	assert_int_equal(stats_of(&world).evicted, 1);
	assert_null(find(&world, "user-1@contoso.com"));
	assert_non_null(find(&world, "user-0@contoso.com"));
	assert_non_null(find(&world, "user-4@contoso.com"));
	end(&world);
}

static void what_is_larger_than_the_cache_displaces_nobody(void **state)
{
	struct world world;
	char token[8001];

	begin(&world, 4000);
	memset(token, 't', sizeof(token) - 1);
	token[sizeof(token) - 1] = '\0';
	put(&world, "bob@contoso.com", "p", "token-1", 3600);
	put(&world, ALICE, "p", token, 3600);
	assert_null(find(&world, ALICE));
	assert_non_null(find(&world, "bob@contoso.com"));
	assert_int_equal(stats_of(&world).entries, 1);
	end(&world);
}

static void octets_go_with_the_entries(void **state)
{
	struct world world;
	char upn[32];

	begin(&world, 20000);
	for (int i = 0; i < 1000; i++) {
		snprintf(upn, sizeof(upn), "user-%d@contoso.com", i);
		put(&world, upn, "p", "token", 3600);
		assert_true(stats_of(&world).octets <= 20000);
	}
	assert_true(stats_of(&world).entries > 10);
	assert_int_equal(stats_of(&world).entries + stats_of(&world).evicted, 1000);
	for (int i = 0; i < 1000; i++) {
		struct mauth_cache_entry *entry;

		snprintf(upn, sizeof(upn), "user-%d@contoso.com", i);
		entry = find(&world, upn);
		if (entry != NULL)
			mauth_cache_drop(world.cache, &entry);
	}
	assert_int_equal(stats_of(&world).entries, 0);
	assert_int_equal(stats_of(&world).octets, 0);
	end(&world);
}

/* -- handing over -- */

static void a_successor_gets_all_of_it_in_the_same_order(void **state)
{
	struct world world;
	struct mauth_cache *heir;
	const struct mauth_cache_entry *entry, *copy;
	size_t count = 0;

	begin(&world, 1 << 20);
	put(&world, "bob@contoso.com", "p-bob", "token-bob", 1800);
	put(&world, ALICE, "p-alice", "token-alice", 3600);
	put(&world, "carol@contoso.com", "p-carol", "token-carol", 3600);
	find(&world, "bob@contoso.com");
	find(&world, ALICE)->refused = true;
	find(&world, ALICE)->refusals = 3;
	find(&world, ALICE)->refused_until = 42;

	heir = mauth_cache_new(fake_loop_loop(world.loop), &world.key, 1 << 20);
	for (entry = mauth_cache_next(world.cache, NULL); entry != NULL; entry = mauth_cache_next(world.cache, entry)) {
		mauth_cache_adopt(heir, entry, entry->node.tenant, entry->data, entry->data + entry->upn_size + 1,
				  entry->token_size);
		count++;
	}
	assert_int_equal(count, 3);
	copy = mauth_cache_next(heir, NULL);
	assert_string_equal(mauth_cache_upn(copy), "carol@contoso.com");
	copy = mauth_cache_next(heir, copy);
	assert_string_equal(mauth_cache_upn(copy), "bob@contoso.com");
	copy = mauth_cache_next(heir, copy);
	assert_null(mauth_cache_next(heir, copy));
	mauth_cache_free(&world.cache);
	world.cache = heir;

	expect_token(copy, "token-alice");
	assert_true(verify(&world, copy, "p-alice"));
	assert_false(verify(&world, copy, "p-bob"));
	assert_true(copy->refused);
	assert_int_equal(copy->refusals, 3);
	assert_int_equal(copy->refused_until, 42);
	assert_int_equal(mauth_cache_life(heir, find(&world, "bob@contoso.com")), 1800);
	end(&world);
}

static void an_adopted_entry_replaces_one_of_its_name(void **state)
{
	struct world world;
	struct mauth_cache *heir;
	const struct mauth_cache_entry *entry;

	begin(&world, 1 << 20);
	heir = mauth_cache_new(fake_loop_loop(world.loop), &world.key, 1 << 20);
	put(&world, ALICE, "p", "token-1", 3600);
	entry = mauth_cache_next(world.cache, NULL);
	for (int i = 0; i < 2; i++)
		mauth_cache_adopt(heir, entry, TENANT, ALICE, "token-1", 7);
	mauth_cache_free(&world.cache);
	world.cache = heir;
	assert_int_equal(stats_of(&world).entries, 1);
	expect_token(find(&world, ALICE), "token-1");
	end(&world);
}

/* -- many -- */

static void a_million_lookups_find_what_they_look_for(void **state)
{
	enum { USERS = 5000 };
	struct world world;
	char upn[32];

	begin(&world, 64 << 20);
	for (int i = 0; i < USERS; i++) {
		snprintf(upn, sizeof(upn), "user-%d@contoso.com", i);
		put(&world, upn, "p", upn, 3600);
	}
	for (int i = 0; i < 1000000; i++) {
		const struct mauth_cache_entry *entry;

		snprintf(upn, sizeof(upn), "user-%d@contoso.com", (int)((unsigned int)i * 7919u % USERS));
		entry = find(&world, upn);
		assert_true(entry != NULL && strcmp(mauth_cache_upn(entry), upn) == 0);
	}
	assert_int_equal(stats_of(&world).entries, USERS);
	assert_int_equal(stats_of(&world).evicted, 0);
	end(&world);
}

struct named {
	struct mauth_node node;
	char upn[32];
};

static const char *named_upn(const struct mauth_node *node)
{
	return ((const struct named *)node)->upn;
}

static size_t longest_chain(struct mauth_node *const *buckets, size_t from, size_t size)
{
	size_t longest = 0;

	for (size_t i = from; buckets != NULL && i < size; i++) {
		size_t length = 0;

		for (const struct mauth_node *node = buckets[i]; node != NULL; node = node->chain)
			length++;
		longest = length > longest ? length : longest;
	}
	return longest;
}

static void the_way_to_a_name_stays_short(void **state)
{
	enum { NAMES = 100000 };
	struct mauth_verifier_key key;
	struct mauth_table table;
	struct named *names = mauth_new_array(NAMES, sizeof(*names));

	mauth_verifier_key_new(&key);
	mauth_table_init(&table, &key, named_upn);
	for (int i = 0; i < NAMES; i++) {
		snprintf(names[i].upn, sizeof(names[i].upn), "u%d@contoso.com", i);
		mauth_table_insert(&table, &names[i].node, TENANT, names[i].upn);
		/* In the middle of a move, too. */
		if (i % 997 == 0)
			assert_ptr_equal(mauth_table_find(&table, TENANT, names[i / 2].upn), &names[i / 2].node);
	}
	assert_int_equal(table.count, NAMES);
	assert_true(longest_chain(table.buckets, 0, table.size) < 16);
	assert_true(longest_chain(table.old_buckets, table.moved, table.old_size) < 16);
	for (int i = 0; i < NAMES; i++)
		assert_ptr_equal(mauth_table_find(&table, TENANT, names[i].upn), &names[i].node);
	mauth_table_free(&table);
	free(names);
}

static void names_go_while_the_table_grows(void **state)
{
	enum { NAMES = 2000 };
	struct mauth_verifier_key key;
	struct mauth_table table;
	struct named *names = mauth_new_array(NAMES, sizeof(*names));

	mauth_verifier_key_new(&key);
	mauth_table_init(&table, &key, named_upn);
	for (int i = 0; i < NAMES; i++) {
		snprintf(names[i].upn, sizeof(names[i].upn), "u%d@contoso.com", i);
		mauth_table_insert(&table, &names[i].node, TENANT, names[i].upn);
		if (i % 3 == 0)
			mauth_table_remove(&table, &names[i / 3 * 2].node);
	}
	for (int i = 0; i < NAMES; i++) {
		bool removed = i % 2 == 0 && i / 2 * 3 < NAMES;

		assert_ptr_equal(mauth_table_find(&table, TENANT, names[i].upn), removed ? NULL : &names[i].node);
	}
	while (table.newest != NULL)
		mauth_table_remove(&table, table.newest);
	assert_int_equal(table.count, 0);
	assert_null(table.oldest);
	mauth_table_free(&table);
	free(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_is_found_under_its_name_and_tenant),
		cmocka_unit_test(only_the_password_that_was_verified_verifies),
		cmocka_unit_test(a_new_token_takes_the_place_of_the_old_one),
		cmocka_unit_test(an_expired_token_is_gone),
		cmocka_unit_test(a_wall_clock_that_jumps_forward_expires_tokens),
		cmocka_unit_test(a_wall_clock_that_jumps_back_lengthens_no_life),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(what_is_larger_than_the_cache_displaces_nobody),
		cmocka_unit_test(octets_go_with_the_entries),
		cmocka_unit_test(a_successor_gets_all_of_it_in_the_same_order),
		cmocka_unit_test(an_adopted_entry_replaces_one_of_its_name),
		cmocka_unit_test(a_million_lookups_find_what_they_look_for),
		cmocka_unit_test(the_way_to_a_name_stays_short),
		cmocka_unit_test(names_go_while_the_table_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
