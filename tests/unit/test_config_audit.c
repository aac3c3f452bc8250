/* SPDX-License-Identifier: MIT */
/* audit { syslog, syslog_message, journald } */
#include "config_files.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct mauth_config *load(const char *audit)
{
	char text[1024];
	struct mauth_error error;
	struct mauth_config *config;

	snprintf(text, sizeof(text), "audit { seal = no %s }\n" TENANT(""), audit);
	config = config_files_load(text, NULL, &error);
	if (config == NULL)
		fail_msg("refused: %s", error.text);
	return config;
}

static void nothing_is_forwarded_by_default(void **state)
{
	struct mauth_config *config = load("");

	assert_int_equal(config->audit_syslog.transport, MAUTH_TRANSPORT_NONE);
	assert_string_equal(config->audit_syslog_message, "text");
	assert_false(config->audit_journald);
	mauth_config_unref(&config);
}

static void syslog_has_three_ways(void **state)
{
	static const struct {
		const char *text, *host;
		enum mauth_transport transport;
		unsigned int port;
	} rows[] = {
		{ "unix:/dev/log", "/dev/log", MAUTH_TRANSPORT_UNIX, 0 },
		{ "udp:192.0.2.1", "192.0.2.1", MAUTH_TRANSPORT_UDP, 514 },
		{ "udp:logs:5514", "logs", MAUTH_TRANSPORT_UDP, 5514 },
		{ "tcp:logs.contoso.com", "logs.contoso.com", MAUTH_TRANSPORT_TCP, 601 },
		{ "tcp:[2001:db8::1]:6514", "2001:db8::1", MAUTH_TRANSPORT_TCP, 6514 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[128];
		struct mauth_config *config;

		snprintf(text, sizeof(text), "syslog = \"%s\" syslog_message = cef journald = yes", rows[i].text);
		config = load(text);
		assert_int_equal(config->audit_syslog.transport, rows[i].transport);
		assert_string_equal(config->audit_syslog.host, rows[i].host);
		assert_int_equal(config->audit_syslog.port, rows[i].port);
		assert_string_equal(config->audit_syslog_message, "cef");
		assert_true(config->audit_journald);
		mauth_config_unref(&config);
	}
}

static void anything_else_is_refused_with_what_was_expected(void **state)
{
	static const char *const texts[] = { "/dev/log", "unix:dev/log", "unix:", "udp:", "tcp:host:0", "tcp:host:65536", "tls:host",
					     "tcp:a b", "tcp:host/x", "tcp:[::1", "udp:host:5x" };
	struct mauth_error error;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char text[1024], *expected = mauth_printf("syslog = \"%s\"; \"unix:/dev/log\", \"udp:host:514\" or \"tcp:host:601\" was expected",
							  texts[i]);

		snprintf(text, sizeof(text), "audit {\nsyslog = \"%s\"\n}\n" TENANT(""), texts[i]);
		assert_null(config_files_load(text, NULL, &error));
		assert_non_null(strstr(error.text, expected));
		assert_non_null(strstr(error.text, ":2: "));
		free(expected);
	}
	assert_null(config_files_load("audit { syslog_message = xml }\n" TENANT(""), NULL, &error));
	assert_non_null(strstr(error.text, "\"text\", \"ecs\", \"ocsf\" or \"cef\" was expected"));
	assert_null(config_files_load("audit { journald = maybe }\n" TENANT(""), NULL, &error));
	assert_non_null(strstr(error.text, "\"true\" or \"false\" was expected"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_forwarded_by_default),
		cmocka_unit_test(syslog_has_three_ways),
		cmocka_unit_test(anything_else_is_refused_with_what_was_expected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
