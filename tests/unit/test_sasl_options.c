/* SPDX-License-Identifier: MIT */
/* The options of the SASL plugin and the file that explains them. argv: that file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "sasl/options.h"

static const char *shipped;
static char directory[64];

static int get_conf_path(void *context, char **path_r)
{
	static char path[128];

	snprintf(path, sizeof(path), "/nonexistent:%s:/dev/null", directory);
	*path_r = path;
	return SASL_OK;
}

static int get_callback(sasl_conn_t *conn, unsigned long id, sasl_callback_ft *proc_r, void **context_r)
{
	assert_int_equal(id, SASL_CB_GETCONFPATH);
	*proc_r = (sasl_callback_ft)(void (*)(void))get_conf_path;
	*context_r = NULL;
	return SASL_OK;
}

static int get_option(void *context, const char *plugin, const char *option, const char **result_r, unsigned int *size_r)
{
	return SASL_FAIL;
}

static const sasl_utils_t utils = { .getcallback = get_callback, .getopt = get_option };

static void what_the_file_says_are_the_defaults(void **state)
{
	struct mauth_sasl_options without, with;
	char path[128], line[512];
	size_t count = 0;
	FILE *in = fopen(shipped, "r"), *out;

	assert_non_null(in);
	strcpy(directory, "/tmp/ma-options-XXXXXX");
	assert_non_null(mkdtemp(directory));
	mauth_sasl_options(&utils, &without);
	assert_string_equal(without.wrong, "");
	assert_string_equal(without.socket, "private/modernauth-relay");

	snprintf(path, sizeof(path), "%s/modernauth.conf", directory);
	out = fopen(path, "w");
	assert_non_null(out);
	while (fgets(line, sizeof(line), in) != NULL) {
		bool option = strncmp(line, "#modernauth_", 12) == 0;

		fputs(line + option, out);
		count += option;
	}
	fclose(in);
	fclose(out);
	mauth_sasl_options(&utils, &with);
	assert_string_equal(with.wrong, "");
	assert_memory_equal(&with, &without, sizeof(with));
	assert_int_equal(count, 5);
	unlink(path);
	rmdir(directory);
}

static void a_file_that_cannot_be_read_is_said(void **state)
{
	struct mauth_sasl_options options;
	char path[128];

	strcpy(directory, "/tmp/ma-options-XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/modernauth.conf", directory);
	/* Root may read everything; nobody can follow this. */
	assert_int_equal(symlink("modernauth.conf", path), 0);
	mauth_sasl_options(&utils, &options);
	assert_non_null(strstr(options.wrong, "modernauth.conf: open: Too many levels of symbolic links"));
	unlink(path);
	rmdir(directory);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_file_says_are_the_defaults),
		cmocka_unit_test(a_file_that_cannot_be_read_is_said),
	};

	if (argc != 2)
		return 2;
	shipped = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
