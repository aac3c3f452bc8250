/* SPDX-License-Identifier: MIT */
/* What a rule says, of whom, and until when. */
#include "config_files.h"
#include "core/mem.h"
#include "core/policy.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define P CONFIG_PATH ":"
#define USERS "/etc/pop-users"
#define ANNA "anna@contoso.com"

static void remember_warning(void *context, const char *text)
{
	mauth_buf_puts(context, text);
	mauth_buf_puts(context, "\n");
}

static struct mauth_config *load_with(const char *text, const char *users, struct mauth_buf *warnings,
				      struct mauth_error *error_r)
{
	char *whole = mauth_printf(TENANT("") "%s", text);
	struct config_file files[] = { { CONFIG_PATH, whole, 0, false }, { USERS, users, 0, false }, { 0 } };
	struct mauth_config *config = NULL;

	(void)mauth_config_load(CONFIG_PATH, config_files_read, files, remember_warning, warnings, &config, error_r);
	free(whole);
	return config;
}

/* The tenant contoso on lines 1 to 5, then text. */
static struct mauth_config *load(const char *text)
{
	struct mauth_buf warnings = { 0 };
	struct mauth_error error;
	struct mauth_config *config = load_with(text, "#\n", &warnings, &error);

	if (config == NULL)
		fail_msg("refused: %s", error.text);
	if (warnings.size > 0)
		fail_msg("warned: %s", warnings.data);
	mauth_buf_free(&warnings);
	return config;
}

static void use_zone(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
}

/* -- what is read ------------------------------------------------------------------------------------------- */

static void actions_and_their_end_are_read(void **state)
{
	struct mauth_config *config = load(
		"rule a { protocols = {smtp} action = upgrade until = \"2027-03-31\" then = deny notice_days = 14\n"
		"message = \"Use https://contoso.com/mail\" }\nrule b { protocols = {imap} action = monitor }\n"
		"rule c { protocols = {pop3} action = local until = 2027-01-01 then = upgrade }\n"
		"rule d { action = deny }\n");
	const struct mauth_rule *a = config->rules[0], *c = config->rules[2], *d = config->rules[3];

	assert_int_equal(a->action, MAUTH_ACTION_UPGRADE);
	assert_int_equal(a->then, MAUTH_ACTION_DENY);
	assert_int_equal(a->notice_days, 14);
	assert_string_equal(a->message, "Use https://contoso.com/mail");
	assert_int_equal(config->rules[1]->action, MAUTH_ACTION_MONITOR);
	assert_int_equal(c->action, MAUTH_ACTION_LOCAL);
	assert_int_equal(c->then, MAUTH_ACTION_UPGRADE);
	assert_int_equal(c->notice_days, 30);
	assert_int_equal(d->action, MAUTH_ACTION_DENY);
	assert_int_equal(d->until, 0);
	assert_null(d->message);
	mauth_config_unref(&config);
}

