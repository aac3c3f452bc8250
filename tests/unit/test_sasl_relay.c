/* SPDX-License-Identifier: MIT */
/* Asking the broker for a token, as the SASL plugin does it. */
#include "sasl_world.h"

#include <time.h>

#include "sasl/relay.h"

static struct fake_relay *relay;

static int set_up(void **state)
{
	relay = relay_new();
	return 0;
}

static int tear_down(void **state)
{
	relay_free(relay);
	return 0;
}

static void ask_within(unsigned int msecs, struct mauth_relay_answer *answer_r)
{
	const struct mauth_relay_question question = {
		.socket = relay->path, .identity = "scans@contoso.com", .key = "key\twith\nodd octets", .key_size = 19,
		.host = "smtp.office365.com", .min_life_secs = 600, .timeout_msecs = msecs,
	};

	memset(answer_r, 0, sizeof(*answer_r));
	mauth_relay_token(&question, answer_r);
	relay_stop(relay);
}

static void ask(struct mauth_relay_answer *answer_r)
{
	ask_within(20000, answer_r);
}

static long msecs_since(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - begin->tv_sec) * 1000 + (now.tv_nsec - begin->tv_nsec) / 1000000;
}

static void a_token_arrives(void **state)
{
	struct mauth_relay_answer answer;
	const char *question = relay->questions[0];

	relay_scene(relay, HELLO, GRANTED, false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_OK);
	assert_string_equal(answer.user, "scans@contoso.com");
	assert_string_equal(answer.token, TOKEN);
	assert_int_equal(answer.token_size, strlen(TOKEN));
	assert_string_equal(answer.token_id, "00112233445566778899aabbccddeeff");
	mauth_relay_answer_clear(&answer);

	assert_int_equal(strncmp(question, "VERSION\tmodernauth\t1\t0\nCLIENT\tname=sasl\tpid=", 44), 0);
	assert_non_null(strstr(question, "\nTOKEN\t1\tidentity=scans@contoso.com\tkey=key\001twith\001nodd octets\t"
			       "host=smtp.office365.com\tmin_life=600\ttimeout=19500\tprogram="));
}

static void a_refusal_says_why(void **state)
{
	struct mauth_relay_answer answer;

	relay_scene(relay, HELLO, "FAIL\t1\tcode=config\ttemporary=no\treason=AADSTS7000222: client secret expired, run x\n", false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_CONFIG);
	assert_false(answer.temporary);
	assert_string_equal(answer.reason, "AADSTS7000222: client secret expired, run x");
	assert_null(answer.token);
}

static void a_refusal_of_another_release_is_temporary(void **state)
{
	struct mauth_relay_answer answer;

	relay_scene(relay, HELLO, "FAIL\t1\tcode=of-tomorrow\n", false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_TEMPORARY);
	assert_true(answer.temporary);
	assert_string_equal(answer.reason, "temporary");
}

static void a_broker_that_is_reloaded_is_asked_again(void **state)
{
	struct mauth_relay_answer answer;

	relay_scene(relay, HELLO, "BYE\n", true);
	relay_scene(relay, HELLO, GRANTED, false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_OK);
	mauth_relay_answer_clear(&answer);
	assert_int_equal(relay->connections, 2);
}

static void connections_that_nobody_accepts_are_made_again(void **state)
{
	struct mauth_relay_answer answer;

	relay_scene(relay, NULL, NULL, true);
	relay->scenes[0].unread = true;
	relay_scene(relay, NULL, NULL, true);
	relay->scenes[1].unread = true;
	relay_scene(relay, HELLO, GRANTED, false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_OK);
	mauth_relay_answer_clear(&answer);
}

static void not_for_ever(void **state)
{
	struct mauth_relay_answer answer;

	for (size_t i = 0; i < 8; i++) {
		relay_scene(relay, NULL, NULL, true);
		relay->scenes[i].unread = true;
	}
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_TEMPORARY);
	assert_non_null(strstr(answer.reason, "without an answer"));
	assert_int_equal(relay->connections, 4);
}

