/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "doveadm/map-edit.h"

#define AT 1796162400                   /* 2026-12-01T22:00:00Z */

static struct mauth_user_list read_list(const char *text)
{
	char *copy = mauth_strdup(text);
	struct mauth_user_list list;
	struct mauth_error error;

	if (mauth_user_list_read(copy, strlen(text), "list", &list, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	free(copy);
	return list;
}

/* Moves users in text and compares; what comes out must not change again. */
static void expect(const char *text, const char *users, const struct mauth_move *move, const char *result, size_t added,
		   size_t changed, size_t unchanged)
{
	struct mauth_user_list list = read_list(users);
	struct mauth_buf out = { .data = NULL }, again = { .data = NULL };
	struct mauth_map_edit edit;
	struct mauth_error error;

	assert_int_equal(mauth_map_edit(text, strlen(text), "map", &list, move, &out, &edit, &error), MAUTH_OK);
	assert_string_equal(out.data, result);
	assert_int_equal(edit.added, added);
	assert_int_equal(edit.changed, changed);
	assert_int_equal(edit.unchanged, unchanged);
	assert_int_equal(mauth_map_edit(out.data, out.size, "map", &list, move, &again, &edit, &error), MAUTH_OK);
	assert_string_equal(again.data, out.data);
	assert_int_equal(edit.unchanged, list.count);
	mauth_buf_free(&out);
	mauth_buf_free(&again);
	mauth_user_list_free(&list);
}

static void users_are_added_at_the_end(void **state)
{
	const struct mauth_move move = { MAUTH_SIDE_CLOUD, AT };

	expect("# mine\n@x.example onprem", "b@x.example\n\nA@x.example # boss\nb@x.example\n", &move,
	       "# mine\n@x.example onprem\na@x.example cloud 2026-12-01T22:00:00Z\nb@x.example cloud 2026-12-01T22:00:00Z\n", 2, 0, 0);
}

static void lines_of_users_change_where_they_are(void **state)
{
	const struct mauth_move move = { MAUTH_SIDE_CLOUD, AT };

	expect("a@x.example onprem   # keeps PST\r\n\n  b@x.example cloud 2026-12-01T23:00:00+01:00\nc@x.example cloud\n",
	       "a@x.example\nb@x.example\n", &move,
	       "a@x.example cloud 2026-12-01T22:00:00Z # keeps PST\r\n\n  b@x.example cloud 2026-12-01T23:00:00+01:00\n"
	       "c@x.example cloud\n", 0, 1, 1);
}

static void what_a_section_says_counts(void **state)
{
	const struct mauth_move now = { MAUTH_SIDE_CLOUD, 0 };

	expect("[cloud]\na@x.example\n[onprem]\nb@x.example\n", "a@x.example\nb@x.example\nc@x.example\n", &now,
	       "[cloud]\na@x.example\n[onprem]\nb@x.example cloud\nc@x.example cloud\n", 1, 1, 1);
}

static void a_new_map_explains_itself(void **state)
{
	const struct mauth_move back = { MAUTH_SIDE_ONPREM, AT };
	char text[2048];

	snprintf(text, sizeof(text), "%sa@x.example onprem 2026-12-01T22:00:00Z\n", mauth_map_header);
	expect(mauth_map_header, "a@x.example", &back, text, 1, 0, 0);
}

static void a_broken_map_is_left_alone(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "b@x.example cloud\nnonsense\n",
		  "map:2: an address (anna@contoso.com) or a domain (@contoso.com) was expected first" },
		{ "b@x.example\n", "map:1: b@x.example has no side; \"cloud\" or \"onprem\" was expected after it" },
		{ "a@x.example cloud\nA@x.example onprem\n", "map:2: a@x.example is in line 1 already; one line was expected" },
	};
	const struct mauth_move move = { MAUTH_SIDE_CLOUD, AT };
	struct mauth_user_list list = read_list("a@x.example");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_buf out = { .data = NULL };
		struct mauth_map_edit edit;
		struct mauth_error error = { .text = "" };

		assert_int_equal(mauth_map_edit(cases[i].text, strlen(cases[i].text), "map", &list, &move, &out, &edit, &error),
				 MAUTH_CONFIG);
		assert_string_equal(error.text, cases[i].message);
		mauth_buf_free(&out);
	}
	mauth_user_list_free(&list);
}

static void a_list_of_users_is_nothing_else(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "user,mailbox\n", "list:1: an address (anna@contoso.com) or a domain (@contoso.com) was expected first" },
		{ "a@x.example\nb@x.example cloud\n", "list:2: one address, and nothing after it, was expected" },
		{ "[cloud]\n", "list:1: one address, and nothing after it, was expected" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *copy = mauth_strdup(cases[i].text);
		struct mauth_user_list list;
		struct mauth_error error = { .text = "" };

		assert_int_equal(mauth_user_list_read(copy, strlen(copy), "list", &list, &error), MAUTH_CONFIG);
		assert_string_equal(error.text, cases[i].message);
		mauth_user_list_free(&list);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_are_added_at_the_end),
		cmocka_unit_test(lines_of_users_change_where_they_are),
		cmocka_unit_test(what_a_section_says_counts),
		cmocka_unit_test(a_new_map_explains_itself),
		cmocka_unit_test(a_broken_map_is_left_alone),
		cmocka_unit_test(a_list_of_users_is_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
