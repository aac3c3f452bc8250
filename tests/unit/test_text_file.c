/* SPDX-License-Identifier: MIT */
#include "store/text-file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/test_text_file.XXXXXX";
static char path[64], other[64];

static int begin(void **state)
{
	(void)state;
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/file", directory);
	snprintf(other, sizeof(other), "%s/other", directory);
	return 0;
}

static int end(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(other);
	return rmdir(directory);
}

static void put(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
}

static enum mauth_status read_it(const char *name, size_t max, char **text_r, struct mauth_file_stamp *stamp_r)
{
	struct mauth_error error;
	size_t size = 0;
	enum mauth_status status;

	memset(stamp_r, 0, sizeof(*stamp_r));
	status = mauth_text_files.read(NULL, name, max, text_r, &size, stamp_r, &error);
	if (status == MAUTH_OK)
		assert_int_equal(size, strlen(*text_r));
	else
		assert_non_null(strstr(error.text, name));
	return status;
}

static void a_file_is_read_with_its_stamp(void **state)
{
	struct mauth_file_stamp read, looked;
	char *text;

	put(path, "one\n");
	memset(&looked, 0, sizeof(looked));
	assert_int_equal(read_it(path, 4, &text, &read), MAUTH_OK);
	assert_string_equal(text, "one\n");
	free(text);
	assert_int_equal(mauth_text_files.look(NULL, path, &looked, NULL), MAUTH_OK);
	assert_memory_equal(&read, &looked, sizeof(read));
}

static void a_file_that_took_its_place_is_another_one(void **state)
{
	struct mauth_file_stamp before, after;

	memset(&before, 0, sizeof(before));
	memset(&after, 0, sizeof(after));
	put(path, "one\n");
	assert_int_equal(mauth_text_files.look(NULL, path, &before, NULL), MAUTH_OK);
	put(other, "two\n");
	assert_int_equal(rename(other, path), 0);
	assert_int_equal(mauth_text_files.look(NULL, path, &after, NULL), MAUTH_OK);
	assert_memory_not_equal(&before, &after, sizeof(before));
}

static void what_is_no_file_or_too_large_is_refused(void **state)
{
	struct mauth_file_stamp stamp;
	char *text;

	put(path, "12345");
	assert_int_equal(read_it(path, 4, &text, &stamp), MAUTH_CONFIG);
	assert_int_equal(read_it(directory, 100, &text, &stamp), MAUTH_CONFIG);
	assert_int_equal(read_it("/nonexistent/file", 100, &text, &stamp), MAUTH_CONFIG);
	assert_int_equal(mauth_text_files.look(NULL, "/nonexistent/file", &stamp, NULL), MAUTH_CONFIG);
	assert_int_equal(mkfifo(other, 0600), 0);
	/* Nobody writes into it: this must not wait. */
	assert_int_equal(read_it(other, 100, &text, &stamp), MAUTH_CONFIG);
}

static void an_empty_file_is_one(void **state)
{
	struct mauth_file_stamp stamp;
	char *text;

	put(path, "");
	assert_int_equal(read_it(path, 0, &text, &stamp), MAUTH_OK);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_read_with_its_stamp),
		cmocka_unit_test(a_file_that_took_its_place_is_another_one),
		cmocka_unit_test(what_is_no_file_or_too_large_is_refused),
		cmocka_unit_test(an_empty_file_is_one),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
