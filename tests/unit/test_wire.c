/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/wire.h"

/* Parses a copy of text, which the caller frees after use of *line_r. */
static char *parse(const char *text, size_t size, bool with_id, struct mauth_wire_line *line_r, bool *ok_r,
		   const char **error_r)
{
	char *copy = malloc(size + 1);

	assert_non_null(copy);
	memcpy(copy, text, size);
	copy[size] = '\0';
	*error_r = NULL;
	*ok_r = mauth_wire_parse(copy, size, with_id, line_r, error_r);
	return copy;
}

static void a_written_line_reads_back(void **state)
{
	static const char odd[] = "\001\t\n\r\0" "0tnr1=\xc3\xa4";
	struct mauth_buf buf = { 0 };
	struct mauth_wire_line line;
	const char *error;
	char *copy;
	bool ok;

	mauth_wire_begin(&buf, "LOGIN");
	mauth_wire_id(&buf, UINT32_MAX);
	mauth_wire_str(&buf, "user", "a=b@example.com");
	mauth_wire_str(&buf, "absent", NULL);
	mauth_wire_data(&buf, "pass", odd, sizeof(odd) - 1);
	mauth_wire_num(&buf, "rport", 65535);
	mauth_wire_num(&buf, "skew", -3);
	mauth_wire_num(&buf, "least", INT64_MIN);
	mauth_wire_num(&buf, "most", INT64_MAX);
	mauth_wire_num(&buf, "none", 0);
	mauth_wire_end(&buf);

	assert_int_equal(buf.data[buf.size - 1], '\n');
	assert_null(memchr(buf.data, '\r', buf.size));
	assert_null(memchr(buf.data, '\0', buf.size));
	assert_ptr_equal(memchr(buf.data, '\n', buf.size), buf.data + buf.size - 1);
	copy = parse(buf.data, buf.size - 1, true, &line, &ok, &error);
	assert_true(ok);
	assert_string_equal(line.verb, "LOGIN");
	assert_int_equal(line.id, UINT32_MAX);
	assert_int_equal(line.count, 7);
	assert_string_equal(mauth_wire_get(&line, "least"), "-9223372036854775808");
	assert_string_equal(mauth_wire_get(&line, "most"), "9223372036854775807");
	assert_string_equal(mauth_wire_get(&line, "none"), "0");
	assert_string_equal(mauth_wire_get(&line, "user"), "a=b@example.com");
	assert_null(mauth_wire_find(&line, "absent"));
	assert_int_equal(mauth_wire_find(&line, "pass")->size, sizeof(odd) - 1);
	assert_memory_equal(mauth_wire_find(&line, "pass")->value, odd, sizeof(odd) - 1);
	assert_null(mauth_wire_get(&line, "pass"));
	assert_int_equal(mauth_wire_get_num(&line, "rport", 65535, 7), 65535);
	assert_int_equal(mauth_wire_get_num(&line, "skew", 65535, 7), 7);
	free(copy);
	mauth_buf_free(&buf);
}

static void the_escapes_are_dovecots(void **state)
{
	struct mauth_buf buf = { 0 };

	mauth_wire_data(&buf, "k", "a\0b\001c\td\ne\rf", 11);
	assert_string_equal(buf.data, "\tk=a\001" "0b\001" "1c\001td\001ne\001rf");
	mauth_buf_free(&buf);
}

static void fields_without_equals_have_an_empty_key(void **state)
{
	struct mauth_wire_line line;
	const char *error;
	bool ok;
	char *copy = parse("VERSION\tmodernauth\t1\t0", 22, false, &line, &ok, &error);

	assert_true(ok);
	assert_string_equal(line.verb, "VERSION");
	assert_int_equal(line.id, 0);
	assert_int_equal(line.count, 3);
	assert_string_equal(line.fields[0].key, "");
	assert_string_equal(line.fields[0].value, "modernauth");
	assert_string_equal(line.fields[2].value, "0");
	free(copy);
}

static void the_last_of_equal_keys_wins(void **state)
{
	struct mauth_wire_line line;
	const char *error;
	bool ok;
	char *copy = parse("OK\t1\thost=a\thost=b\tempty=\t", 26, true, &line, &ok, &error);

	assert_true(ok);
	assert_string_equal(mauth_wire_get(&line, "host"), "b");
	assert_string_equal(mauth_wire_get(&line, "empty"), "");
	assert_int_equal(line.count, 4);
	free(copy);
}

