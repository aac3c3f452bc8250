/* SPDX-License-Identifier: MIT */
#include "core/hybrid-map.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH "/etc/mailboxes"

static struct mauth_side_map *load(const char *text)
{
	struct mauth_side_map *map;
	struct mauth_error error;

	if (mauth_side_map_new(mauth_strdup(text), strlen(text), PATH, &map, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	return map;
}

static const char *side_at(const struct mauth_side_map *map, const char *name, int64_t now)
{
	const struct mauth_move *move = mauth_side_map_find(map, name);

	return move == NULL ? "nothing" : mauth_side_name(mauth_move_side(move, now));
}

static void a_user_goes_before_his_domain(void **state)
{
	struct mauth_side_map *map = load("# people\n\nAnna@Contoso.com cloud\n@contoso.com\tonprem # all others\r\n"
					  "a#b@contoso.com cloud");

	assert_int_equal(mauth_side_map_count(map), 3);
	assert_string_equal(side_at(map, "anna@contoso.com", 1), "cloud");
	assert_string_equal(side_at(map, "a#b@contoso.com", 1), "cloud");
	assert_string_equal(side_at(map, "bob@contoso.com", 1), "onprem");
	/* Only this domain, not those below it. */
	assert_string_equal(side_at(map, "bob@sub.contoso.com", 1), "nothing");
	assert_string_equal(side_at(map, "bob@fabrikam.com", 1), "nothing");
	assert_string_equal(side_at(map, "", 1), "nothing");
	mauth_side_map_free(&map);
}

static void a_move_has_two_sides(void **state)
{
	struct mauth_side_map *map = load("bob@contoso.com cloud 2026-12-01T22:00:00Z\n"
					  "eve@contoso.com onprem 2026-12-01T23:00:00+01:00\n");
	const int64_t instant = 1796162400;

	assert_string_equal(side_at(map, "bob@contoso.com", instant - 1), "onprem");
	assert_string_equal(side_at(map, "bob@contoso.com", instant), "cloud");
	assert_string_equal(side_at(map, "eve@contoso.com", instant - 1), "cloud");
	assert_string_equal(side_at(map, "eve@contoso.com", instant), "onprem");
	mauth_side_map_free(&map);
}

static void a_section_holds_for_lines_without_a_side(void **state)
{
	struct mauth_side_map *map = load("\xef\xbb\xbf[cloud 2026-12-01T22:00:00Z] # wave 1\na@x.example\nb@x.example onprem\n"
					  "[onprem]\nc@x.example\n[]\nd@x.example cloud\n");
	const int64_t instant = 1796162400;

	assert_string_equal(side_at(map, "a@x.example", instant - 1), "onprem");
	assert_string_equal(side_at(map, "a@x.example", instant), "cloud");
	assert_string_equal(side_at(map, "b@x.example", instant), "onprem");
	assert_string_equal(side_at(map, "c@x.example", instant), "onprem");
	assert_string_equal(side_at(map, "d@x.example", 1), "cloud");
	mauth_side_map_free(&map);
}

#define MOVE "\"cloud\" or \"onprem\" was expected, and after it an instant such as 2026-12-01T22:00:00Z or nothing"
#define NAME "an address (anna@contoso.com) or a domain (@contoso.com) was expected first"
#define SECTION "\"[cloud 2026-12-01T22:00:00Z]\" was expected, or \"[]\" to end a section"

static void a_mistake_is_named_with_its_line(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "a@x.example\n", PATH ":1: a@x.example has no side; \"cloud\" or \"onprem\" was expected after it, or a section "
		  "[cloud ...] above it" },
		{ "[cloud]\n[]\na@x.example\n", PATH ":3: a@x.example has no side; \"cloud\" or \"onprem\" was expected after it, "
		  "or a section [cloud ...] above it" },
		{ "#\na@x.example Cloud\n", PATH ":2: " MOVE },
		{ "a@x.example cloud tomorrow\n", PATH ":1: " MOVE },
		{ "a@x.example cloud 2026-12-01T22:00:00Z more\n", PATH ":1: " MOVE },
		{ "a@x.example cloud 2026-12-01 22:00\n", PATH ":1: " MOVE },
		{ "a@x.example cloud 2026-11-31T00:00:00Z\n", PATH ":1: " MOVE },
		{ "a@x.example cloud 2026-12-01T22:00:00\n", PATH ":1: " MOVE },
		{ "a@x.example cloud 2026-12-01T22:00:00+25:00\n", PATH ":1: " MOVE },
		{ "a@x.example cloud 1969-12-31T23:59:59Z\n", PATH ":1: " MOVE },
		{ "[cloud] a@x.example\n", PATH ":1: " SECTION },
		{ "[cloud\n", PATH ":1: " SECTION },
		{ "[sky]\n", PATH ":1: " MOVE },
		{ "anna cloud\n", PATH ":1: " NAME },
		{ "a@ cloud\n", PATH ":1: " NAME },
		{ "a@b@c cloud\n", PATH ":1: " NAME },
		{ "a@x.example,cloud\n", PATH ":1: " NAME },
		{ "a@x.example cloud\n\nA@X.example onprem\n", PATH ":3: a@x.example is in line 1 already; one line was expected" },
		{ "\xff@x.example cloud\n", PATH " is not UTF-8; a text file was expected" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_side_map *map;
		struct mauth_error error = { .text = "" };

		assert_int_equal(mauth_side_map_new(mauth_strdup(cases[i].text), strlen(cases[i].text), PATH, &map, &error),
				 MAUTH_CONFIG);
		assert_null(map);
		assert_string_equal(error.text, cases[i].message);
	}
}

static void a_nul_is_no_text(void **state)
{
	static const char text[] = "a@x.example cloud\nb@x.\0example cloud\n";
	char *copy = mauth_new(sizeof(text));
	struct mauth_side_map *map;
	struct mauth_error error;

	memcpy(copy, text, sizeof(text));
	assert_int_equal(mauth_side_map_new(copy, sizeof(text) - 1, PATH, &map, &error), MAUTH_CONFIG);
	assert_string_equal(error.text, PATH ":2: there is a NUL in it; a text file was expected");
}

static void a_name_that_is_too_long_is_refused(void **state)
{
	struct mauth_buf buf = { 0 };
	struct mauth_side_map *map;
	struct mauth_error error;
	size_t size;

	while (buf.size < MAUTH_USER_MAX)
		mauth_buf_putc(&buf, 'a');
	mauth_buf_puts(&buf, "@x.example cloud");
	size = buf.size;
	assert_int_equal(mauth_side_map_new(mauth_strdup(buf.data), size, PATH, &map, &error), MAUTH_CONFIG);
	mauth_buf_free(&buf);
}

static void an_empty_file_is_a_map(void **state)
{
	struct mauth_side_map *map = load("");

	assert_int_equal(mauth_side_map_count(map), 0);
	assert_string_equal(side_at(map, "a@x.example", 1), "nothing");
	mauth_side_map_free(&map);
}

static void many_are_all_found(void **state)
{
	struct mauth_buf buf = { 0 };
	struct mauth_side_map *map;
	char name[64];

	for (unsigned int i = 0; i < 20000; i++)
		mauth_buf_printf(&buf, "user%u@x.example %s\n", i, i % 2 == 0 ? "cloud" : "onprem");
	map = load(buf.data);
	mauth_buf_free(&buf);
	for (unsigned int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "user%u@x.example", i);
		assert_string_equal(side_at(map, name, 1), i % 2 == 0 ? "cloud" : "onprem");
	}
	mauth_side_map_free(&map);
}

static void instants_are_written_as_they_are_read(void **state)
{
	static const char *const texts[] = { "1970-01-01T00:00:01Z", "2028-02-29T23:59:59Z", "9999-12-31T23:59:59Z" };
	char again[MAUTH_INSTANT_SIZE];
	int64_t secs;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_true(mauth_instant_parse(texts[i], &secs));
		mauth_instant_text(secs, again);
		assert_string_equal(again, texts[i]);
	}
	assert_true(mauth_instant_parse("2026-12-01T22:00:00-05:30", &secs));
	mauth_instant_text(secs, again);
	assert_string_equal(again, "2026-12-02T03:30:00Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_user_goes_before_his_domain),
		cmocka_unit_test(a_move_has_two_sides),
		cmocka_unit_test(a_section_holds_for_lines_without_a_side),
		cmocka_unit_test(a_mistake_is_named_with_its_line),
		cmocka_unit_test(a_nul_is_no_text),
		cmocka_unit_test(a_name_that_is_too_long_is_refused),
		cmocka_unit_test(an_empty_file_is_a_map),
		cmocka_unit_test(many_are_all_found),
		cmocka_unit_test(instants_are_written_as_they_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
