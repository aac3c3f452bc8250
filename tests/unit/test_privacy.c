/* SPDX-License-Identifier: MIT */
/* Under privacy { } nothing that leaves the broker says who it was, and one person's records can be joined all the same. */
#include "core/json.h"
#include "core/privacy.h"
#include "core/pseudonyms.h"
#include "core/record.h"
#include "vault_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ANNA "anna.lee@contoso.com"

struct fixture {
	struct mauth_config *config;
	struct fake_sinks sinks;
	struct mauth_privacy *privacy;
	struct mauth_buf line;
	json_t *json;
};

static struct mauth_secret *fixed_key(void)
{
	return mauth_secret_new("0123456789abcdef0123456789abcdef", 32);
}

static void begin(struct fixture *f, enum mauth_privacy_users users, bool ips)
{
	*f = (struct fixture){ 0 };
	f->config = test_config_new();
	f->config->privacy_users = users;
	f->config->privacy_ips = ips;
	f->config->privacy_key = fixed_key();
	free(f->config->default_domain);
	f->config->default_domain = mauth_strdup("contoso.com");
	fake_sinks_init(&f->sinks);
	f->privacy = mauth_privacy_new(f->config, NULL);
}

static void end(struct fixture *f)
{
	json_decref(f->json);
	mauth_buf_free(&f->line);
	mauth_privacy_free(&f->privacy);
	fake_sinks_free(&f->sinks);
	mauth_config_unref(&f->config);
}

/* What becomes of one record. */
static const char *tell(struct fixture *f, const char *line)
{
	mauth_buf_clear(&f->line);
	assert_true(mauth_privacy_records(f->privacy, line, strlen(line), &f->line));
	json_decref(f->json);
	f->json = mauth_json_object(f->line.data, f->line.size - 1);
	assert_non_null(f->json);
	return f->line.data;
}

static const char *get(const struct fixture *f, const char *path)
{
	json_t *at = f->json;
	const char *dot;

	for (; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
		char *key = mauth_strndup(path, (size_t)(dot - path));

		at = json_object_get(at, key);
		free(key);
	}
	return json_string_value(json_object_get(at, path));
}

static const char *pseudonym(const struct fixture *f, const char *name)
{
	static char text[4][MAUTH_PSEUDONYM_SIZE];
	static unsigned int next;

	next = (next + 1) % 4;
	mauth_privacy_pseudonym(f->privacy, name, text[next]);
	return text[next];
}

/* -- names -------------------------------------------------------------------------------------------------- */

static void one_person_has_one_pseudonym(void **state)
{
	struct fixture f;
	char *other;

	begin(&f, MAUTH_USERS_HASH, false);
	assert_true(mauth_is_pseudonym(pseudonym(&f, ANNA), MAUTH_PSEUDONYM_SIZE - 1));
	assert_string_equal(pseudonym(&f, ANNA), pseudonym(&f, "Anna.Lee@Contoso.COM"));
	/* As typed without a domain. */
	assert_string_equal(pseudonym(&f, ANNA), pseudonym(&f, "ANNA.lee"));
	assert_string_not_equal(pseudonym(&f, ANNA), pseudonym(&f, "anna.le@contoso.com"));
	assert_string_equal(pseudonym(&f, "x@elsewhere.test"), pseudonym(&f, "X@elsewhere.test"));
	/* Another key, another name. */
	other = mauth_strdup(pseudonym(&f, ANNA));
	mauth_secret_free(&f.config->privacy_key);
	f.config->privacy_key = mauth_secret_new("0123456789abcdef0123456789abcdeX", 32);
	assert_string_not_equal(pseudonym(&f, ANNA), other);
	free(other);
	end(&f);
}

static void keys_survive_their_file(void **state)
{
	static const char *const broken[] = { "", "modernauth-privacy-key: ", "modernauth-privacy-key: 00\n", "modernauth-audit-mac: 00\n" };
	struct mauth_secret *text = mauth_privacy_key_text(), *key = NULL;
	struct mauth_error error;

	assert_int_equal(mauth_privacy_key_read(text, &key, &error), MAUTH_OK);
	assert_int_equal(mauth_secret_size(key), 32);
	mauth_secret_free(&key);
	mauth_secret_free(&text);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		text = mauth_secret_new(broken[i], strlen(broken[i]));
		assert_int_equal(mauth_privacy_key_read(text, &key, &error), MAUTH_CONFIG);
		assert_null(key);
		mauth_secret_free(&text);
	}
}

