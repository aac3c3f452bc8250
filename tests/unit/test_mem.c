/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "fake_sinks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- texts -- */

static void only_utf8_without_detours_is_utf8(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{ "", true }, { "plain", true }, { "\xc3\xa9", true }, { "\xe2\x82\xac", true },
		{ "\xf0\x9f\x98\x80", true }, { "\xf4\x8f\xbf\xbf", true }, { "\xed\x9f\xbf", true },
		{ "\x80", false }, { "\xc3", false }, { "\xe2\x82", false }, { "\xf0\x9f\x98", false },
		{ "\xc0\xaf", false }, { "\xc1\xbf", false }, { "\xe0\x9f\xbf", false }, { "\xf0\x8f\xbf\xbf", false },
		{ "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\xf5\x80\x80\x80", false },
		{ "\xff", false }, { "a\xc3(", false }, { "\xe2\x28\xa1", false }, { "\xf0\x9f\x28\x80", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (mauth_is_utf8(rows[i].text, strlen(rows[i].text)) != rows[i].good)
			fail_msg("row %zu", i);
	}
	/* The end of the data is the end, whatever lies behind it. */
	assert_false(mauth_is_utf8("\xc3\xa9", 1));
}

static void a_clean_copy_is_cut_between_characters(void **state)
{
	static const struct {
		const char *text;
		size_t size;            /* of the array */
		const char *copy;
	} rows[] = {
		{ "abc", 8, "abc" }, { "abc", 4, "abc" }, { "abc", 3, "ab" }, { "abc", 1, "" },
		{ "a\nb\tc\x7f", 16, "a?b?c?" }, { "\x01", 2, "?" },
		{ "\xc2\x85|\xc2\xa0", 16, "?|\xc2\xa0" },      /* C1, and what follows the C1 block */
		{ "a\xc3\xa9", 4, "a\xc3\xa9" }, { "a\xc3\xa9", 3, "a" }, { "\xe2\x82\xac!", 3, "" },
		{ "\xff\xc3", 8, "??" }, { "\xe2\x82", 8, "??" },
	};
	char copy[16];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(copy, 'x', sizeof(copy));
		mauth_clean_copy(copy, rows[i].size, rows[i].text, strlen(rows[i].text));
		assert_string_equal(copy, rows[i].copy);
		assert_true(strlen(copy) < rows[i].size);
		for (size_t j = rows[i].size; j < sizeof(copy); j++)
			assert_int_equal(copy[j], 'x');
	}
	mauth_clean_copy(copy, sizeof(copy), "a\0b", 3);
	assert_string_equal(copy, "a?b");
}

static void copies_of_strings_are_whole(void **state)
{
	char *copy = mauth_strdup("text"), *part = mauth_strndup("text", 2), *none = mauth_strndup(NULL, 0);
	char *made = mauth_printf("%s-%u", "a", 7u);

	assert_null(mauth_strdup(NULL));
	assert_string_equal(copy, "text");
	assert_string_equal(part, "te");
	assert_string_equal(none, "");
	assert_string_equal(made, "a-7");
	free(copy);
	free(part);
	free(none);
	free(made);
}

static void new_memory_is_zero_even_if_there_is_none_of_it(void **state)
{
	unsigned char *block = mauth_new(64), *none = mauth_new(0), *array = mauth_new_array(0, 8);

	for (size_t i = 0; i < 64; i++)
		assert_int_equal(block[i], 0);
	assert_non_null(none);
	assert_non_null(array);
	array = mauth_grow(array, 4, 8);
	memset(array, 1, 32);
	free(block);
	free(none);
	free(array);
}