/* The question may be what has killed it. */
static void a_broker_that_dies_is_not_asked_again(void **state)
{
	struct mauth_relay_answer answer;

	relay_scene(relay, HELLO, NULL, true);
	relay_scene(relay, HELLO, GRANTED, false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_TEMPORARY);
	assert_true(answer.temporary);
	assert_non_null(strstr(answer.reason, "ended before it answered"));
	assert_int_equal(relay->connections, 1);
}

static void a_deadline_is_kept(void **state)
{
	struct mauth_relay_answer answer;
	struct timespec begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	relay_scene(relay, HELLO, NULL, false);
	relay_start(relay);
	ask_within(1000, &answer);
	assert_int_equal(answer.status, MAUTH_TIMEOUT);
	assert_true(answer.temporary);
	assert_string_equal(answer.reason, "the broker has not answered within 1 s");
	assert_in_range(msecs_since(&begin), 1000, 15000);
}

static void what_is_not_the_answer_is_not_taken_for_it(void **state)
{
	struct mauth_relay_answer answer;

	relay_scene(relay, HELLO "NOTE\t2\tx=1\nOK\t3\ttoken=of-another\tuser=u\n", "NOTE\t1\tx=1\n", false);
	relay_start(relay);
	ask_within(500, &answer);
	assert_int_equal(answer.status, MAUTH_TIMEOUT);
}

static void nobody_listens(void **state)
{
	struct mauth_relay_answer answer;
	struct timespec begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_TEMPORARY);
	assert_true(answer.temporary);
	assert_non_null(strstr(answer.reason, relay->path));
	assert_non_null(strstr(answer.reason, "is Dovecot running"));
	/* A restart is borne, an outage does not hold up the queue. */
	assert_in_range(msecs_since(&begin), 1900, 15000);
}

static void *start_late(void *context)
{
	struct timespec wait = { .tv_nsec = 300 * 1000000 };

	nanosleep(&wait, NULL);
	relay_start(context);
	return NULL;
}

static void a_restart_is_waited_for(void **state)
{
	struct mauth_relay_answer answer;
	pthread_t late;

	relay_scene(relay, HELLO, GRANTED, false);
	assert_int_equal(pthread_create(&late, NULL, start_late, relay), 0);
	ask(&answer);
	pthread_join(late, NULL);
	assert_int_equal(answer.status, MAUTH_OK);
	mauth_relay_answer_clear(&answer);
}

static void the_wrong_listener_is_named(void **state)
{
	struct mauth_relay_answer answer;

	relay_scene(relay, "VERSION\tmodernauth\t1\t0\nREADY\trole=login\n", NULL, false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_CONFIG);
	assert_non_null(strstr(answer.reason, "is not the broker's relay listener"));
}