static void the_last_day_ends_when_the_servers_clock_says_so(void **state)
{
	static const struct {
		const char *zone, *day;
		int64_t end;
	} rows[] = {
		{ "UTC", "2027-03-31", 1806537600 },
		/* Summer time has begun three days before, */
		{ "Europe/Berlin", "2027-03-31", 1806530400 },
		/* and here it begins in the night after: the day is 23 hours long. */
		{ "Europe/Berlin", "2027-03-28", 1806271200 },
		{ "Europe/Berlin", "2027-03-27", 1806188400 },
		{ "America/New_York", "2027-12-31", 1830315600 },
		{ "Asia/Kolkata", "2028-02-29", 1835461800 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = mauth_printf("rule a { until = \"%s\" }\n", rows[i].day);
		struct mauth_config *config;
		const struct mauth_rule *rule;

		use_zone(rows[i].zone);
		config = load(text);
		rule = config->rules[0];
		assert_int_equal(rule->until, rows[i].end);
		assert_int_equal(mauth_rule_action(rule, rows[i].end - 1), MAUTH_ACTION_UPGRADE);
		assert_int_equal(mauth_rule_action(rule, rows[i].end), MAUTH_ACTION_DENY);
		assert_int_equal(mauth_policy_days_left(rule->until, rows[i].end - 1), 1);
		assert_int_equal(mauth_policy_days_left(rule->until, rows[i].end - 86400), 1);
		assert_int_equal(mauth_policy_days_left(rule->until, rows[i].end - 86401), 2);
		assert_int_equal(mauth_policy_days_left(rule->until, rows[i].end), 0);
		mauth_config_unref(&config);
		free(text);
	}
	assert_int_equal(mauth_policy_days_left(0, 1), UINT_MAX);
	use_zone("UTC");
}

static void what_cannot_be_meant_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *rule, *message;
	} rows[] = {
		{ "action = allow", "action = \"allow\"; \"upgrade\", \"monitor\", \"basic\", \"deny\" or \"local\" was expected" },
		{ "action = deny\nthen = upgrade", "then without until; until = \"2027-03-31\" was expected" },
		{ "action = deny\nnotice_days = 3", "notice_days without until" },
		{ "action = deny\nuntil = 2027-01-01", "action and then are both \"deny\"" },
		{ "users = \"*\"\nuntil = 2027-02-30", "until: \"2027-02-30\"; a date like" },
		{ "users = \"*\"\nuntil = soon", "until: \"soon\"; a date like" },
		{ "until = 2027-01-01\nthen = refuse", "then = \"refuse\"; " },
		{ "until = 2027-01-01\nnotice_days = 400", "notice_days" },
		{ "action = upgrade\nmessage = x", "message, but nobody is denied" },
		{ "action = deny\nmessage = \"[ALERT] x\"", "does not begin with \"[\"" },
		{ "action = deny\nmessage = \"Gr\303\274\303\237e\"", "one line of ASCII was expected" },
		{ "action = deny\nmessage = \"\"", "a text of at most 200 characters" },
		{ "users = \"*\"\ntls = old", "tls = \"old\"; \"any\", \"none\", \"required\", or the oldest version" },
		{ "users = \"*\"\nmechanisms = {CRAM-MD5}", "mechanisms: \"CRAM-MD5\"; \"PLAIN\"" },
		{ "users = \"*\"\nclient_ids = {\"\"}", "client_ids: \"\"; a pattern like" },
		{ "users = \"*\"\ndays = {monday}", "days: \"monday\"; a day like \"sat\"" },
		{ "users = \"*\"\ndays = {\"mon-\"}", "days: \"mon-\"; " },
		{ "users = \"*\"\nhours = \"7:00-19:00\"", "hours = \"7:00-19:00\"; hours like" },
		{ "users = \"*\"\nhours = \"07:00-07:00\"", "hours like" },
		{ "users = \"*\"\nhours = \"07:60-08:00\"", "hours like" },
		{ "users = \"*\"\nhours = \"24:00-08:00\"", "hours like" },
		{ "users = \"*\"\nhours = \"08:00-25:00\"", "hours like" },
		{ "users = \"*\"\ndomains = {\"a@contoso.com\"}", "domains: \"a@contoso.com\"; a domain like" },
		{ "users = \"*\"\nusers_file = \"relative\"", "users_file" },
		{ "users = \"*\"\nusers_file = \"/nowhere\"", "users_file" },
		{ "action = deny\nusers_file = \"" USERS "\"", "users_file: " USERS ":3: \"not one user\"; one user like" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = mauth_printf("rule a { %s\n}\n", rows[i].rule);
		/* It is the second of two settings that is wrong. */
		unsigned int line = strchr(rows[i].rule, '\n') == NULL ? 6 : 7;
		struct mauth_buf warnings = { 0 };
		struct mauth_error error = { 0 };
		struct mauth_config *config = load_with(text, "# one a line\n\nnot one user\n", &warnings, &error);

		if (config != NULL)
			fail_msg("accepted: %s", text);
		if (strncmp(error.text, P, sizeof(P) - 1) != 0 || strtoul(error.text + sizeof(P) - 1, NULL, 10) != line ||
		    strstr(error.text, rows[i].message) == NULL)
			fail_msg("%s: \"%s\" does not say line %u, \"%s\"", rows[i].rule, error.text, line, rows[i].message);
		mauth_buf_free(&warnings);
		free(text);
	}
}

