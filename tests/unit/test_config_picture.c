/* SPDX-License-Identifier: MIT */
#include "config_files.h"

#include "core/config-picture.h"
#include "core/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const unsigned char salt[MAUTH_PICTURE_SALT_SIZE] = "salt";

static struct mauth_config_picture *picture_of(const char *text, const char *secret)
{
	const struct config_file files[] = { { "/etc/secret", secret, 0, false }, { "/etc/people", "a@contoso.com\n", 0, false },
					     { NULL, NULL, 0, false } };
	struct mauth_error error;
	struct mauth_config *config = config_files_load(text, files, &error);
	struct mauth_config_picture *picture;

	if (config == NULL)
		fail_msg("%s", error.text);
	picture = mauth_config_picture_new(config, salt);
	mauth_config_unref(&config);
	return picture;
}

static void note(const struct mauth_config_item *item, const char *change, void *context)
{
	mauth_buf_printf(context, "%s %s %s\n", item->kind, item->name, change);
}

/* What is said of going from one text to the other, and from what was written of the first. */
static void expect_changes(const char *before, const char *now, const char *expected)
{
	struct mauth_config_picture *a = picture_of(before, "s3cret"), *b = picture_of(now, "s3cret"), *again;
	struct mauth_buf changes = { 0 }, text = { 0 };

	mauth_config_picture_compare(a, b, note, &changes);
	assert_string_equal(changes.size == 0 ? "" : changes.data, expected);
	mauth_buf_clear(&changes);
	mauth_config_picture_write(a, &text);
	again = mauth_config_picture_parse(text.data, text.size);
	assert_non_null(again);
	mauth_config_picture_compare(again, b, note, &changes);
	assert_string_equal(changes.size == 0 ? "" : changes.data, expected);
	mauth_buf_free(&changes);
	mauth_buf_free(&text);
	mauth_config_picture_free(&again);
	mauth_config_picture_free(&a);
	mauth_config_picture_free(&b);
}

#define RULE(name, extra) "rule \"" name "\" { protocols = {\"imap\"} action = \"deny\" " extra "}\n"

static void what_has_changed_has_its_name(void **state)
{
	expect_changes(TENANT(""), TENANT(""), "");
	expect_changes(TENANT(""), "# a comment\n\n" TENANT("  /* and\n another */\n"), "");
	expect_changes(TENANT(""), TENANT("") RULE("a", ""), "rule a added\n");
	expect_changes(TENANT("") RULE("a", "") RULE("b", ""), TENANT("") RULE("b", "message = \"x\"") "deadline = \"18s\"\n",
		       "rule a removed\nrule b changed\nsetting deadline added\n");
	expect_changes("deadline = \"18s\"\n" TENANT(""), "deadline = \"19s\"\n" TENANT("grants = {\"password\"}\n"),
		       "setting deadline changed\ntenant contoso changed\n");
	expect_changes("default_domain = \"contoso.com\"\ndeadline = \"18s\" " TENANT(""),
		       "deadline = \"18s\"\n default_domain=\"contoso.com\" " TENANT(""), "");
}

static void of_a_secret_only_its_path_is_told(void **state)
{
	static const char text[] = TENANT("client_secret_file = \"/etc/secret\"\n")
		"rule \"r\" { users_file = \"/etc/people\" action = \"deny\" }\n";
	struct mauth_config_picture *a = picture_of(text, "s3cret"), *b = picture_of(text, "0ther");
	const struct mauth_config_item *secret = mauth_config_picture_find(a, "secret", "/etc/secret");
	struct mauth_config_record record = { .action = "service-started", .path = CONFIG_PATH, .picture = a,
					      .digest = a->items[0].digest, .version = "1" };
	struct mauth_buf changes = { 0 }, line = { 0 };
	unsigned char plain[32];
	char hex[17];

	mauth_config_picture_compare(a, b, note, &changes);
	assert_string_equal(changes.data, "secret /etc/secret changed\n");
	assert_non_null(secret);
	assert_non_null(mauth_config_picture_find(a, "file", "/etc/people"));
	mauth_config_digest("s3cret", 6, plain);
	assert_memory_not_equal(secret->digest, plain, sizeof(plain));
	mauth_record_config(&line, &record);
	assert_non_null(strstr(line.data, "{\"path\":\"/etc/secret\",\"secret\":true}"));
	assert_non_null(strstr(line.data, "{\"path\":\"/etc/people\",\"sha256\":\""));
	snprintf(hex, sizeof(hex), "%02x%02x%02x%02x", secret->digest[0], secret->digest[1], secret->digest[2], secret->digest[3]);
	assert_null(strstr(line.data, hex));
	mauth_buf_free(&changes);
	mauth_buf_free(&line);
	mauth_config_picture_free(&a);
	mauth_config_picture_free(&b);
}

static void what_is_no_picture_is_none(void **state)
{
	static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct mauth_buf good = { 0 };
	struct mauth_config_picture *picture;

	mauth_buf_printf(&good, "modernauth-config 1 %s\n%s\tfile\t/x\n", digest, digest);
	picture = mauth_config_picture_parse(good.data, good.size);
	assert_non_null(picture);
	assert_int_equal(picture->count, 1);
	mauth_config_picture_free(&picture);
	/* Cut anywhere but after a line. */
	for (size_t size = 0; size < good.size; size++) {
		picture = mauth_config_picture_parse(good.data, size);
		if (size > 0 && good.data[size - 1] == '\n')
			assert_non_null(picture);
		else
			assert_null(picture);
		mauth_config_picture_free(&picture);
	}
	good.data[30] = 'x';
	assert_null(mauth_config_picture_parse(good.data, good.size));
	mauth_buf_free(&good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_has_changed_has_its_name),
		cmocka_unit_test(of_a_secret_only_its_path_is_told),
		cmocka_unit_test(what_is_no_picture_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
