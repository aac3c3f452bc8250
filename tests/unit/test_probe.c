/* SPDX-License-Identifier: MIT */
#include "http_world.h"
#include "net/probe-curl.h"

#define TOKEN "eyJ0eXAiOiJKV1QiLCJub25jZSI6IjEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MCJ9.claims.signature"

struct answer {
	bool done;
	unsigned int calls;
	bool logged_in, completed;
	char reply[512], address[64];
	struct mauth_error error;
};

static struct mauth_prober_curl *prober;

static void on_answer(const struct mauth_probe_result *result, const struct mauth_error *error, void *context)
{
	struct answer *answer = context;

	answer->done = true;
	answer->calls++;
	assert_true((result == NULL) != (error == NULL));
	if (error != NULL) {
		answer->error = *error;
		return;
	}
	answer->logged_in = result->logged_in;
	answer->completed = result->completed;
	snprintf(answer->reply, sizeof(answer->reply), "%s", result->reply);
	snprintf(answer->address, sizeof(answer->address), "%s", result->address);
}

static const enum server servers[] = {
	[MAUTH_SERVICE_IMAP] = SERVER_IMAP,
	[MAUTH_SERVICE_POP3] = SERVER_POP3,
	[MAUTH_SERVICE_SUBMISSION] = SERVER_SMTP,
};

static struct mauth_probe *begin(struct answer *answer, enum mauth_service service, enum server server,
				 const char *host, const char *mailbox, const char *ca, unsigned int timeout_msecs)
{
	struct mauth_secret *token = mauth_secret_new(TOKEN, strlen(TOKEN));
	const struct mauth_probe_request request = {
		.service = service, .endpoint = { host, ports[server], MAUTH_TLS_IMPLICIT }, .mailbox = mailbox,
		.token = mailbox == NULL ? NULL : token, .ca_file = ca, .timeout_msecs = timeout_msecs,
	};
	struct mauth_probe *probe;

	*answer = (struct answer){ .done = false };
	probe = mauth_probe_start(mauth_prober_curl_prober(prober), &request, on_answer, answer);
	assert_false(answer->done);
	mauth_secret_free(&token);
	return probe;
}

/* One probe on connections of its own, from start to the last farewell. None takes longer than its timeout. */
static struct answer ask(enum mauth_service service, enum server server, const char *host, const char *mailbox,
			 const char *ca, unsigned int timeout_msecs)
{
	struct answer answer;
	struct bench bench;
	int64_t begun;

	bench_begin(&bench, 0);
	prober = mauth_prober_curl_new(bench.curl, poll_loop_loop(bench.loop));
	begun = mauth_mono_msecs(poll_loop_loop(bench.loop));
	(void)begin(&answer, service, server, host, mailbox, ca, timeout_msecs);
	if (!poll_loop_run_until(bench.loop, &answer.done, 60000))
		fail_msg("no callback");
	assert_int_equal(answer.calls, 1);
	mauth_prober_curl_free(&prober);
	mauth_http_curl_free(&bench.curl);
	/* libcurl waits two minutes for the answer to a LOGOUT, if it is let. */
	assert_true(mauth_mono_msecs(poll_loop_loop(bench.loop)) - begun < 60000);
	if (bench.lines.data != NULL)
		assert_null(strstr(bench.lines.data, "eyJ0eXAi"));
	bench_end(&bench);
	return answer;
}

static struct answer ask_user(enum mauth_service service, const char *mailbox)
{
	return ask(service, servers[service], "localhost", mailbox, ca_file, 20000);
}

static void every_protocol_logs_in_and_gives_its_command(void **state)
{
	static const char *const said[] = { "OK select", "+OK stat", "235 2.7.0 login" };

	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		struct answer answer = ask_user(service, "ok@x.test");

		assert_int_equal(answer.error.status, MAUTH_OK);
		assert_true(answer.logged_in);
		assert_true(answer.completed);
		if (strstr(answer.reply, said[service]) == NULL)
			fail_msg("%s", answer.reply);
		assert_string_equal(answer.address, "127.0.0.1");
	}
}

static void a_refusal_is_an_answer(void **state)
{
	static const char *const said[] = { "NO login", "-ERR login", "535 5.7.3 login" };

	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		struct answer answer = ask_user(service, "refused@x.test");

		assert_int_equal(answer.error.status, MAUTH_OK);
		assert_false(answer.logged_in);
		assert_false(answer.completed);
		if (strstr(answer.reply, said[service]) == NULL)
			fail_msg("%s", answer.reply);
	}
}

static void logged_in_but_not_connected(void **state)
{
	for (enum mauth_service service = 0; service < MAUTH_SERVICE_SUBMISSION; service++) {
		struct answer answer = ask_user(service, "noselect@x.test");

		assert_int_equal(answer.error.status, MAUTH_OK);
		assert_true(answer.logged_in);
		assert_false(answer.completed);
		assert_non_null(strstr(answer.reply, service == MAUTH_SERVICE_IMAP ? "BAD select" : "-ERR stat"));
	}
}