static void a_password_for_imap_is_warned_about(void **state)
{
	struct mauth_buf warnings = { 0 };
	struct mauth_error error;
	struct mauth_config *config = load_with("rule a { users = \"b@contoso.com\" action = basic }\n"
						"rule b { protocols = {smtp} action = basic }\n", "#\n", &warnings, &error);

	assert_non_null(config);
	assert_non_null(strstr(warnings.data, P "6: rule \"a\": \"basic\" for IMAP or POP3, where Exchange Online takes no "
			       "passwords any more"));
	assert_null(strstr(warnings.data, "rule \"b\""));
	mauth_buf_free(&warnings);
	mauth_config_unref(&config);
}

/* -- what matches ------------------------------------------------------------------------------------------- */

static void expect(const struct mauth_config *config, const struct mauth_policy_question *question, const char *rule)
{
	const struct mauth_rule *found = mauth_policy_find(config, question);

	assert_string_equal(found == NULL ? "" : found->name, rule);
}

static void what_the_client_is_counts(void **state)
{
	struct mauth_config *config = load(
		"rule token { mechanisms = {xoauth2} }\nrule login { mechanisms = {LOGIN} }\n"
		"rule bird { client_ids = {\"*thunderbird*\"} }\nrule new { tls = \"TLSv1.2\" }\nrule tls { tls = required }\n"
		"rule none { tls = none protocols = {pop3} }\n");
	static const struct {
		const char *mechanism, *client_id, *tls_protocol, *rule;
		bool tls;
		enum mauth_service service;
	} rows[] = {
		{ .mechanism = "XOAUTH2", .rule = "token" }, { .mechanism = "login", .rule = "login" },
		{ .mechanism = "PLAIN", .client_id = "\"name\" \"Thunderbird\"", .rule = "bird" },
		{ .client_id = "\"name\" \"Mutt\"", .tls = true, .tls_protocol = "TLSv1.3", .rule = "new" },
		{ .tls = true, .tls_protocol = "TLSv1.2", .rule = "new" }, { .tls = true, .tls_protocol = "TLSv1.1", .rule = "tls" },
		{ .tls = true, .tls_protocol = "TLSv1", .rule = "tls" },
		/* Nobody knows which: it may be an old one. */
		{ .tls = true, .rule = "tls" }, { .tls = true, .tls_protocol = "SSLv3", .rule = "tls" },
		{ .rule = "" }, { .service = MAUTH_SERVICE_POP3, .rule = "none" },
		/* What is said of a connection without TLS means nothing. */
		{ .tls_protocol = "TLSv1.3", .rule = "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct mauth_policy_question question = {
			.user = ANNA, .service = rows[i].service, .mechanism = rows[i].mechanism, .client_id = rows[i].client_id,
			.tls = rows[i].tls, .tls_protocol = rows[i].tls_protocol,
		};

		expect(config, &question, rows[i].rule);
	}
	mauth_config_unref(&config);
}

