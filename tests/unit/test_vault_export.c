/* SPDX-License-Identifier: MIT */
/* Exports and imports: everything arrives, and nothing that was changed on the way is believed. */
#include "relay_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINES_MAX 64

struct lines {
	char *text[LINES_MAX];
	size_t count;
};

static void keep_line(const char *line, void *context)
{
	struct lines *lines = context;

	assert_true(lines->count < LINES_MAX);
	assert_null(strchr(line, '\n'));
	lines->text[lines->count++] = mauth_strdup(line);
}

static void lines_free(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		free(lines->text[i]);
	lines->count = 0;
}

static void export(struct vault_world *world, struct lines *lines)
{
	struct mauth_error error;
	size_t rows = 0;

	lines->count = 0;
	if (mauth_vault_export(world->vault, keep_line, lines, &rows, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	assert_int_equal(lines->count, rows + 2);
}

static void imported(const struct mauth_error *error, void *context)
{
	if (error != NULL)
		fail_msg("%s", error->text);
	++*(unsigned int *)context;
}

/* Takes all lines; the status of the first that is not taken, or of the end. */
static enum mauth_status import(struct vault_world *world, const struct lines *lines, bool replace,
				struct mauth_error *error_r)
{
	struct mauth_import *import = mauth_import_new();
	enum mauth_status status = MAUTH_OK;
	unsigned int calls = 0, writes = fake_store_writes(world->store);
	size_t rows;

	for (size_t i = 0; i < lines->count && status == MAUTH_OK; i++)
		status = mauth_import_line(import, world->vault, lines->text[i], error_r);
	if (status == MAUTH_OK)
		status = mauth_import_finish(import, world->vault, replace, imported, &calls, &rows, error_r);
	mauth_import_free(&import);
	assert_int_equal(calls, 0);
	assert_int_equal(fake_store_writes(world->store), writes + (status == MAUTH_OK));
	world_turn(&world->w);
	assert_int_equal(calls, status == MAUTH_OK);
	return status;
}

/* A store with an enrolment, a device password, a link and a dead enrolment; then its export. */
static char *begin(struct vault_world *world, struct lines *lines)
{
	char *device, *link;

	vault_world_open_with(world, "E");
	world_enrol(world, ALICE, "refresh-token-1");
	world_enrol(world, BOB, "refresh-token-2");
	device = world_device(world, ALICE, "Ricoh");
	link = mauth_link_value(ALICE, "shared@contoso.com");
	fake_store_put(world->store, MAUTH_LINK_KIND, CONTOSO "/scanner@contoso.com", link);
	free(link);
	free(relay_key(world, "postfix", "*@contoso.com", 0));
	/* A code that is waited for is of no use elsewhere. */
	fake_store_put(world->store, MAUTH_PENDING_KIND, "contoso/carol@contoso.com", "sealed");
	export(world, lines);
	fake_store_put(world->store, MAUTH_PENDING_KIND, "contoso/carol@contoso.com", NULL);
	return device;
}

/* Nothing is left but what a first start makes, under the same key. */
static void make_empty(struct vault_world *world)
{
	char *list = fake_store_list(world->store), *line, *rest = list;

	vault_world_close(world);
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char *name = strchr(line, ' ');
		char *value = strchr(name + 1, ' ');

		*name++ = '\0';
		*value = '\0';
		fake_store_put(world->store, line, name, NULL);
	}
	free(list);
	mauth_broker_free(&world->w.broker);
	vault_world_open(world);
	assert_int_equal(fake_store_count(world->store, NULL), 1);
}

static void an_export_makes_an_empty_store_the_same(void **state)
{
	struct vault_world world;
	struct lines lines;
	struct mauth_error error;
	struct mauth_mailbox where;
	struct outcome outcome;
	char *device = begin(&world, &lines), *before = fake_store_list(world.store), *after;

	make_empty(&world);
	if (import(&world, &lines, false, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	after = fake_store_list(world.store);
	assert_string_equal(before, after);
	vault_world_restart(&world);
	assert_string_equal(world_refresh_token(&world, ALICE), "refresh-token-1");
	assert_string_equal(world_refresh_token(&world, BOB), "refresh-token-2");
	assert_int_equal(mauth_broker_resolve(world.w.broker, "scanner@contoso.com", &where, NULL), MAUTH_OK);
	assert_string_equal(where.mailbox, "shared@contoso.com");
	assert_string_equal(mauth_relay_keys_next(relay_keys_of(&world), NULL)->name, "postfix");
	world_cache(&world, MAUTH_GRANT_ENROLLED, "t0ken");
	outcome = world_try(&world, ALICE, device, false);
	world_ended(&outcome, MAUTH_OK);
	lines_free(&lines);
	free(before);
	free(after);
	free(device);
	vault_world_end(&world);
}

static void an_export_says_nothing_in_clear(void **state)
{
	struct vault_world world;
	struct lines lines;
	char *device = begin(&world, &lines);

	for (size_t i = 1; i < lines.count; i++) {
		assert_null(strstr(lines.text[i], "refresh"));
		assert_null(strstr(lines.text[i], "alice"));
	}
	lines_free(&lines);
	free(device);
	vault_world_end(&world);
}

/* -- what was changed on the way ---------------------------------------------------------------------------- */

static void expect_refused(struct vault_world *world, const struct lines *lines, const char *what, size_t line)
{
	char *before = fake_store_list(world->store), *after;
	struct mauth_error error;

	if (import(world, lines, true, &error) != MAUTH_CONFIG)
		fail_msg("line %zu %s, and nobody noticed", line + 1, what);
	after = fake_store_list(world->store);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void every_change_of_every_line_is_noticed(void **state)
{
	struct vault_world world;
	struct lines lines, changed;
	char *device = begin(&world, &lines);
	char *gone;

	for (size_t i = 0; i < lines.count; i++) {
		size_t size = strlen(lines.text[i]);

		for (size_t at = 0; at < (i == 0 ? strlen("modernauth-export 1 ") : size); at += 7) {
			lines.text[i][at] ^= 1;
			expect_refused(&world, &lines, "changed", i);
			lines.text[i][at] ^= 1;
		}
		gone = lines.text[i];
		lines.text[i] = mauth_strndup(gone, size / 2);
		if (i > 0)
			expect_refused(&world, &lines, "cut", i);
		free(lines.text[i]);
		lines.text[i] = mauth_strdup("");
		expect_refused(&world, &lines, "emptied", i);
		free(lines.text[i]);
		lines.text[i] = gone;

		changed = lines;
		memmove(&changed.text[i], &changed.text[i + 1], (lines.count - i - 1) * sizeof(char *));
		changed.count--;
		expect_refused(&world, &changed, "dropped", i);

		changed = lines;
		memmove(&changed.text[i + 1], &changed.text[i], (lines.count - i) * sizeof(char *));
		changed.count++;
		expect_refused(&world, &changed, "doubled", i);

		changed = lines;
		changed.count = i;
		expect_refused(&world, &changed, "and what follows missing", i);

		if (i + 1 < lines.count) {
			changed = lines;
			changed.text[i] = lines.text[i + 1];
			changed.text[i + 1] = lines.text[i];
			expect_refused(&world, &changed, "swapped with the next", i);
		}
	}
	assert_int_equal(import(&world, &lines, true, NULL), MAUTH_OK);
	lines_free(&lines);
	free(device);
	vault_world_end(&world);
}

static void no_line_of_another_export_takes_the_place_of_one(void **state)
{
	struct vault_world world;
	struct lines lines, other;
	char *device = begin(&world, &lines);

	export(&world, &other);
	assert_int_equal(lines.count, other.count);
	for (size_t i = 0; i < lines.count; i++) {
		char *own = lines.text[i];

		lines.text[i] = other.text[i];
		expect_refused(&world, &lines, "from another export", i);
		lines.text[i] = own;
	}
	lines_free(&other);
	lines_free(&lines);
	free(device);
	vault_world_end(&world);
}

static void another_key_is_named_with_what_to_do(void **state)
{
	struct vault_world world;
	struct lines lines;
	struct mauth_error error;
	char *device = begin(&world, &lines), id[MAUTH_SEAL_KEY_ID_SIZE];

	snprintf(id, sizeof(id), "%s", mauth_vault_key_id(world.vault));
	free(world.keys);
	world.keys = NULL;
	make_empty(&world);
	assert_int_equal(import(&world, &lines, true, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, id));
	assert_non_null(strstr(error.advice, "modernauth.key"));
	lines_free(&lines);
	free(device);
	vault_world_end(&world);
}

/* -- into a store that is used ------------------------------------------------------------------------------ */

static void a_used_store_is_replaced_only_if_that_is_wanted(void **state)
{
	struct vault_world world;
	struct lines lines;
	struct mauth_error error;
	char *device = begin(&world, &lines), *before = fake_store_list(world.store), *after;

	world_enrol(&world, "carol@contoso.com", "refresh-token-3");
	assert_int_equal(import(&world, &lines, false, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "--replace"));
	assert_string_equal(world_refresh_token(&world, "carol@contoso.com"), "refresh-token-3");
	assert_int_equal(import(&world, &lines, true, &error), MAUTH_OK);
	after = fake_store_list(world.store);
	assert_string_equal(before, after);
	vault_world_restart(&world);
	assert_null(world_enrolment(&world, "carol@contoso.com"));
	lines_free(&lines);
	free(before);
	free(after);
	free(device);
	vault_world_end(&world);
}

static void hear_progress(const struct mauth_rekey_progress *progress, void *context)
{
	*(unsigned int *)context += progress->finished;
}

static void an_import_waits_until_everything_is_sealed_anew(void **state)
{
	struct vault_world world;
	struct lines lines;
	struct mauth_error error;
	char *device = begin(&world, &lines);
	unsigned int finished = 0;

	lines_free(&lines);
	assert_int_equal(mauth_vault_rekey(world.vault, hear_progress, &finished, &error), MAUTH_OK);
	export(&world, &lines);
	assert_int_equal(import(&world, &lines, true, &error), MAUTH_TEMPORARY);
	fake_loop_run(world.w.loop, 1000);
	assert_int_equal(finished, 1);
	assert_int_equal(import(&world, &lines, true, &error), MAUTH_OK);
	lines_free(&lines);
	free(device);
	vault_world_end(&world);
}

static void an_import_of_nothing_is_no_import(void **state)
{
	const struct lines none = { .count = 0 };
	struct vault_world world;
	struct mauth_error error;

	vault_world_open_with(&world, "E");
	assert_int_equal(import(&world, &none, true, &error), MAUTH_CONFIG);
	vault_world_end(&world);
}

static void count_failure(const struct mauth_error *error, void *context)
{
	*(unsigned int *)context += error != NULL;
}

static void a_store_that_fails_takes_none_of_it(void **state)
{
	struct vault_world world;
	struct lines lines;
	struct mauth_import *import = mauth_import_new();
	char *device = begin(&world, &lines), *before, *after;
	unsigned int calls = 0;
	size_t rows;

	world_enrol(&world, "carol@contoso.com", "refresh-token-3");
	before = fake_store_list(world.store);
	for (size_t i = 0; i < lines.count; i++)
		assert_int_equal(mauth_import_line(import, world.vault, lines.text[i], NULL), MAUTH_OK);
	fake_store_fail(world.store, "disk full");
	assert_int_equal(mauth_import_finish(import, world.vault, true, count_failure, &calls, &rows, NULL),
			 MAUTH_OK);
	mauth_import_free(&import);
	world_turn(&world.w);
	fake_store_fail(world.store, NULL);
	assert_int_equal(calls, 1);
	after = fake_store_list(world.store);
	assert_string_equal(before, after);
	lines_free(&lines);
	free(before);
	free(after);
	free(device);
	vault_world_end(&world);
}

/* -- large rows --------------------------------------------------------------------------------------------- */

static void the_largest_refresh_token_can_be_exported(void **state)
{
	struct vault_world world;
	struct lines lines;
	char *token = mauth_new(MAUTH_REFRESH_TOKEN_MAX + 1), account[MAUTH_USER_MAX + 1];

	memset(token, 't', MAUTH_REFRESH_TOKEN_MAX);
	memset(account, 'a', MAUTH_USER_MAX);
	memcpy(account + MAUTH_USER_MAX - 12, "@contoso.com", 13);
	vault_world_open_with(&world, "E");
	world_enrol(&world, account, token);
	export(&world, &lines);
	/* A line of the wire's, with what stands around it. */
	for (size_t i = 0; i < lines.count; i++)
		assert_true(strlen(lines.text[i]) < MAUTH_LINE_MAX - 256);
	make_empty(&world);
	assert_int_equal(import(&world, &lines, false, NULL), MAUTH_OK);
	vault_world_restart(&world);
	assert_int_equal(strlen(world_refresh_token(&world, account)), 255);
	lines_free(&lines);
	free(token);
	vault_world_end(&world);
}

static void a_row_that_is_too_large_is_said_instead_of_left_out(void **state)
{
	struct vault_world world;
	struct lines lines = { .count = 0 };
	struct mauth_error error;
	char *value = mauth_new(12001);
	size_t rows;

	memset(value, 'v', 12000);
	vault_world_open_with(&world, "E");
	fake_store_put(world.store, MAUTH_REFRESH_TOKEN_KIND, "contoso/carol@contoso.com", value);
	assert_int_equal(mauth_vault_export(world.vault, keep_line, &lines, &rows, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "too large"));
	lines_free(&lines);
	fake_store_put(world.store, MAUTH_REFRESH_TOKEN_KIND, "contoso/carol@contoso.com", "\xff");
	assert_int_equal(mauth_vault_export(world.vault, keep_line, &lines, &rows, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "carol@contoso.com"));
	lines_free(&lines);
	free(value);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_export_makes_an_empty_store_the_same),
		cmocka_unit_test(an_export_says_nothing_in_clear),
		cmocka_unit_test(every_change_of_every_line_is_noticed),
		cmocka_unit_test(no_line_of_another_export_takes_the_place_of_one),
		cmocka_unit_test(another_key_is_named_with_what_to_do),
		cmocka_unit_test(a_used_store_is_replaced_only_if_that_is_wanted),
		cmocka_unit_test(an_import_waits_until_everything_is_sealed_anew),
		cmocka_unit_test(an_import_of_nothing_is_no_import),
		cmocka_unit_test(a_store_that_fails_takes_none_of_it),
		cmocka_unit_test(the_largest_refresh_token_can_be_exported),
		cmocka_unit_test(a_row_that_is_too_large_is_said_instead_of_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
