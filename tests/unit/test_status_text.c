/* SPDX-License-Identifier: MIT */
/* What a delivery status of Postfix says: of the mail, of the server, of our token. */
#include "broker/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SAID "SASL authentication failed; server smtp.office365.com[192.0.2.1] said: "

static void statuses_are_taken_apart(void **state)
{
	static const struct {
		const char *status;
		char class;
		const char *dsn, *host;
		bool refused;
	} rows[] = {
		{ "2.0.0 250 2.0.0 OK <x> Queued mail for delivery", '2', "2.0.0", NULL, false },
		{ "4.7.139 " SAID "535 5.7.139 Authentication unsuccessful", '4', "4.7.139", "smtp.office365.com", true },
		{ "5.7.3 " SAID "535 5.7.3 Authentication unsuccessful", '5', "5.7.3", "smtp.office365.com", true },
		{ "4.7.0 " SAID "454 4.7.0 Temporary authentication failure", '4', "4.7.0", "smtp.office365.com", false },
		{ "4.7.0 SASL authentication failed; cannot authenticate to server smtp.office365.com[192.0.2.1]: said: 535", '4',
		  "4.7.0", "smtp.office365.com", false },
		/* Not what smtp(8) says, but a recipient's server. */
		{ "5.1.1 host x.example[192.0.2.1] said: 550 5.1.1 " SAID "535", '5', "5.1.1", "x.example", false },
		{ "4.4.1 connect to x.example[192.0.2.1]:587: Connection refused", '4', "4.4.1", "x.example", false },
		{ "4.4.2 lost connection with x.example[192.0.2.1] while sending", '4', "4.4.2", "x.example", false },
		{ "4.4.2 conversation with x.example[192.0.2.1] timed out", '4', "4.4.2", "x.example", false },
		{ "4.4.3 Host or domain name not found", '4', "4.4.3", NULL, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_status_text text;

		assert_true(mauth_status_parse_text(rows[i].status, &text));
		assert_int_equal(text.class, rows[i].class);
		assert_string_equal(text.dsn, rows[i].dsn);
		assert_string_equal(text.text, strchr(rows[i].status, ' ') + 1);
		assert_int_equal(text.token_refused, rows[i].refused);
		assert_int_equal(text.no_token, strstr(rows[i].status, " cannot authenticate to server ") != NULL);
		assert_int_equal(text.host == NULL, rows[i].host == NULL);
		if (rows[i].host == NULL)
			continue;
		assert_int_equal(text.host_size, strlen(rows[i].host));
		assert_memory_equal(text.host, rows[i].host, text.host_size);
	}
}

static void what_is_no_status_is_none(void **state)
{
	static const char *const rows[] = {
		"", " ", "2", "2.0.0", "x.0.0 y", "1.0.0 y", "3.0.0 y", "2.0 y", "2..0 y", "2.0. y", "2.0.0.0 y", "2.0.0y z",
		"2.0.1234567 y", "4.-7.8 y", "22.0.0 y", "2 .0.0 y",
	};
	struct mauth_status_text text;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (mauth_status_parse_text(rows[i], &text))
			fail_msg("\"%s\" is a status", rows[i]);
	}
}

static void another_server_is_told_by_its_name(void **state)
{
	struct mauth_status_text text;

	assert_true(mauth_status_parse_text("4.7.3 " SAID "535 5.7.3 no", &text));
	assert_false(mauth_status_is_of_another(&text, "smtp.office365.com"));
	assert_false(mauth_status_is_of_another(&text, "SMTP.Office365.com"));
	assert_false(mauth_status_is_of_another(&text, ""));
	assert_true(mauth_status_is_of_another(&text, "smtp.office365.co"));
	assert_true(mauth_status_is_of_another(&text, "smtp.office365.com.example"));
	assert_true(mauth_status_parse_text("2.0.0 250 OK", &text));
	assert_false(mauth_status_is_of_another(&text, "smtp.office365.com"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statuses_are_taken_apart),
		cmocka_unit_test(what_is_no_status_is_none),
		cmocka_unit_test(another_server_is_told_by_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