static void addresses_lose_their_hosts(void **state)
{
	static const struct {
		const char *ip, *prefix;
	} rows[] = {
		{ "10.1.2.3", "10.1.2.0" }, { "::ffff:10.1.2.3", "10.1.2.0" }, { "2001:db8:1:2:3::4", "2001:db8:1::" }, { "x", NULL }, { "", NULL },
	};
	char prefix[46];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(mauth_privacy_prefix(rows[i].ip, prefix, sizeof(prefix)), rows[i].prefix != NULL);
		if (rows[i].prefix != NULL)
			assert_string_equal(prefix, rows[i].prefix);
	}
}

/* -- records ------------------------------------------------------------------------------------------------ */

#define RECORD "{\"@timestamp\":\"2026-11-26T10:00:00Z\",\"event\":{\"action\":\"a\",\"outcome\":\"failure\"," \
	"\"reason\":\"AADSTS50034: The user account Anna.Lee@contoso.com does not exist\"}," \
	"\"user\":{\"name\":\"Anna.LEE\",\"email\":\"anna.lee@contoso.com\",\"domain\":\"contoso.com\"}," \
	"\"source\":{\"ip\":\"10.1.2.3\",\"port\":4711},\"destination\":{\"ip\":\"10.9.9.9\",\"port\":993}," \
	"\"user_agent\":{\"name\":\"ANNA.LEEs Phone\"},\"error\":{\"message\":\"'anna.lee@contoso.com' and bob@contoso.com, [10.1.2.3]\"}," \
	"\"modernauth\":{\"session\":\"s1\",\"client_id\":\"\\\"name\\\" \\\"anna.lee-pc\\\"\",\"account\":\"shared@contoso.com\"," \
	"\"device\":{\"id\":\"d1\",\"name\":\"phone of anna.lee\"},\"rule\":\"anna.lee\",\"whatever\":[\"a\\u000aanna.lee\"],\"n\":1}}\n"

static void a_record_names_nobody(void **state)
{
	struct fixture f;
	const char *told;

	begin(&f, MAUTH_USERS_PSEUDONYM, true);
	told = tell(&f, RECORD);
	assert_string_equal(get(&f, "user.name"), pseudonym(&f, ANNA));
	assert_string_equal(get(&f, "user.email"), pseudonym(&f, ANNA));
	assert_string_equal(get(&f, "user.domain"), "contoso.com");
	assert_string_equal(get(&f, "modernauth.account"), pseudonym(&f, "shared@contoso.com"));
	assert_string_equal(get(&f, "source.ip"), "10.1.2.0");
	assert_null(json_object_get(json_object_get(f.json, "source"), "port"));
	assert_string_equal(get(&f, "destination.ip"), "10.9.9.9");
	/* A name of a rule is the admin's: only mail addresses are taken out. */
	assert_string_equal(get(&f, "modernauth.rule"), "anna.lee");
	{
		char *rest = mauth_strdup(told), *rule = strstr(rest, "\"rule\":\"anna.lee\"");

		assert_non_null(rule);
		memset(rule, 'x', strlen("\"rule\":\"anna.lee\""));
		assert_null(strcasestr(rest, "anna.lee"));
		assert_null(strstr(rest, "bob@"));
		assert_null(strstr(rest, "10.1.2.3"));
		free(rest);
	}
	assert_non_null(strstr(get(&f, "event.reason"), pseudonym(&f, ANNA)));
	assert_non_null(strstr(get(&f, "error.message"), pseudonym(&f, "bob@contoso.com")));
	end(&f);
}