static const struct {
	const char *name, *text;
	size_t size;
	bool with_id;
} malformed[] = {
#define BAD(name, text, with_id) { name, text, sizeof(text) - 1, with_id }
	BAD("an empty line", "", false),
	BAD("an empty verb", "\tuser=a", false),
	BAD("a verb with an escape", "LO\001tGIN\tuser=a", false),
	BAD("no id", "LOGIN", true),
	BAD("an empty id", "LOGIN\t\tuser=a", true),
	BAD("id 0", "LOGIN\t0\tuser=a", true),
	BAD("a negative id", "LOGIN\t-1", true),
	BAD("an id with a sign", "LOGIN\t+1", true),
	BAD("an id with a leading zero", "LOGIN\t01", true),
	BAD("an id with a blank", "LOGIN\t 1", true),
	BAD("an id of 2^32", "LOGIN\t4294967296", true),
	BAD("an id of many digits", "LOGIN\t99999999999999999999999999", true),
	BAD("an id with letters", "LOGIN\t1x", true),
	BAD("an unknown escape", "OK\ta=\001x", false),
	BAD("an escape at the end of a field", "OK\ta=\001\tb=1", false),
	BAD("an escape at the end of the line", "OK\ta=\001", false),
	BAD("an escape in a key", "OK\ta\001t=b", false),
	BAD("an empty key", "OK\t=b", false),
	BAD("a raw NUL", "OK\ta=b\0c", false),
	BAD("a raw CR", "OK\ta=b\r", false),
	BAD("a raw LF", "OK\ta=b\nOK", false),
};

static void what_is_malformed_is_refused(void **state)
{
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		struct mauth_wire_line line;
		const char *error;
		bool ok;
		char *copy = parse(malformed[i].text, malformed[i].size, malformed[i].with_id, &line, &ok, &error);

		if (ok || error == NULL)
			fail_msg("%s was accepted", malformed[i].name);
		free(copy);
	}
}

static void sixty_four_fields_fit_and_one_more_does_not(void **state)
{
	struct mauth_buf buf = { 0 };
	struct mauth_wire_line line;
	const char *error;
	char *copy;
	bool ok;

	mauth_wire_begin(&buf, "OK");
	for (unsigned int i = 0; i < MAUTH_WIRE_FIELDS_MAX; i++)
		mauth_wire_num(&buf, "n", i);
	copy = parse(buf.data, buf.size, false, &line, &ok, &error);
	assert_true(ok);
	assert_int_equal(line.count, MAUTH_WIRE_FIELDS_MAX);
	free(copy);
	mauth_wire_num(&buf, "n", 0);
	copy = parse(buf.data, buf.size, false, &line, &ok, &error);
	assert_false(ok);
	free(copy);
	mauth_buf_free(&buf);
}

static const struct {
	const char *value;
	unsigned int max, expected;
} numbers[] = {
	{ "0", 10, 0 },
	{ "10", 10, 10 },
	{ "11", 10, 99 },
	{ "", 10, 99 },
	{ "010", 10, 99 },
	{ "-1", 10, 99 },
	{ "1 ", 10, 99 },
	{ "4294967295", UINT32_MAX, UINT32_MAX },
	{ "4294967296", UINT32_MAX, 99 },
};

static void numbers_outside_their_bounds_are_the_fallback(void **state)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct mauth_wire_line line = { .count = 1 };
		char key[] = "n", value[32];

		snprintf(value, sizeof(value), "%s", numbers[i].value);
		line.fields[0] = (struct mauth_wire_field){ key, value, strlen(value) };
		assert_int_equal(mauth_wire_get_num(&line, "n", numbers[i].max, 99), numbers[i].expected);
		assert_int_equal(mauth_wire_get_num(&line, "other", numbers[i].max, 99), 99);
	}
}

static void lines_come_out_whole_however_they_arrive(void **state)
{
	static const char stream[] = "VERSION\tmodernauth\t1\t0\n\nOK\t1\tuser=a\n";
	static const char *const expected[] = { "VERSION\tmodernauth\t1\t0", "", "OK\t1\tuser=a" };

	for (size_t chunk = 1; chunk < sizeof(stream); chunk++) {
		struct mauth_wire_reader reader = { 0 };
		size_t count = 0, size;
		bool overflow;
		char *text;

		for (size_t pos = 0; pos < sizeof(stream) - 1; pos += chunk) {
			size_t left = sizeof(stream) - 1 - pos;

			mauth_buf_append(&reader.in, stream + pos, left < chunk ? left : chunk);
			while (mauth_wire_next(&reader, &text, &size, &overflow)) {
				assert_true(count < 3);
				assert_int_equal(size, strlen(expected[count]));
				assert_string_equal(text, expected[count]);
				count++;
			}
			assert_false(overflow);
		}
		assert_int_equal(count, 3);
		mauth_wire_reader_free(&reader);
	}
}