static void without_a_login_the_host_is_only_reached(void **state)
{
	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		struct answer answer = ask_user(service, NULL);

		assert_int_equal(answer.error.status, MAUTH_OK);
		assert_true(answer.logged_in);
		assert_true(answer.completed);
	}
}

static void a_token_that_is_repeated_is_not_repeated(void **state)
{
	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		struct answer answer = ask_user(service, "echo@x.test");

		assert_false(answer.logged_in);
		assert_null(strstr(answer.reply, "eyJ0"));
		assert_non_null(strstr(answer.reply, "repeated the token"));
	}
}

static void a_host_that_hangs_costs_its_timeout(void **state)
{
	static const char *const users[] = { "mute@x.test", "hang@x.test" };

	for (size_t i = 0; i < 2; i++) {
		struct answer answer = ask(MAUTH_SERVICE_IMAP, SERVER_IMAP, "localhost", users[i], ca_file, 300);

		assert_int_equal(answer.error.status, MAUTH_TIMEOUT);
	}
	assert_int_equal(ask(MAUTH_SERVICE_POP3, SERVER_SILENT, "localhost", NULL, ca_file, 300).error.status,
			 MAUTH_TIMEOUT);
}

static void a_host_that_talks_too_much_is_left(void **state)
{
	struct answer answer = ask_user(MAUTH_SERVICE_IMAP, "flood@x.test");

	assert_false(answer.completed);
	assert_int_not_equal(answer.error.status, MAUTH_OK);
}

static void hosts_that_cannot_be_had(void **state)
{
	struct answer answer;

	answer = ask(MAUTH_SERVICE_IMAP, SERVER_IMAP, "localhost", "ok@x.test", other_ca_file, 20000);
	assert_int_equal(answer.error.status, MAUTH_CONFIG);
	assert_non_null(strstr(answer.error.text, "certificate is not trusted"));
	answer = ask(MAUTH_SERVICE_POP3, SERVER_WRONGHOST, "localhost", NULL, ca_file, 20000);
	assert_int_equal(answer.error.status, MAUTH_CONFIG);
	answer = ask(MAUTH_SERVICE_IMAP, SERVER_NONE, "localhost", NULL, ca_file, 20000);
	assert_int_equal(answer.error.status, MAUTH_TEMPORARY);
	assert_non_null(strstr(answer.error.text, "no connection"));
	answer = ask(MAUTH_SERVICE_IMAP, SERVER_IMAP, "nowhere.invalid", NULL, ca_file, 20000);
	assert_non_null(strstr(answer.error.text, "cannot be resolved"));
	answer = ask(MAUTH_SERVICE_IMAP, SERVER_DROP, "localhost", NULL, ca_file, 20000);
	assert_int_not_equal(answer.error.status, MAUTH_OK);
	/* Another protocol than was expected: what it said is shown. */
	answer = ask(MAUTH_SERVICE_IMAP, SERVER_POP3, "localhost", NULL, ca_file, 300);
	assert_int_equal(answer.error.status, MAUTH_TIMEOUT);
	assert_non_null(strstr(answer.error.text, "it said: +OK POP3 ready"));
	answer = ask(MAUTH_SERVICE_SUBMISSION, SERVER_POP3, "localhost", NULL, ca_file, 300);
	assert_non_null(strstr(answer.error.text, "it said: +OK POP3 ready"));
}

static void a_cancelled_probe_says_nothing(void **state)
{
	struct mauth_probe *probe;
	struct answer answer;
	struct bench bench;

	bench_begin(&bench, 0);
	prober = mauth_prober_curl_new(bench.curl, poll_loop_loop(bench.loop));
	for (unsigned int msecs = 0; msecs < 60; msecs += 20) {
		probe = begin(&answer, MAUTH_SERVICE_IMAP, SERVER_IMAP, "localhost", "hang@x.test", ca_file, 20000);
		idle(&bench, msecs);
		mauth_probe_cancel(mauth_prober_curl_prober(prober), &probe);
		assert_null(probe);
		idle(&bench, 20);
		assert_int_equal(answer.calls, 0);
	}
	mauth_prober_curl_free(&prober);
	bench_end(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_protocol_logs_in_and_gives_its_command),
		cmocka_unit_test(a_refusal_is_an_answer),
		cmocka_unit_test(logged_in_but_not_connected),
		cmocka_unit_test(without_a_login_the_host_is_only_reached),
		cmocka_unit_test(a_token_that_is_repeated_is_not_repeated),
		cmocka_unit_test(a_host_that_hangs_costs_its_timeout),
		cmocka_unit_test(a_host_that_talks_too_much_is_left),
		cmocka_unit_test(hosts_that_cannot_be_had),
		cmocka_unit_test(a_cancelled_probe_says_nothing),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