static int64_t at(const char *text)
{
	struct tm tm = { .tm_isdst = -1 };

	assert_int_equal(sscanf(text, "%d-%d-%d %d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min), 5);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return mktime(&tm);
}

static void days_and_hours_are_those_of_the_server(void **state)
{
	static const struct {
		const char *when, *rule;        /* 2026-11-26 is a Thursday */
	} rows[] = {
		{ "2026-11-26 06:59", "" }, { "2026-11-26 07:00", "work" }, { "2026-11-26 18:59", "work" },
		{ "2026-11-26 19:00", "" }, { "2026-11-28 10:00", "" }, { "2026-11-28 22:00", "night" },
		{ "2026-11-29 05:59", "night" }, { "2026-11-29 06:00", "" }, { "2026-11-29 22:30", "" },
		{ "2026-11-28 05:00", "" }, { "2026-11-29 12:00", "" },
	};
	struct mauth_config *config;

	use_zone("Europe/Berlin");
	config = load("rule work { days = {\"mon-fri\"} hours = \"07:00-19:00\" }\n"
		      "rule night { days = {sat} hours = \"22:00-06:00\" }\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(config, &(struct mauth_policy_question){ .user = ANNA, .now = at(rows[i].when) }, rows[i].rule);
	mauth_config_unref(&config);
	config = load("rule end { days = {\"sat-sun\"} }\nrule late { hours = \"18:00-24:00\" }\n");
	expect(config, &(struct mauth_policy_question){ .user = ANNA, .now = at("2026-11-29 00:00") }, "end");
	expect(config, &(struct mauth_policy_question){ .user = ANNA, .now = at("2026-11-30 00:00") }, "");
	expect(config, &(struct mauth_policy_question){ .user = ANNA, .now = at("2026-11-30 23:59") }, "late");
	mauth_config_unref(&config);
	use_zone("UTC");
}

static void users_come_from_lists_domains_and_files(void **state)
{
	struct mauth_buf warnings = { 0 };
	struct mauth_error error;
	struct mauth_config *config = load_with(
		"rule a { users = {\"x@contoso.com\"} users_file = \"" USERS "\" }\nrule b { domains = {\"contoso.com\"} }\n",
		"# people\r\n  Anna@Contoso.com   # the first\r\n\n\tticket-*@contoso.com", &warnings, &error);

	assert_non_null(config);
	assert_null(warnings.data);
	expect(config, &(struct mauth_policy_question){ .user = ANNA }, "a");
	expect(config, &(struct mauth_policy_question){ .user = "ticket-7@contoso.com" }, "a");
	expect(config, &(struct mauth_policy_question){ .user = "x@contoso.com" }, "a");
	expect(config, &(struct mauth_policy_question){ .user = "y@contoso.com" }, "b");
	expect(config, &(struct mauth_policy_question){ .user = "y@sub.contoso.com" }, "");
	mauth_config_unref(&config);
	/* A group that has lost its last member is not everybody. */
	config = load_with("rule a { users_file = \"" USERS "\" action = deny }\n", "\n", &warnings, &error);
	assert_non_null(config);
	assert_string_equal(warnings.data, P "6: users_file: " USERS " names nobody\n");
	expect(config, &(struct mauth_policy_question){ .user = ANNA }, "");
	mauth_config_unref(&config);
	mauth_buf_free(&warnings);
}

/* -- what is decided ---------------------------------------------------------------------------------------- */

static void watching_changes_nothing_but_says_what_would_be(void **state)
{
	struct mauth_config *config = load("rule watch { protocols = {imap} action = monitor }\n"
					   "rule more { protocols = {imap} users = {\"a*\"} action = monitor }\n"
					   "rule no { users = {\"anna@*\"} action = deny }\n");
	struct mauth_verdict verdict;

	mauth_policy_decide(config, &(struct mauth_policy_question){ .user = ANNA }, &verdict);
	assert_int_equal(verdict.action, MAUTH_ACTION_MONITOR);
	assert_string_equal(verdict.rule->name, "watch");
	assert_int_equal(verdict.would, MAUTH_ACTION_DENY);
	assert_string_equal(verdict.would_rule->name, "no");
	mauth_policy_decide(config, &(struct mauth_policy_question){ .user = "bob@contoso.com" }, &verdict);
	assert_int_equal(verdict.action, MAUTH_ACTION_MONITOR);
	assert_int_equal(verdict.would, MAUTH_ACTION_UPGRADE);
	assert_null(verdict.would_rule);
	mauth_policy_decide(config, &(struct mauth_policy_question){ .user = "bob@contoso.com", .service = MAUTH_SERVICE_POP3 },
			    &verdict);
	assert_int_equal(verdict.action, MAUTH_ACTION_UPGRADE);
	assert_null(verdict.rule);
	mauth_config_unref(&config);
}

static void an_end_needs_no_new_configuration(void **state)
{
	struct mauth_config *config = load("rule a { until = 2027-01-01 }\n");
	const int64_t end = config->rules[0]->until;
	struct mauth_verdict verdict;

	mauth_policy_decide(config, &(struct mauth_policy_question){ .user = ANNA, .now = end - 1 }, &verdict);
	assert_int_equal(verdict.action, MAUTH_ACTION_UPGRADE);
	assert_false(verdict.expired);
	mauth_policy_decide(config, &(struct mauth_policy_question){ .user = ANNA, .now = end }, &verdict);
	assert_int_equal(verdict.action, MAUTH_ACTION_DENY);
	assert_true(verdict.expired);
	assert_string_equal(verdict.rule->name, "a");
	mauth_config_unref(&config);
}

/* -- the index finds what trying one after the other finds -------------------------------------------------- */

static unsigned int next_random(unsigned int *seed, unsigned int below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % below;
}

static bool accepts(const struct mauth_rule *rule, bool user_matches, void *context)
{
	const struct mauth_policy_question *question = context;
	bool user = rule->users == NULL;

	for (size_t i = 0; !user && rule->users[i] != NULL; i++)
		user = mauth_glob_match(rule->users[i], question->user);
	/* The index must not promise what does not hold. */
	assert_true(user || !user_matches);
	return user && (rule->networks_count == 0 ||
			mauth_networks_contain(rule->networks, rule->networks_count, question->client_ip));
}

static void the_index_agrees_with_trying_them_all(void **state)
{
	static const char *const words[] = { "*", "a*@c.com", "*@c.com", "*@d.com", "ab@c.com", "a?@*", "*b*", "b@c.com", "abc*",
					     "*c@d.com", "a*c@d.com", "?", "**", "*@*.com", "ba@d.com", "ab*m" };
	static const char *const names[] = { "a@c.com", "ab@c.com", "b@c.com", "abc@d.com", "ac@d.com", "ba@d.com", "z@e.com", "x",
					     "ABC@D.COM" };
	static const char *const networks[] = { "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "::/0", "2001:db8::/32",
						"10.1.2.0/29", "2001:db8::1" };
	static const char *const ips[] = { "10.1.2.3", "10.1.2.9", "10.9.9.9", "192.0.2.1", "::ffff:10.1.2.3", "2001:db8::1",
					   "2001:db9::1", NULL, "nonsense" };
	unsigned int seed = 7;

	for (unsigned int round = 0; round < 400; round++) {
		struct mauth_rule rules[24] = { { 0 } }, *pointers[24];
		char *users[24][4] = { { NULL } };
		struct mauth_network nets[24][2];
		struct mauth_policy_index *index;
		unsigned int count = 1 + next_random(&seed, 24);

		for (unsigned int i = 0; i < count; i++) {
			unsigned int users_count = next_random(&seed, 4), nets_count = next_random(&seed, 3);

			for (unsigned int n = 0; n < users_count; n++)
				users[i][n] = (char *)(uintptr_t)words[next_random(&seed, 16)];
			for (unsigned int n = 0; n < nets_count; n++)
				assert_true(mauth_network_parse(networks[next_random(&seed, 8)], &nets[i][n], NULL));
			rules[i].users = users_count > 0 ? users[i] : NULL;
			rules[i].networks = nets[i];
			rules[i].networks_count = nets_count;
			pointers[i] = &rules[i];
		}
		index = mauth_policy_index_new(pointers, count);
		for (unsigned int asked = 0; asked < 81; asked++) {
			struct mauth_policy_question question = { .user = names[asked % 9], .client_ip = ips[asked / 9] };
			struct mauth_address address;
			bool known = mauth_address_parse(question.client_ip, &address);
			size_t from = next_random(&seed, 3), expected = from;

			while (expected < count && !accepts(&rules[expected], false, &question))
				expected++;
			assert_int_equal(mauth_policy_index_find(index, from, question.user, known ? &address : NULL, accepts,
								 &question),
					 expected < count ? expected : count);
		}
		mauth_policy_index_free(&index);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(actions_and_their_end_are_read),
		cmocka_unit_test(the_last_day_ends_when_the_servers_clock_says_so),
		cmocka_unit_test(what_cannot_be_meant_is_refused_with_its_line),
		cmocka_unit_test(a_password_for_imap_is_warned_about),
		cmocka_unit_test(what_the_client_is_counts),
		cmocka_unit_test(days_and_hours_are_those_of_the_server),
		cmocka_unit_test(users_come_from_lists_domains_and_files),
		cmocka_unit_test(watching_changes_nothing_but_says_what_would_be),
		cmocka_unit_test(an_end_needs_no_new_configuration),
		cmocka_unit_test(the_index_agrees_with_trying_them_all),
	};

	use_zone("UTC");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