static void what_is_clear_stays(void **state)
{
	struct fixture f;

	begin(&f, MAUTH_USERS_CLEAR, false);
	assert_string_equal(tell(&f, RECORD), RECORD);
	end(&f);
	begin(&f, MAUTH_USERS_CLEAR, true);
	assert_string_equal(get(&f, "user.name") == NULL ? "" : "x", "");
	(void)tell(&f, RECORD);
	assert_string_equal(get(&f, "user.name"), "Anna.LEE");
	assert_string_equal(get(&f, "source.ip"), "10.1.2.0");
	assert_non_null(strstr(get(&f, "error.message"), "[10.1.2.0]"));
	end(&f);
	begin(&f, MAUTH_USERS_HASH, false);
	(void)tell(&f, RECORD);
	assert_string_equal(get(&f, "source.ip"), "10.1.2.3");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(f.json, "source"), "port")), 4711);
	end(&f);
}

/* Attempt, session and change of one person have one name, whatever was typed. */
static void records_can_be_joined(void **state)
{
	struct mauth_upstream_report report = { .service = MAUTH_SERVICE_IMAP, .result = MAUTH_UPSTREAM_ACCEPTED, .user = "ANNA.LEE",
						.session = "s" };
	struct mauth_buf line = { 0 };
	struct fixture f;
	char first[MAUTH_PSEUDONYM_SIZE];

	begin(&f, MAUTH_USERS_HASH, true);
	mauth_record_attempt(&line, &(struct mauth_attempt_record){ .user = "Anna.Lee", .upn = ANNA, .service = MAUTH_SERVICE_IMAP,
								    .client_ip = "2001:db8::7", .client_port = 1, .decision = "upgrade" });
	(void)tell(&f, line.data);
	snprintf(first, sizeof(first), "%s", get(&f, "user.name"));
	assert_string_equal(get(&f, "source.ip"), "2001:db8::");
	mauth_buf_clear(&line);
	mauth_record_upstream(&line, &(struct mauth_upstream_record){ .report = &report, .upn = ANNA });
	(void)tell(&f, line.data);
	assert_string_equal(get(&f, "user.name"), first);
	mauth_buf_clear(&line);
	mauth_record_change(&line, &(struct mauth_change_record){ .action = "device-added", .actor = "doveadm", .login = ANNA,
								  .device_name = "Anna.Lee's phone", .pseudonym = first, .by = "root",
								  .reason = "for " ANNA });
	(void)tell(&f, line.data);
	assert_string_equal(get(&f, "user.name"), first);
	assert_string_equal(get(&f, "modernauth.pseudonym"), first);
	assert_string_equal(get(&f, "modernauth.by"), "root");
	assert_null(strcasestr(f.line.data, "anna"));
	mauth_buf_free(&line);
	end(&f);
}

static unsigned int random_state;

static unsigned int next_random(unsigned int below)
{
	random_state = random_state * 1103515245u + 12345u;
	return (random_state >> 16) % below;
}

/* Whatever the name and wherever it is quoted: it does not come out, and what comes out is JSON. */
static void no_name_comes_out(void **state)
{
	static const char *const letters[] = { "a", "B", "z", "0", ".", "-", "_", "+", "'", "\xc3\xa9", "\"", "\\", " ", "\x01", "=", "/" };
	static const char *const places[] = { "event.reason", "error.message", "user.name", "user.email", "modernauth.client_id",
					      "modernauth.grants_skipped", "modernauth.device.name", "user_agent.name" };
	static const char *const around[] = { "", " ", "'", "\"", "<", "user ", "\n", "x=", "(", "," };
	static const char *const behind[] = { "", " ", "'", "\"", ">", "\n", ", " };
	struct fixture f;

	random_state = 20261126;
	begin(&f, MAUTH_USERS_HASH, true);
	for (unsigned int round = 0; round < 3000; round++) {
		char local[64] = "q", name[128], text[400];
		struct mauth_buf line = { 0 };
		const unsigned int size = 4 + next_random(8);

		for (unsigned int i = 0; i < size; i++)
			strcat(local, letters[next_random(sizeof(letters) / sizeof(letters[0]))]);
		strcat(local, "q");
		snprintf(name, sizeof(name), next_random(2) == 0 ? "%s@contoso.com" : "%s", local);
		snprintf(text, sizeof(text), "%s%s%s", around[next_random(10)], name, behind[next_random(7)]);
		mauth_record_attempt(&line, &(struct mauth_attempt_record){
			.user = name, .upn = strchr(name, '@') != NULL ? name : NULL, .reason = text, .skipped = text, .client_id = text,
			.service = MAUTH_SERVICE_POP3, .status = MAUTH_BAD_CREDENTIALS, .client_ip = "192.0.2.77", .client_port = 9,
			.device_name = text });
		(void)tell(&f, line.data);
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			const char *value = get(&f, places[i]);

			if (value != NULL && strcasestr(value, name) != NULL)
				fail_msg("round %u: %s: %s", round, name, f.line.data);
		}
		assert_null(strstr(f.line.data, "192.0.2.77"));
		mauth_buf_free(&line);
	}
	end(&f);
}

