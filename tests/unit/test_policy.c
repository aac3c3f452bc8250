/* SPDX-License-Identifier: MIT */
#include "config_files.h"
#include "core/mem.h"
#include "core/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GUID "9e5f94bc-e8a4-4e73-b8be-63364c29d753"
#define FABRIKAM \
	"tenant \"fabrikam\" { domains = {\"mail.fabrikam.com\"} upn_domain = \"fabrikam.com\" " \
	"tenant_id = fabrikam.com client_id = " GUID " }\n"
#define P CONFIG_PATH ":"

static void remember_warning(void *context, const char *text)
{
	mauth_buf_puts(context, text);
	mauth_buf_puts(context, "\n");
}

/* The tenant contoso on lines 1 to 5, then text; warnings may be NULL. */
static struct mauth_config *load(const char *text, struct mauth_buf *warnings)
{
	char *whole = mauth_printf(TENANT("") "%s", text);
	struct config_file files[] = { { CONFIG_PATH, whole, 0, false }, { "/s", "secret", 0, false }, { 0 } };
	struct mauth_config *config = NULL;
	struct mauth_error error;

	if (mauth_config_load(CONFIG_PATH, config_files_read, files, warnings == NULL ? NULL : remember_warning,
			      warnings, &config, &error) != MAUTH_OK)
		fail_msg("refused: %s", error.text);
	free(whole);
	return config;
}

static const char *decides(const struct mauth_config *config, const char *user, enum mauth_service service,
			   const char *ip)
{
	const struct mauth_rule *rule =
		mauth_policy_find(config, &(struct mauth_policy_question){ user, service, ip });

	return rule == NULL ? "" : rule->name;
}

static void everything_that_a_rule_says_arrives(void **state)
{
	struct mauth_config *config = load(
		"rule \"all-of-it\" { protocols = {imap, smtp} users = {\"*@Contoso.com\", \"b?@contoso.com\"}\n"
		"networks = {\"10.20.0.0/16\", \"2001:db8::1\"} grants = {enrolled, password} self_service = true\n"
		"mailboxes = {\"Shared-*@contoso.com\"} check_accounts = false }\nrule checks { users = "
		"\"y@contoso.com\" check_accounts = true }\nrule nothing { users = \"x@contoso.com\" }\n",
		NULL);
	const struct mauth_rule *rule = config->rules[0], *nothing = config->rules[2];

	assert_int_equal(config->rules_count, 3);
	assert_string_equal(rule->name, "all-of-it");
	assert_int_equal(rule->line, 6);
	assert_int_equal(rule->services, 1u << MAUTH_SERVICE_IMAP | 1u << MAUTH_SERVICE_SUBMISSION);
	assert_string_equal(rule->users[0], "*@contoso.com");
	assert_string_equal(rule->users[1], "b?@contoso.com");
	assert_null(rule->users[2]);
	assert_int_equal(rule->networks_count, 2);
	assert_int_equal(rule->networks[0].bits, 96 + 16);
	assert_int_equal(rule->networks[1].bits, 128);
	assert_int_equal(rule->grants_count, 2);
	assert_int_equal(rule->grants[0], MAUTH_GRANT_ENROLLED);
	assert_int_equal(rule->grants[1], MAUTH_GRANT_PASSWORD);
	assert_true(rule->self_service);
	assert_string_equal(rule->mailboxes[0], "shared-*@contoso.com");
	assert_null(rule->mailboxes[1]);
	assert_int_equal(rule->check_accounts, MAUTH_NO);
	assert_int_equal(config->rules[1]->check_accounts, MAUTH_YES);
	assert_int_equal(nothing->check_accounts, MAUTH_AS_TENANT);

	assert_int_equal(nothing->services, 0);
	assert_int_equal(nothing->networks_count, 0);
	assert_int_equal(nothing->grants_count, 0);
	assert_false(nothing->self_service);
	assert_null(nothing->mailboxes);
	mauth_config_unref(&config);
}

static void the_first_rule_that_matches_decides(void **state)
{
	static const struct {
		const char *user, *ip, *rule;
		enum mauth_service service;
	} logins[] = {
		{ "anna@contoso.com", "10.20.3.4", "office", MAUTH_SERVICE_IMAP },
		{ "anna@contoso.com", "::ffff:10.20.3.4", "office", MAUTH_SERVICE_POP3 },
		{ "anna@contoso.com", "10.21.3.4", "people", MAUTH_SERVICE_IMAP },
		{ "anna@contoso.com", NULL, "people", MAUTH_SERVICE_IMAP },
		{ "anna@contoso.com", "nonsense", "people", MAUTH_SERVICE_IMAP },
		{ "anna@contoso.com", "10.21.3.4", "send", MAUTH_SERVICE_SUBMISSION },
		{ "scanner@contoso.com", "10.20.3.4", "office", MAUTH_SERVICE_SUBMISSION },
		{ "scanner@contoso.com", "192.0.2.7", "send", MAUTH_SERVICE_SUBMISSION },
		{ "scanner@contoso.com", "192.0.2.8", "", MAUTH_SERVICE_POP3 },
		{ "eve@contoso.com", "192.0.2.7", "", MAUTH_SERVICE_IMAP },
	};
	struct mauth_config *config = load("rule office { networks = {\"10.20.0.0/16\"} }\n"
					   "rule send { protocols = {submission} }\n"
					   "rule people { users = {\"a*@contoso.com\", \"b*@contoso.com\"} }\n"
					   "rule ann { users = {\"ann?@contoso.com\"} }\n",
					   NULL);

	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
		const char *name = decides(config, logins[i].user, logins[i].service, logins[i].ip);

		if (strcmp(name, logins[i].rule) != 0)
			fail_msg("%s from %s: \"%s\" instead of \"%s\"", logins[i].user,
				 logins[i].ip == NULL ? "nowhere" : logins[i].ip, name, logins[i].rule);
	}
	mauth_config_unref(&config);
}

