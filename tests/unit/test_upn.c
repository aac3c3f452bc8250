/* SPDX-License-Identifier: MIT */
#include "config_files.h"
#include "core/mem.h"
#include "core/upn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TWO_TENANTS                                                                                               \
	"tenant \"contoso\" {\n" TENANT_BODY "}\n"                                                                \
	"tenant \"fabrikam\" { domains = {\"mail.fabrikam.com\"} tenant_id = fabrikam.com upn_domain = "          \
	"\"fabrikam.com\" "                                                                                       \
	"client_id = 9e5f94bc-e8a4-4e73-b8be-63364c29d753 }\n"

static struct mauth_config *load(const char *text)
{
	struct mauth_error error;
	struct mauth_config *config = config_files_load(text, NULL, &error);

	if (config == NULL)
		fail_msg("%s", error.text);
	return config;
}

static void names_become_upns(void **state)
{
	static const struct {
		const char *user, *upn;
		size_t tenant;
	} names[] = {
		{ "anna@contoso.com", "anna@contoso.com", 0 },
		{ "Anna.Lee@CONTOSO.com", "anna.lee@contoso.com", 0 },
		{ "anna", "anna@contoso.com", 0 },
		{ "O'Neil+x", "o'neil+x@contoso.com", 0 },
		{ "anna@mail.fabrikam.com", "anna@fabrikam.com", 1 },
		{ "Ann\xc3\x84@contoso.com", "ann\xc3\x84@contoso.com", 0 },   /* only ASCII has a case here */
	};
	struct mauth_config *config = load("default_domain = contoso.com\n" TWO_TENANTS);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct mauth_upn upn;
		struct mauth_error error;

		if (mauth_upn_from_login(config, names[i].user, &upn, &error) != MAUTH_OK)
			fail_msg("%s: %s", names[i].user, error.text);
		assert_string_equal(upn.name, names[i].upn);
		assert_ptr_equal(upn.tenant, config->tenants[names[i].tenant]);
	}
	mauth_config_unref(&config);
}

static void names_that_are_not_ours_or_impossible_are_told_apart(void **state)
{
	static const struct {
		const char *user;
		enum mauth_status status;
	} names[] = {
		{ "", MAUTH_NOT_OURS },
		{ "anna", MAUTH_NOT_OURS },                     /* no default_domain */
		{ "anna@other.com", MAUTH_NOT_OURS },
		{ "anna@fabrikam.com", MAUTH_NOT_OURS },        /* the UPN's domain is no login domain */
		{ "anna@sub.contoso.com", MAUTH_NOT_OURS },
		{ "anna@contoso.com.", MAUTH_NOT_OURS },
		{ "@contoso.com", MAUTH_NOT_OURS },
		{ "anna@", MAUTH_NOT_OURS },
		{ "anna@b@contoso.com", MAUTH_NOT_OURS },
		{ "CONTOSO\\anna@contoso.com", MAUTH_NOT_OURS },
		{ "anna lee@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ " anna@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ "anna@contoso.com\n", MAUTH_BAD_CREDENTIALS },
		{ "an\tna@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ "an\177na@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ "an\xffna@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ "an\xc0\x80na@contoso.com", MAUTH_BAD_CREDENTIALS },
		{ "an\xc2\x85na@contoso.com", MAUTH_BAD_CREDENTIALS },          /* NEL */
		{ "an\xc2\xa0na@contoso.com", MAUTH_BAD_CREDENTIALS },          /* no-break space */
		{ "an\xe2\x80\x8bna@contoso.com", MAUTH_BAD_CREDENTIALS },      /* zero-width space */
		{ "an\xe2\x80\xaena@contoso.com", MAUTH_BAD_CREDENTIALS },      /* right-to-left override */
		{ "an\xe3\x80\x80na@contoso.com", MAUTH_BAD_CREDENTIALS },      /* ideographic space */
	};
	struct mauth_config *config = load(TWO_TENANTS);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct mauth_upn upn;
		struct mauth_error error;

		memset(&upn, 'x', sizeof(upn));
		if (mauth_upn_from_login(config, names[i].user, &upn, &error) != names[i].status)
			fail_msg("\"%s\": %s", names[i].user, error.text);
		assert_int_equal(error.status, names[i].status);
		assert_int_equal(upn.name[0], 'x');
		assert_int_equal(mauth_upn_from_login(config, names[i].user, &upn, NULL), names[i].status);
	}
	mauth_config_unref(&config);
}

/* size octets in all, ending in end. */
static void long_name(char *user, size_t size, const char *end)
{
	memset(user, 'a', size);
	memcpy(user + size - strlen(end), end, strlen(end) + 1);
}

static void names_have_a_longest_size(void **state)
{
	struct mauth_config *config = load("default_domain = contoso.com\n" TWO_TENANTS);
	char user[MAUTH_USER_MAX + 2];
	struct mauth_upn upn;

	long_name(user, MAUTH_USER_MAX, "@contoso.com");
	assert_int_equal(mauth_upn_from_login(config, user, &upn, NULL), MAUTH_OK);
	assert_string_equal(upn.name, user);
	long_name(user, MAUTH_USER_MAX + 1, "@contoso.com");
	assert_int_equal(mauth_upn_from_login(config, user, &upn, NULL), MAUTH_BAD_CREDENTIALS);
	long_name(user, MAUTH_USER_MAX + 1, "@other.com");
	assert_int_equal(mauth_upn_from_login(config, user, &upn, NULL), MAUTH_BAD_CREDENTIALS);
	/* The domain that is added may be one too many, too. */
	long_name(user, MAUTH_USER_MAX - strlen("@contoso.com"), "");
	assert_int_equal(mauth_upn_from_login(config, user, &upn, NULL), MAUTH_OK);
	assert_int_equal(strlen(upn.name), MAUTH_USER_MAX);
	long_name(user, MAUTH_USER_MAX - strlen("@contoso.com") + 1, "");
	assert_int_equal(mauth_upn_from_login(config, user, &upn, NULL), MAUTH_BAD_CREDENTIALS);
	mauth_config_unref(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_become_upns),
		cmocka_unit_test(names_that_are_not_ours_or_impossible_are_told_apart),
		cmocka_unit_test(names_have_a_longest_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