static void what_answers_oddly_is_refused(void **state)
{
	static const struct {
		const char *greeting, *answer, *reason;
	} rows[] = {
		{ "VERSION\tmodernauth\t2\t0\n", NULL, "another version" },
		{ "220 mail.example.com ESMTP\n", NULL, "answer: no id" },
		{ HELLO, "BAD\t1\treason=unknown verb\n", "does not understand us: unknown verb" },
		{ HELLO, "OK\t1\tuser=u\n", "has no token" },
		{ HELLO, "OK\t1\ttoken=t\n", "has no token" },
		{ HELLO, "OK\t1\tuser=u\ttoken=\n", "has no token" },
		{ HELLO, "OK\t1\tuser=u\ttoken=a\001tb\n", "is no token" },
		{ HELLO, "OK\t1\tuser=u\ttoken=a b\n", "is no token" },
		{ HELLO, "OK\t1\tuser=u\ttoken=a\0019b\n", "bad escape" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_relay_answer answer;

		relay_free(relay);
		relay = relay_new();
		relay_scene(relay, rows[i].greeting, rows[i].answer, false);
		relay_start(relay);
		ask(&answer);
		assert_int_not_equal(answer.status, MAUTH_OK);
		assert_null(answer.token);
		if (strstr(answer.reason, rows[i].reason) == NULL)
			fail_msg("%s: %s", rows[i].reason, answer.reason);
	}
}

static void a_line_without_end_is_refused(void **state)
{
	struct mauth_relay_answer answer;
	char *line = malloc(MAUTH_LINE_MAX + 100);

	assert_non_null(line);
	memset(line, 'x', MAUTH_LINE_MAX + 99);
	line[MAUTH_LINE_MAX + 99] = '\0';
	relay_scene(relay, HELLO, line, false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_PROTOCOL);
	assert_non_null(strstr(answer.reason, "longer than 16384 octets"));
	free(line);
}

static void the_longest_token_is_taken(void **state)
{
	struct mauth_relay_answer answer;
	char *line = malloc(MAUTH_LINE_MAX + 2);
	size_t head;

	assert_non_null(line);
	strcpy(line, "OK\t1\tuser=u@contoso.com\ttoken=");
	head = strlen(line);
	memset(line + head, 'a', MAUTH_LINE_MAX - head);
	strcpy(line + MAUTH_LINE_MAX, "\n");
	relay_scene(relay, HELLO, line, false);
	relay_start(relay);
	ask(&answer);
	assert_int_equal(answer.status, MAUTH_OK);
	assert_int_equal(answer.token_size, MAUTH_LINE_MAX - head);
	mauth_relay_answer_clear(&answer);
	free(line);
}

/* A password map with a wrong colon: nothing of it goes over the socket. */
static void what_cannot_be_an_identity_is_not_sent(void **state)
{
	char name[400];
	struct mauth_relay_question question = { .socket = relay->path, .identity = name, .key = "k", .key_size = 1, .timeout_msecs = 1000 };
	struct mauth_relay_answer answer = { 0 };

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	mauth_relay_token(&question, &answer);
	assert_int_equal(answer.status, MAUTH_CONFIG);
	assert_non_null(strstr(answer.reason, "smtp_sasl_password_maps"));
	question.identity = "u";
	question.key_size = MAUTH_PASSWORD_MAX + 1;
	mauth_relay_token(&question, &answer);
	assert_int_equal(answer.status, MAUTH_CONFIG);
}

static void a_refused_token_is_reported(void **state)
{
	const struct mauth_relay_question question = { .socket = relay->path, .identity = "scans@contoso.com", .timeout_msecs = 20000 };

	relay_scene(relay, HELLO, "DONE\t1\n", false);
	relay_start(relay);
	mauth_relay_refused(&question, "0011", "{\"status\":\"400\"}\n", 17);
	relay_stop(relay);
	assert_non_null(strstr(relay->questions[0], "\nREFUSED\t1\tidentity=scans@contoso.com\ttoken_id=0011\treply={\"status\":\"400\"}?\n"));
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(a_token_arrives),
		CASE(a_refusal_says_why),
		CASE(a_refusal_of_another_release_is_temporary),
		CASE(a_broker_that_is_reloaded_is_asked_again),
		CASE(connections_that_nobody_accepts_are_made_again),
		CASE(not_for_ever),
		CASE(a_broker_that_dies_is_not_asked_again),
		CASE(a_deadline_is_kept),
		CASE(what_is_not_the_answer_is_not_taken_for_it),
		CASE(nobody_listens),
		CASE(a_restart_is_waited_for),
		CASE(the_wrong_listener_is_named),
		CASE(what_answers_oddly_is_refused),
		CASE(a_line_without_end_is_refused),
		CASE(the_longest_token_is_taken),
		CASE(what_cannot_be_an_identity_is_not_sent),
		CASE(a_refused_token_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