static void all_conditions_of_a_rule_must_hold(void **state)
{
	struct mauth_config *config = load("rule a { protocols = pop3 users = \"anna@contoso.com\"\n"
					   "networks = 192.0.2.7 }",
					   NULL);

	assert_string_equal(decides(config, "anna@contoso.com", MAUTH_SERVICE_POP3, "192.0.2.7"), "a");
	assert_string_equal(decides(config, "anna@contoso.com", MAUTH_SERVICE_IMAP, "192.0.2.7"), "");
	assert_string_equal(decides(config, "hanna@contoso.com", MAUTH_SERVICE_POP3, "192.0.2.7"), "");
	assert_string_equal(decides(config, "anna@contoso.com", MAUTH_SERVICE_POP3, "192.0.2.8"), "");
	mauth_config_unref(&config);
}

static void without_rules_none_decides(void **state)
{
	struct mauth_config *config = load("", NULL);

	assert_string_equal(decides(config, "anna@contoso.com", MAUTH_SERVICE_IMAP, "192.0.2.7"), "");
	mauth_config_unref(&config);
}

static void other_mailboxes_are_open_only_where_a_rule_names_them(void **state)
{
	struct mauth_config *config = load("rule a { mailboxes = {\"Shared-?@contoso.com\", \"info@*\"} }\n", NULL);
	const struct mauth_rule without = { .name = NULL };

	assert_true(mauth_rule_allows_mailbox(config->rules[0], "shared-1@contoso.com"));
	assert_true(mauth_rule_allows_mailbox(config->rules[0], "info@contoso.com"));
	assert_false(mauth_rule_allows_mailbox(config->rules[0], "shared@contoso.com"));
	assert_false(mauth_rule_allows_mailbox(config->rules[0], "my-shared-1@contoso.com"));
	assert_false(mauth_rule_allows_mailbox(&without, "info@contoso.com"));
	assert_false(mauth_rule_allows_mailbox(NULL, "info@contoso.com"));
	mauth_config_unref(&config);
}

/* -- what is accepted with a warning -- */

static void check_warnings(const char *text, const char *expected)
{
	struct mauth_buf warnings = { 0 };
	struct mauth_config *config = load(text, &warnings);

	assert_string_equal(warnings.data, expected);
	mauth_buf_free(&warnings);
	mauth_config_unref(&config);
}

#define NOBODY \
	" matches nobody; names are compared as user principal names, which end in a tenant's domain or its " \
	"upn_domain\n"

static void rules_that_others_hide_are_warned_about(void **state)
{
	check_warnings("rule a { users = {\"a@contoso.com\", \"b@contoso.com\"} protocols = {imap} }\n"
		       "rule b { users = {\"a@contoso.com\"} protocols = {imap} }\n"
		       "rule c { protocols = {imap}\n"
		       "users = {\"B@contoso.com\", \"a@contoso.com\", \"b@contoso.com\"} }\n"
		       "rule d { networks = {192.0.2.7, \"10.0.0.0/8\"} }\n"
		       "rule e { networks = {\"10.0.0.0/8\", \"192.0.2.7/32\"} }\n"
		       "rule f { protocols = {imap, pop3, smtp} users = {x, \"*\"} }\n"
		       "rule g { users = {\"a@contoso.com\", \"b@contoso.com\"} protocols = {imap} }\n"
		       "rule h { }\n",
		       P "12: users: \"x\"" NOBODY
		       P "8: rule \"c\" never matches: rule \"a\" (line 6) has the same conditions and comes first\n"
		       P "11: rule \"e\" never matches: rule \"d\" (line 10) has the same conditions and comes first\n"
		       P "7: rule \"b\" never matches: whatever it is about matches rule \"a\" (line 6), which comes "
		       "first\n"
		       P "13: rule \"g\" and what follows it never match: rule \"f\" (line 12) has no conditions and "
		       "comes first\n");
}