static void what_is_no_record_is_not_written(void **state)
{
	static const char *const lines[] = { "x\n", "{\"a\":1\n", "{\"a\":\"b}\n", "{\"a\":1}", "{\"a\"}\n", "{\"a\":{\"b\":{\"c\":[1}]}}\n" };
	struct fixture f;
	const struct mauth_audit_sink *sink;
	struct mauth_error error;

	begin(&f, MAUTH_USERS_HASH, false);
	sink = mauth_privacy_sink(f.privacy, &f.sinks.audit);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(sink->append(sink->context, lines[i], strlen(lines[i]), &error), MAUTH_AUDIT);
	assert_int_equal(f.sinks.appends, 0);
	assert_int_equal(sink->append(sink->context, "{\"user\":{\"name\":\"anna\"}}\n{}\n", 28, &error), MAUTH_OK);
	assert_int_equal(f.sinks.appends, 1);
	assert_null(strstr(f.sinks.records, "anna\""));
	end(&f);
}

/* -- log and events ----------------------------------------------------------------------------------------- */

static void the_log_names_nobody(void **state)
{
	static const struct {
		const char *line, *told;         /* "A", "B": pseudonyms of anna and bob */
	} rows[] = {
		{ "login refused (bad_credentials): user=anna.lee protocol=imap ip=10.1.2.3 session=x: Anna.Lee is wrong",
		  "login refused (bad_credentials): user=A protocol=imap ip=10.1.2.0 session=x: A is wrong" },
		{ "device-added by doveadm: user=- tenant=contoso", "device-added by doveadm: user=- tenant=contoso" },
		{ "mail from <bob@contoso.com>: no", "mail from <B>: no" },
		{ "login upgraded: user=anna.lee@contoso.com protocol=pop3 ip=- session=y token=cache",
		  "login upgraded: user=A protocol=pop3 ip=- session=y token=cache" },
		{ "nothing of the kind", "nothing of the kind" },
	};
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("user", "Anna.Lee"), MAUTH_FIELD_STR("service", "imap"), MAUTH_FIELD_NUM("code", 7),
		MAUTH_FIELD_STR("ip", "10.1.2.3"), MAUTH_FIELD_STR("text", "of bob@contoso.com"),
	};
	const struct mauth_log *log;
	struct fixture f;

	begin(&f, MAUTH_USERS_HASH, true);
	log = mauth_privacy_log(f.privacy, &f.sinks.log);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_buf expected = { 0 }, told = { 0 };

		mauth_buf_puts(&expected, "");
		for (const char *c = rows[i].told; *c != '\0'; c++) {
			if (*c == 'A' || *c == 'B')
				mauth_buf_puts(&expected, pseudonym(&f, *c == 'A' ? ANNA : "bob@contoso.com"));
			else
				mauth_buf_putc(&expected, *c);
		}
		mauth_privacy_text(f.privacy, rows[i].line, &told);
		assert_string_equal(told.data, expected.data);
		mauth_buf_free(&told);
		mauth_buf_free(&expected);
	}
	mauth_log(log, MAUTH_INFO, "user=%s", "anna.lee");
	assert_null(strstr(f.sinks.lines, "anna"));
	log->event(log->context, "e", 0, fields, sizeof(fields) / sizeof(fields[0]));
	assert_null(strcasestr(f.sinks.events, "anna"));
	assert_null(strstr(f.sinks.events, "bob@"));
	assert_non_null(strstr(f.sinks.events, "ip=10.1.2.0"));
	assert_non_null(strstr(f.sinks.events, pseudonym(&f, ANNA)));
	end(&f);
}