static void random_octets_differ(void **state)
{
	unsigned char a[32] = { 0 }, b[32] = { 0 };

	mauth_random(a, sizeof(a));
	mauth_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

/* -- buffers -- */

static void a_buffer_grows_and_ends_in_nul(void **state)
{
	struct mauth_buf buf = { 0 };

	mauth_buf_puts(&buf, "abc");
	mauth_buf_putc(&buf, '\0');
	mauth_buf_append(&buf, NULL, 0);
	mauth_buf_printf(&buf, "%d%s", 42, "!");
	assert_int_equal(buf.size, 7);
	assert_memory_equal(buf.data, "abc\0" "42!", 8);
	for (size_t i = 0; i < 10000; i++)
		mauth_buf_putc(&buf, 'x');
	assert_int_equal(buf.size, 10007);
	assert_memory_equal(buf.data, "abc\0" "42!xx", 9);
	assert_int_equal(buf.data[buf.size], '\0');
	mauth_buf_free(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.size + buf.alloc, 0);
	mauth_buf_free(&buf);
}

static void what_is_consumed_or_cleared_is_wiped(void **state)
{
	struct mauth_buf buf = { 0 };

	mauth_buf_consume(&buf, 3);
	mauth_buf_clear(&buf);
	mauth_buf_puts(&buf, "secret-rest");
	mauth_buf_consume(&buf, 7);
	assert_string_equal(buf.data, "rest");
	for (size_t i = 4; i < 11; i++)
		assert_int_equal(buf.data[i], 0);
	mauth_buf_consume(&buf, 99);
	assert_int_equal(buf.size, 0);
	mauth_buf_puts(&buf, "again");
	mauth_buf_clear(&buf);
	assert_int_equal(buf.size, 0);
	for (size_t i = 0; i < 11; i++)
		assert_int_equal(buf.data[i], 0);
	mauth_buf_free(&buf);
}

/* -- secrets -- */

static void a_secret_is_a_copy_with_a_nul_behind_it(void **state)
{
	char data[] = "pass\0word";
	struct mauth_secret *secret = mauth_secret_new(data, 9), *copy = mauth_secret_dup(secret);
	struct mauth_secret *empty = mauth_secret_new(NULL, 0), *none = NULL;

	memset(data, 'x', sizeof(data));
	assert_int_equal(mauth_secret_size(secret), 9);
	assert_memory_equal(mauth_secret_expose(secret), "pass\0word", 10);
	assert_true(mauth_secret_equal(secret, copy));
	assert_ptr_not_equal(mauth_secret_expose(secret), mauth_secret_expose(copy));
	assert_string_equal(mauth_secret_expose(empty), "");
	assert_null(mauth_secret_dup(NULL));
	mauth_secret_free(&none);
	mauth_secret_free(&secret);
	assert_null(secret);
	mauth_secret_free(&copy);
	mauth_secret_free(&empty);
}

static void secrets_are_equal_in_every_octet_or_not_at_all(void **state)
{
	static const struct {
		const char *a, *b;
		bool equal;
	} rows[] = {
		{ "", "", true }, { "a", "a", true }, { "a", "", false }, { "a", "b", false }, { "a", "A", false },
		{ "abc", "abd", false }, { "abc", "abcd", false }, { "\xc3\xa9", "\xc3\xa8", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_secret *a = mauth_secret_new(rows[i].a, strlen(rows[i].a));
		struct mauth_secret *b = mauth_secret_new(rows[i].b, strlen(rows[i].b));

		assert_int_equal(mauth_secret_equal(a, b), rows[i].equal);
		mauth_secret_free(&a);
		mauth_secret_free(&b);
	}
}

static void a_token_id_is_half_of_the_sha256(void **state)
{
	char id[MAUTH_TOKEN_ID_SIZE];

	/* FIPS 180-2, "abc" */
	mauth_token_id("abc", 3, id);
	assert_string_equal(id, "ba7816bf8f01cfea414140de5dae2223");
}

/* -- names and errors -- */

static void every_name_is_read_as_what_it_names(void **state)
{
	enum mauth_status status = MAUTH_STATUS_COUNT;
	enum mauth_service service = MAUTH_SERVICE_COUNT;
	enum mauth_upstream_result result = MAUTH_UPSTREAM_COUNT;

	for (unsigned int i = 0; i < MAUTH_STATUS_COUNT; i++) {
		assert_true(mauth_status_parse(mauth_status_name((enum mauth_status)i), &status));
		assert_int_equal(status, i);
	}
	for (unsigned int i = 0; i < MAUTH_SERVICE_COUNT; i++) {
		assert_true(mauth_service_parse(mauth_service_name((enum mauth_service)i), &service));
		assert_int_equal(service, i);
	}
	for (unsigned int i = 0; i < MAUTH_UPSTREAM_COUNT; i++) {
		assert_true(mauth_upstream_result_parse(
			mauth_upstream_result_name((enum mauth_upstream_result)i), &result));
		assert_int_equal(result, i);
	}
}

static void an_unknown_name_changes_nothing(void **state)
{
	enum mauth_status status = MAUTH_LOCKED;
	enum mauth_service service = MAUTH_SERVICE_POP3;
	enum mauth_upstream_result result = MAUTH_UPSTREAM_FAILED;

	assert_false(mauth_status_parse("OK", &status));
	assert_false(mauth_status_parse("", &status));
	assert_false(mauth_service_parse("smtp", &service));
	assert_false(mauth_upstream_result_parse("accept", &result));
	assert_int_equal(status, MAUTH_LOCKED);
	assert_int_equal(service, MAUTH_SERVICE_POP3);
	assert_int_equal(result, MAUTH_UPSTREAM_FAILED);
	assert_string_equal(mauth_status_name(MAUTH_STATUS_COUNT), "unknown");
}

static void an_error_is_one_clean_line(void **state)
{
	struct mauth_error error;
	char longer[2 * MAUTH_TEXT_MAX];

	memset(&error, 'x', sizeof(error));
	assert_int_equal(mauth_fail(&error, MAUTH_LOCKED, 50053, "line\nbreak \xff%s", "!"), MAUTH_LOCKED);
	assert_int_equal(error.status, MAUTH_LOCKED);
	assert_int_equal(error.code, 50053);
	assert_string_equal(error.text, "line?break ?!");
	assert_string_equal(error.advice, "");
	assert_int_equal(mauth_fail(NULL, MAUTH_POLICY, 0, "%s", "nobody reads it"), MAUTH_POLICY);

	/* Its own text may be part of the new one. */
	mauth_fail(&error, MAUTH_CONFIG, 0, "a: %s", error.text);
	assert_string_equal(error.text, "a: line?break ?!");
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	mauth_fail(&error, MAUTH_CONFIG, 0, "%s", longer);
	assert_int_equal(strlen(error.text), MAUTH_TEXT_MAX - 1);
}

static void a_log_line_is_clean_and_bounded(void **state)
{
	struct fake_sinks sinks;
	char longer[4096];

	fake_sinks_init(&sinks);
	memset(longer, 'z', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	mauth_log(&sinks.log, MAUTH_WARNING, "forged\nerror %s", "\x1b[2J");
	assert_string_equal(sinks.lines, "warning forged?error ?[2J\n");
	mauth_log(&sinks.log, MAUTH_INFO, "%s", longer);
	assert_true(strlen(sinks.lines) < 1100);
	fake_sinks_free(&sinks);
}

static void debug_lines_are_written_where_they_are_wanted(void **state)
{
	struct fake_sinks sinks;

	fake_sinks_init(&sinks);
	sinks.log.debug = false;
	mauth_log(&sinks.log, MAUTH_DEBUG, "unwanted");
	assert_string_equal(sinks.lines, "");
	sinks.log.debug = true;
	mauth_log(&sinks.log, MAUTH_DEBUG, "wanted");
	assert_string_equal(sinks.lines, "debug wanted\n");
	fake_sinks_free(&sinks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_utf8_without_detours_is_utf8),
		cmocka_unit_test(a_clean_copy_is_cut_between_characters),
		cmocka_unit_test(copies_of_strings_are_whole),
		cmocka_unit_test(new_memory_is_zero_even_if_there_is_none_of_it),
		cmocka_unit_test(random_octets_differ),
		cmocka_unit_test(a_buffer_grows_and_ends_in_nul),
		cmocka_unit_test(what_is_consumed_or_cleared_is_wiped),
		cmocka_unit_test(a_secret_is_a_copy_with_a_nul_behind_it),
		cmocka_unit_test(secrets_are_equal_in_every_octet_or_not_at_all),
		cmocka_unit_test(a_token_id_is_half_of_the_sha256),
		cmocka_unit_test(every_name_is_read_as_what_it_names),
		cmocka_unit_test(an_unknown_name_changes_nothing),
		cmocka_unit_test(an_error_is_one_clean_line),
		cmocka_unit_test(a_log_line_is_clean_and_bounded),
		cmocka_unit_test(debug_lines_are_written_where_they_are_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