static void patterns_that_match_nobody_are_warned_about(void **state)
{
	check_warnings(FABRIKAM
		       "rule a { users = {\"*x*\", \"an?a*\", \"*@*\", \"a@CONTOSO.com\", \"a@fabrikam.com\", "
		       "\"a@fabri*\"}\nmailboxes = {\"a@mail.fabrikam.com\", \"x@contoso.com\"} }\n"
		       "rule b { users = {\"a@b@contoso.com\",\n\"anna\",\n\"a@contoso.org\"} }\n",
		       P "8: mailboxes: \"a@mail.fabrikam.com\"" NOBODY
		       P "9: users: \"a@b@contoso.com\"" NOBODY
		       P "10: users: \"anna\"" NOBODY
		       P "11: users: \"a@contoso.org\"" NOBODY
		       P "9: rule \"b\" never matches: whatever it is about matches rule \"a\" (line 7), which comes "
		       "first\n");
}

static void self_service_for_everybody_is_warned_about(void **state)
{
	check_warnings("rule a { networks = 192.0.2.7 grants = {enrolled} self_service = true }\n"
		       "rule b { users = \"b@contoso.com\" grants = {enrolled} self_service = true }\n"
		       "rule c { networks = 192.0.2.8 self_service = true }\n"
		       "rule d { users = \"d@contoso.com\" self_service = false }\n",
		       P "7: rule \"b\": self_service without networks; whoever reaches this server can have a code "
		       "made out in a user's name and talk him into entering it (device code phishing), so name the "
		       "networks that you trust\n"
		       P "8: rule \"c\": self_service, but no \"enrolled\" in the grants of those whom it concerns; "
		       "nothing is done with an enrolment\n");
}

static void a_rule_is_judged_by_the_tenants_that_it_concerns(void **state)
{
	static const char enrolled[] = "tenant \"e\" { domains = {\"e.example\"} tenant_id = e.example "
		"client_id = " GUID " grants = {enrolled, app} client_secret_file = /s }\n";
	struct mauth_buf warnings = { 0 };
	/* contoso has no credential, but the rule is not for its users. */
	char *text = mauth_printf("%srule a { users = \"*@e.example\" grants = {app} }\n"
				  "rule b { users = {\"b@*.example\"} networks = 192.0.2.7 self_service = true "
				  "}\n", enrolled);
	struct mauth_config *config = load(text, &warnings);

	assert_null(warnings.data);
	mauth_config_unref(&config);
	free(text);
}

/* -- bounds -- */

/* The tenant, and count times format with a number for each "#". */
static char *many(const char *format, unsigned int count)
{
	struct mauth_buf buf = { 0 };
	char *text;

	mauth_buf_puts(&buf, TENANT(""));
	for (unsigned int i = 0; i < count; i++) {
		for (const char *at = format; *at != '\0'; at++) {
			if (*at == '#')
				mauth_buf_printf(&buf, "%u", i);
			else
				mauth_buf_putc(&buf, *at);
		}
		mauth_buf_putc(&buf, '\n');
	}
	text = mauth_strdup(buf.data);
	mauth_buf_free(&buf);
	return text;
}

static void rules_maps_and_patterns_have_bounds(void **state)
{
	static const struct {
		const char *format, *message;
		unsigned int max;
	} bounds[] = {
		{ "rule r# { }", "more than 10000 rules", 10000 },
		{ "map m# { logins = \"*\" account = \"a@contoso.com\" }", "more than 1000 maps", 1000 },
		{ "rule r# { users = {a, b} networks = {c, d} mailboxes = {e} }",
		  "more than 50000 users, networks, mailboxes and logins in rules and maps", 10000 },
	};

	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		char *text = many(bounds[i].format, bounds[i].max + 1);
		char *message = mauth_printf(P "%u: %s", bounds[i].max + 6, bounds[i].message);
		struct mauth_error error;

		assert_null(config_files_load(text, NULL, &error));
		assert_string_equal(error.text, message);
		free(text);
		free(message);
	}
}

static void the_last_of_ten_thousand_rules_is_found(void **state)
{
	char *text = many("rule r# { users = {\"u#@contoso.com\"} }", 10000);
	struct mauth_error error;
	struct mauth_config *config = config_files_load(text, NULL, &error);

	if (config == NULL)
		fail_msg("%s", error.text);
	assert_int_equal(config->rules_count, 10000);
	assert_string_equal(decides(config, "u9999@contoso.com", MAUTH_SERVICE_IMAP, NULL), "r9999");
	assert_string_equal(decides(config, "u10000@contoso.com", MAUTH_SERVICE_IMAP, NULL), "");
	mauth_config_unref(&config);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_that_a_rule_says_arrives),
		cmocka_unit_test(the_first_rule_that_matches_decides),
		cmocka_unit_test(all_conditions_of_a_rule_must_hold),
		cmocka_unit_test(without_rules_none_decides),
		cmocka_unit_test(other_mailboxes_are_open_only_where_a_rule_names_them),
		cmocka_unit_test(rules_that_others_hide_are_warned_about),
		cmocka_unit_test(patterns_that_match_nobody_are_warned_about),
		cmocka_unit_test(self_service_for_everybody_is_warned_about),
		cmocka_unit_test(a_rule_is_judged_by_the_tenants_that_it_concerns),
		cmocka_unit_test(rules_maps_and_patterns_have_bounds),
		cmocka_unit_test(the_last_of_ten_thousand_rules_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