/* -- whose they are ----------------------------------------------------------------------------------------- */

struct names {
	struct vault_world w;
	struct mauth_pseudonyms *pseudonyms;
	struct mauth_privacy *privacy;
	char anna[MAUTH_PSEUDONYM_SIZE], bob[MAUTH_PSEUDONYM_SIZE];
};

static void open_names(struct names *n, int64_t keep)
{
	n->pseudonyms = mauth_pseudonyms_new(fake_loop_loop(n->w.w.loop), &n->w.w.sinks.log, keep);
	mauth_pseudonyms_open(n->pseudonyms, n->w.vault);
}

static void begin_names(struct names *n)
{
	memset(n, 0, sizeof(*n));
	vault_world_begin(&n->w);
	n->w.w.config->privacy_users = MAUTH_USERS_PSEUDONYM;
	n->w.w.config->privacy_key = fixed_key();
	vault_world_open(&n->w);
	n->privacy = mauth_privacy_new(n->w.w.config, NULL);
	mauth_privacy_pseudonym(n->privacy, ALICE, n->anna);
	mauth_privacy_pseudonym(n->privacy, BOB, n->bob);
	open_names(n, 0);
}

static void close_names(struct names *n)
{
	mauth_pseudonyms_close(n->pseudonyms);
	fake_loop_run(n->w.w.loop, 0);
	mauth_pseudonyms_free(&n->pseudonyms);
}

static void end_names(struct names *n)
{
	close_names(n);
	mauth_privacy_free(&n->privacy);
	vault_world_end(&n->w);
}