static void the_longest_line_fits_and_one_octet_more_does_not(void **state)
{
	struct mauth_wire_reader reader = { 0 };
	char octets[MAUTH_LINE_MAX + 2], *text;
	bool overflow;
	size_t size;

	memset(octets, 'x', sizeof(octets));
	octets[MAUTH_LINE_MAX] = '\n';
	mauth_buf_append(&reader.in, octets, MAUTH_LINE_MAX);
	assert_false(mauth_wire_next(&reader, &text, &size, &overflow));
	assert_false(overflow);
	mauth_buf_append(&reader.in, "\n", 1);
	assert_true(mauth_wire_next(&reader, &text, &size, &overflow));
	assert_int_equal(size, MAUTH_LINE_MAX);
	assert_int_equal(strlen(text), MAUTH_LINE_MAX);

	octets[MAUTH_LINE_MAX] = 'x';
	octets[MAUTH_LINE_MAX + 1] = '\n';
	mauth_buf_append(&reader.in, octets, MAUTH_LINE_MAX + 1);
	assert_false(mauth_wire_next(&reader, &text, &size, &overflow));
	assert_true(overflow);
	mauth_buf_append(&reader.in, octets + MAUTH_LINE_MAX + 1, 1);
	assert_false(mauth_wire_next(&reader, &text, &size, &overflow));
	assert_true(overflow);
	mauth_wire_reader_free(&reader);
}

static void a_burst_of_lines_is_read_in_order_and_leaves_nothing(void **state)
{
	enum { LINES = 20000 };
	struct mauth_wire_reader reader = { 0 };
	unsigned int count = 0;
	bool overflow;
	size_t size;
	char *text;

	for (unsigned int i = 0; i < LINES; i++)
		mauth_buf_printf(&reader.in, "OK\t%u\n", i + 1);
	while (mauth_wire_next(&reader, &text, &size, &overflow)) {
		struct mauth_wire_line line;
		const char *error;

		assert_true(mauth_wire_parse(text, size, true, &line, &error));
		assert_int_equal(line.id, ++count);
	}
	assert_int_equal(count, LINES);
	assert_int_equal(reader.in.size, 0);
	mauth_wire_reader_free(&reader);
}

static void what_has_been_read_is_wiped_from_the_input(void **state)
{
	static const char secret[] = "pass=correct horse";
	struct mauth_wire_reader reader = { 0 };
	bool overflow;
	size_t size;
	char *text;

	/* What the buffers have behind their ends shall be known: it is looked at below. */
	for (size_t i = 0; i < 200; i++) {
		mauth_buf_putc(&reader.in, 'x');
		mauth_buf_putc(&reader.line, 'x');
	}
	memset(reader.in.data, 'x', reader.in.alloc);
	memset(reader.line.data, 'x', reader.line.alloc);
	mauth_buf_clear(&reader.in);
	mauth_buf_clear(&reader.line);
	mauth_buf_puts(&reader.in, "LOGIN\t1\t");
	mauth_buf_puts(&reader.in, secret);
	mauth_buf_puts(&reader.in, "\nLOG");
	assert_true(mauth_wire_next(&reader, &text, &size, &overflow));
	assert_non_null(strstr(text, secret));
	assert_null(memmem(reader.in.data, reader.in.alloc, "correct", 7));
	assert_false(mauth_wire_next(&reader, &text, &size, &overflow));
	assert_null(memmem(reader.line.data, reader.line.alloc, "correct", 7));
	mauth_wire_reader_free(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_written_line_reads_back),
		cmocka_unit_test(the_escapes_are_dovecots),
		cmocka_unit_test(fields_without_equals_have_an_empty_key),
		cmocka_unit_test(the_last_of_equal_keys_wins),
		cmocka_unit_test(what_is_malformed_is_refused),
		cmocka_unit_test(sixty_four_fields_fit_and_one_more_does_not),
		cmocka_unit_test(numbers_outside_their_bounds_are_the_fallback),
		cmocka_unit_test(lines_come_out_whole_however_they_arrive),
		cmocka_unit_test(the_longest_line_fits_and_one_octet_more_does_not),
		cmocka_unit_test(a_burst_of_lines_is_read_in_order_and_leaves_nothing),
		cmocka_unit_test(what_has_been_read_is_wiped_from_the_input),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
