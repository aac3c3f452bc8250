/* SPDX-License-Identifier: MIT */
#include "config_files.h"
#include "core/mailbox.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FABRIKAM \
	"tenant \"fabrikam\" { domains = {\"mail.fabrikam.com\"} upn_domain = \"fabrikam.com\" " \
	"tenant_id = fabrikam.com client_id = 9e5f94bc-e8a4-4e73-b8be-63364c29d753 }\n"
#define SHARED "rule shared { mailboxes = \"*\" }\n"
#define BOTH_SEPARATORS "mailbox_separators = \"\\\\+\"\n"

static void remember_warning(void *context, const char *text)
{
	mauth_buf_puts(context, text);
	mauth_buf_puts(context, "\n");
}

static struct mauth_config *load(const char *before, const char *after, struct mauth_buf *warnings)
{
	char *text = mauth_printf("%s" TENANT("") FABRIKAM "%s", before, after);
	struct config_file files[] = { { CONFIG_PATH, text, 0, false }, { 0 } };
	struct mauth_config *config = NULL;
	struct mauth_error error;

	if (mauth_config_load(CONFIG_PATH, config_files_read, files, warnings == NULL ? NULL : remember_warning,
			      warnings, &config, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	free(text);
	return config;
}

/* What a login should become. */
struct expectation {
	const char *text, *login;
	const char *mailbox, *account;  /* NULL: the login */
	const char *map;                /* NULL: none */
	bool asked;
};

static void check(const struct mauth_config *config, const struct expectation *expected, size_t count)
{
	for (size_t i = 0; i < count; i++, expected++) {
		const char *mailbox = expected->mailbox != NULL ? expected->mailbox : expected->login;
		const char *account = expected->account != NULL ? expected->account : expected->login;
		struct mauth_mailbox got;
		struct mauth_error error;

		if (mauth_mailbox_resolve(config, expected->text, &got, &error) != MAUTH_OK)
			fail_msg("%s: %s", expected->text, error.text);
		if (strcmp(got.login, expected->login) != 0 || strcmp(got.account, account) != 0 ||
		    strcmp(got.mailbox, mailbox) != 0 || got.asked_mailbox != expected->asked)
			fail_msg("%s: login %s account %s mailbox %s asked %d", expected->text, got.login, got.account,
				 got.mailbox, got.asked_mailbox);
		assert_ptr_equal(got.tenant, config->tenants[strstr(expected->login, "fabrikam") != NULL]);
		if (expected->map == NULL)
			assert_null(got.map);
		else
			assert_string_equal(got.map->name, expected->map);
	}
}
#define CHECK(config, expected) check(config, expected, sizeof(expected) / sizeof((expected)[0]))

static void a_plain_login_is_its_own_account_and_mailbox(void **state)
{
	static const struct expectation expected[] = {
		{ "Anna@Contoso.com", "anna@contoso.com" },
		{ "anna", "anna@contoso.com" },
		{ "anna+news", "anna+news@contoso.com" },
		{ "anna@mail.fabrikam.com", "anna@fabrikam.com" },
	};
	struct mauth_config *config = load("default_domain = contoso.com\n", "", NULL);

	CHECK(config, expected);
	mauth_config_unref(&config);
	/* A rule with mailboxes changes nothing for those who name none. */
	config = load("default_domain = contoso.com\n", SHARED, NULL);
	CHECK(config, expected);
	mauth_config_unref(&config);
}

#define ASKED(text_, login_, mailbox_) { .text = (text_), .login = (login_), .mailbox = (mailbox_), .asked = true }

static void a_login_may_name_another_mailbox(void **state)
{
	static const struct expectation expected[] = {
		ASKED("anna\\shared@contoso.com", "anna@contoso.com", "shared@contoso.com"),
		ASKED("anna+Shared@contoso.com", "anna@contoso.com", "shared@contoso.com"),
		ASKED("Anna@contoso.com\\shared", "anna@contoso.com", "shared@contoso.com"),
		ASKED("anna@contoso.com+shared@contoso.com", "anna@contoso.com", "shared@contoso.com"),
		ASKED("anna+shared+x@contoso.com", "anna@contoso.com", "shared+x@contoso.com"),
		ASKED("anna\\shared", "anna@contoso.com", "shared@contoso.com"),
		ASKED("anna@mail.fabrikam.com\\shared", "anna@fabrikam.com", "shared@fabrikam.com"),
		ASKED("anna\\shared@mail.fabrikam.com", "anna@fabrikam.com", "shared@fabrikam.com"),
		ASKED("anna@mail.fabrikam.com\\shared@fabrikam.com", "anna@fabrikam.com", "shared@fabrikam.com"),
		/* One's own mailbox needs nobody's permission. */
		{ "anna\\anna@contoso.com", "anna@contoso.com" },
		/* Nothing is named. */
		{ "anna+", "anna+@contoso.com" },
		{ "+anna@contoso.com", "+anna@contoso.com" },
	};
	struct mauth_config *config = load("default_domain = contoso.com " BOTH_SEPARATORS, SHARED, NULL);

	CHECK(config, expected);
	mauth_config_unref(&config);
}

struct refusal {
	const char *text;
	enum mauth_status status;
};

static void check_refusals(const struct mauth_config *config, const struct refusal *refusals, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct mauth_mailbox got;
		struct mauth_error error;

		memset(&got, 'x', sizeof(got));
		if (mauth_mailbox_resolve(config, refusals[i].text, &got, &error) != refusals[i].status)
			fail_msg("%s: %s", refusals[i].text, error.text);
		assert_int_equal(error.status, refusals[i].status);
		assert_int_equal(got.login[0], 'x');
		assert_int_equal(mauth_mailbox_resolve(config, refusals[i].text, &got, NULL), refusals[i].status);
	}
}
#define CHECK_REFUSALS(config, refusals) check_refusals(config, refusals, sizeof(refusals) / sizeof((refusals)[0]))

static void names_of_strangers_are_not_ours(void **state)
{
	static const struct refusal refusals[] = {
		{ "anna", MAUTH_NOT_OURS },
		{ "", MAUTH_NOT_OURS },
		{ "anna\\shared", MAUTH_NOT_OURS },            /* no default_domain */
		{ "anna@other.com\\shared", MAUTH_NOT_OURS },
		{ "anna@contoso.com\\shared@other.com", MAUTH_NOT_OURS },
		{ "anna@contoso.com\\shared@mail.fabrikam.com", MAUTH_NOT_OURS },
		{ "anna@contoso.com\\shared@fabrikam.com", MAUTH_NOT_OURS },
		{ "anna@fabrikam.com\\shared@mail.fabrikam.com", MAUTH_NOT_OURS },
		{ "anna\\a\\b@contoso.com", MAUTH_NOT_OURS },
		{ "anna@contoso.com\\", MAUTH_NOT_OURS },
		{ "\\anna@contoso.com", MAUTH_NOT_OURS },
		{ "anna\\@contoso.com", MAUTH_NOT_OURS },
		{ "@contoso.com\\anna", MAUTH_NOT_OURS },
		{ "anna lee\\shared@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ "anna\\shared mail@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ "anna\\sh\xff@contoso.com", MAUTH_BAD_CREDENTIALS },
	};
	struct mauth_config *config = load("", SHARED, NULL);

	CHECK_REFUSALS(config, refusals);
	mauth_config_unref(&config);
}

static void without_a_rule_for_mailboxes_nobody_names_one(void **state)
{
	static const struct refusal refusals[] = {
		{ "anna\\shared@contoso.com", MAUTH_NOT_OURS },
		{ "anna@contoso.com\\shared", MAUTH_NOT_OURS },
		{ "anna@contoso.com+shared", MAUTH_NOT_OURS },
	};
	struct mauth_config *config = load(BOTH_SEPARATORS, "rule a { users = \"*\" }\n", NULL);

	CHECK_REFUSALS(config, refusals);
	mauth_config_unref(&config);
	config = load("mailbox_separators = \"\"\n", SHARED, NULL);
	CHECK_REFUSALS(config, refusals);
	mauth_config_unref(&config);
}

/* -- maps -- */

#define MAPS \
	"map both { logins = {\"scan-1@contoso.com\"} account = \"Svc@contoso.com\" mailbox = \"Scans@contoso.com\"}" \
	" map account { logins = {\"x@contoso.com\", \"scan-*@contoso.com\"} account = \"svc@contoso.com\" }\n" \
	"map mailbox { logins = {\"info@*\"} mailbox = \"team@fabrikam.com\" }\n" \
	"map upn { logins = {\"printer@fabrikam.com\"} account = \"svc@mail.fabrikam.com\" }\n"

static void maps_change_account_and_mailbox(void **state)
{
	static const struct expectation expected[] = {
		{ "Scan-1@contoso.com", "scan-1@contoso.com", "scans@contoso.com", "svc@contoso.com", "both" },
		{ "scan-2@contoso.com", "scan-2@contoso.com", NULL, "svc@contoso.com", "account" },
		{ "x@contoso.com", "x@contoso.com", NULL, "svc@contoso.com", "account" },
		{ "info@mail.fabrikam.com", "info@fabrikam.com", "team@fabrikam.com", NULL, "mailbox" },
		{ "printer@mail.fabrikam.com", "printer@fabrikam.com", NULL, "svc@fabrikam.com", "upn" },
		{ "anna@contoso.com", "anna@contoso.com" },
	};
	static const struct refusal refusals[] = {
		{ "info@contoso.com", MAUTH_NOT_OURS },         /* the mailbox is of the other tenant */
	};
	struct mauth_config *config = load("", MAPS, NULL);

	CHECK(config, expected);
	CHECK_REFUSALS(config, refusals);
	mauth_config_unref(&config);
}

static void a_mapped_mailbox_is_not_asked_away(void **state)
{
	static const struct expectation expected[] = {
		{ "scan-1\\scans@contoso.com", "scan-1@contoso.com", "scans@contoso.com", "svc@contoso.com", "both" },
		{ "scan-2\\scans@contoso.com", "scan-2@contoso.com", "scans@contoso.com", "svc@contoso.com", "account",
		  .asked = true },
		{ "scan-2\\scan-2@contoso.com", "scan-2@contoso.com", NULL, "svc@contoso.com", "account" },
		{ "info@mail.fabrikam.com\\team", "info@fabrikam.com", "team@fabrikam.com", NULL, "mailbox" },
	};
	static const struct refusal refusals[] = {
		{ "scan-1\\anna@contoso.com", MAUTH_POLICY },
		{ "scan-1\\scan-1@contoso.com", MAUTH_POLICY },
	};
	struct mauth_config *config = load("", SHARED MAPS, NULL);

	CHECK(config, expected);
	CHECK_REFUSALS(config, refusals);
	mauth_config_unref(&config);
}

static void a_map_that_takes_in_other_tenants_is_warned_about(void **state)
{
	struct mauth_buf warnings = { 0 };
	struct mauth_config *config = load("", MAPS, &warnings);

	assert_string_equal(warnings.data, CONFIG_PATH ":8: map \"mailbox\": \"info@*\" takes in users of tenant "
			    "\"contoso\", who cannot log in then; account and mailbox are of another tenant\n");
	mauth_buf_free(&warnings);
	mauth_config_unref(&config);
}

/* size octets of name, then end. */
static char *long_name(size_t size, const char *end)
{
	char *name = mauth_new(size + strlen(end) + 1);

	memset(name, 'a', size);
	memcpy(name + size, end, strlen(end));
	return name;
}

static void names_have_a_longest_size(void **state)
{
	static const struct {
		size_t account, mailbox;
		enum mauth_status status;
	} sizes[] = {
		{ 308, 308, MAUTH_OK },
		{ 309, 1, MAUTH_BAD_CREDENTIALS },
		{ 1, 309, MAUTH_BAD_CREDENTIALS },
		{ 321, 306, MAUTH_BAD_CREDENTIALS },
		{ 1, 627, MAUTH_BAD_CREDENTIALS },
		{ 1, 700, MAUTH_BAD_CREDENTIALS },
		{ 100000, 1, MAUTH_BAD_CREDENTIALS },
	};
	struct mauth_config *config = load("", SHARED, NULL);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *account = long_name(sizes[i].account, "\\");
		char *mailbox = long_name(sizes[i].mailbox, "@contoso.com");
		char *login = mauth_printf("%s%s", account, mailbox);
		struct mauth_mailbox got;

		assert_int_equal(mauth_mailbox_resolve(config, login, &got, NULL), sizes[i].status);
		if (sizes[i].status == MAUTH_OK)
			assert_string_equal(got.mailbox, mailbox);
		free(account);
		free(mailbox);
		free(login);
	}
	mauth_config_unref(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_login_is_its_own_account_and_mailbox),
		cmocka_unit_test(a_login_may_name_another_mailbox),
		cmocka_unit_test(names_of_strangers_are_not_ours),
		cmocka_unit_test(without_a_rule_for_mailboxes_nobody_names_one),
		cmocka_unit_test(maps_change_account_and_mailbox),
		cmocka_unit_test(a_mapped_mailbox_is_not_asked_away),
		cmocka_unit_test(a_map_that_takes_in_other_tenants_is_warned_about),
		cmocka_unit_test(names_have_a_longest_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