static void expect_name(struct names *n, const char *pseudonym_, const char *name)
{
	struct mauth_error error;
	char *found = NULL;

	if (name == NULL) {
		assert_int_equal(mauth_pseudonyms_find(n->pseudonyms, pseudonym_, &found, &error), MAUTH_USER_UNKNOWN);
		return;
	}
	if (mauth_pseudonyms_find(n->pseudonyms, pseudonym_, &found, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	assert_string_equal(found, name);
	free(found);
}

static void names_survive_a_restart_and_are_sealed(void **state)
{
	struct names n;

	begin_names(&n);
	world_secret(&n.w.w, ALICE);
	mauth_pseudonyms_note(n.pseudonyms, n.anna, ALICE, false);
	expect_name(&n, n.anna, ALICE);
	fake_loop_run(n.w.w.loop, 200);
	expect_name(&n, n.anna, ALICE);
	/* It comes in later: the row is of the other kind. */
	mauth_pseudonyms_note(n.pseudonyms, n.anna, ALICE, true);
	mauth_pseudonyms_note(n.pseudonyms, n.bob, BOB, false);
	close_names(&n);
	open_names(&n, 0);
	assert_int_equal(mauth_pseudonyms_count(n.pseudonyms), 2);
	expect_name(&n, n.anna, ALICE);
	expect_name(&n, n.bob, BOB);
	end_names(&n);
}

static void ignore(const struct mauth_error *error, void *context)
{
	assert_null(error);
	++*(unsigned int *)context;
}

static void who_is_erased_is_unknown(void **state)
{
	unsigned int calls = 0;
	struct names n;

	begin_names(&n);
	mauth_pseudonyms_note(n.pseudonyms, n.anna, ALICE, true);
	fake_loop_run(n.w.w.loop, 200);
	/* Not written yet, being written, and written: it is gone. */
	mauth_pseudonyms_note(n.pseudonyms, n.bob, BOB, true);
	(void)mauth_pseudonyms_forget(n.pseudonyms, n.bob, ignore, &calls);
	assert_true(mauth_pseudonyms_forget(n.pseudonyms, n.anna, ignore, &calls));
	expect_name(&n, n.anna, NULL);
	fake_loop_run(n.w.w.loop, 1000);
	assert_int_equal(calls, 1);
	close_names(&n);
	open_names(&n, 0);
	assert_int_equal(mauth_pseudonyms_count(n.pseudonyms), 0);
	assert_false(mauth_pseudonyms_forget(n.pseudonyms, n.anna, ignore, &calls));
	end_names(&n);
}

static void wait_days(struct names *n, unsigned int days)
{
	while (days-- > 0)
		fake_loop_run(n->w.w.loop, 86400000);
}

static void names_that_no_record_has_any_more_go(void **state)
{
	const int64_t day = 86400;
	struct names n;

	begin_names(&n);
	close_names(&n);
	open_names(&n, 90 * day);
	mauth_pseudonyms_note(n.pseudonyms, n.anna, ALICE, true);
	mauth_pseudonyms_note(n.pseudonyms, n.bob, BOB, true);
	fake_loop_run(n.w.w.loop, 200);
	/* Bob comes back after two months, and his row says so. */
	close_names(&n);
	wait_days(&n, 60);
	open_names(&n, 90 * day);
	mauth_pseudonyms_note(n.pseudonyms, n.bob, BOB, true);
	fake_loop_run(n.w.w.loop, 200);
	close_names(&n);
	wait_days(&n, 75);
	open_names(&n, 90 * day);
	expect_name(&n, n.bob, BOB);
	expect_name(&n, n.anna, NULL);
	end_names(&n);
}

static void hash_leaves_no_names(void **state)
{
	struct names n;

	begin_names(&n);
	mauth_pseudonyms_note(n.pseudonyms, n.anna, ALICE, true);
	mauth_pseudonyms_note(n.pseudonyms, n.bob, BOB, false);
	close_names(&n);
	assert_int_equal(mauth_pseudonyms_erase_all(fake_loop_loop(n.w.w.loop), &n.w.w.sinks.log, n.w.vault), 2);
	fake_loop_run(n.w.w.loop, 10);
	open_names(&n, 0);
	assert_int_equal(mauth_pseudonyms_count(n.pseudonyms), 0);
	end_names(&n);
}

static void guessers_push_nobody_out(void **state)
{
	char name[64], pseudonym_[MAUTH_PSEUDONYM_SIZE];
	struct names n;

	begin_names(&n);
	mauth_pseudonyms_note(n.pseudonyms, n.anna, ALICE, true);
	for (unsigned int i = 0; i < MAUTH_PSEUDONYMS_NEW_MAX + 100; i++) {
		snprintf(name, sizeof(name), "guess%u@contoso.com", i);
		mauth_privacy_pseudonym(n.privacy, name, pseudonym_);
		mauth_pseudonyms_note(n.pseudonyms, pseudonym_, name, false);
	}
	assert_int_equal(mauth_pseudonyms_count(n.pseudonyms), MAUTH_PSEUDONYMS_NEW_MAX + 1);
	expect_name(&n, n.anna, ALICE);
	end_names(&n);
}

static void a_rekey_reseals_names(void **state)
{
	struct mauth_error error;
	struct names n;

	begin_names(&n);
	mauth_pseudonyms_note(n.pseudonyms, n.anna, ALICE, true);
	fake_loop_run(n.w.w.loop, 200);
	assert_int_equal(mauth_vault_rekey(n.w.vault, NULL, NULL, &error), MAUTH_OK);
	fake_loop_run(n.w.w.loop, 10000);
	assert_int_equal(mauth_keyring_count(mauth_vault_keyring(n.w.vault)), 1);
	expect_name(&n, n.anna, ALICE);
	end_names(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_person_has_one_pseudonym),
		cmocka_unit_test(keys_survive_their_file),
		cmocka_unit_test(addresses_lose_their_hosts),
		cmocka_unit_test(a_record_names_nobody),
		cmocka_unit_test(what_is_clear_stays),
		cmocka_unit_test(records_can_be_joined),
		cmocka_unit_test(no_name_comes_out),
		cmocka_unit_test(what_is_no_record_is_not_written),
		cmocka_unit_test(the_log_names_nobody),
		cmocka_unit_test(names_survive_a_restart_and_are_sealed),
		cmocka_unit_test(who_is_erased_is_unknown),
		cmocka_unit_test(names_that_no_record_has_any_more_go),
		cmocka_unit_test(hash_leaves_no_names),
		cmocka_unit_test(guessers_push_nobody_out),
		cmocka_unit_test(a_rekey_reseals_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
