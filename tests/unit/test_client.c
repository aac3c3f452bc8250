/* SPDX-License-Identifier: MIT */
#include "client_world.h"

#define GRANT "host=outlook.example\tport=993\ttls=implicit\tmailbox=box@example.com\ttoken=tok.en\ttoken_id=cafe"

static void a_login_is_answered_with_its_grant(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	login(bench, "user@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	assert_memory_equal(bench->heard.data, "1:VERSION\tmodernauth\t1\t0\n1:CLIENT\tname=test\tpid=", 47);
	assert_true(heard(bench, "\tconfig=/etc/modernauth.conf\n"));
	assert_true(heard(bench, "\tuser=user@example.com\tpass=s3cret\001t\tservice=imap\tmech=PLAIN\t"
			  "rip=192.0.2.1\trport=4711\ttls=yes\tsession=sess+1\ttimeout="));
	say(bench, 1, "OK\t1\t" GRANT "\tcached=no\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
	assert_string_equal(answer.token, "tok.en");
	assert_string_equal(answer.token_id, "cafe");
	assert_string_equal(answer.mailbox, "box@example.com");
	assert_string_equal(answer.host, "outlook.example");
	assert_int_equal(answer.port, 993);
	assert_int_equal(answer.tls, MAUTH_TLS_IMPLICIT);
	assert_int_equal(answer.calls, 1);
}

static void replies_may_come_in_any_order(void **state)
{
	struct bench *bench = *state;
	struct answer first = { 0 }, second = { 0 };

	login(bench, "a@example.com", &first);
	login(bench, "b@example.com", &second);
	hear(bench, "1:LOGIN\t2\t");
	say(bench, 1, "FAIL\t2\tcode=locked\treason=\nOK\t1\t" GRANT "\n");
	await(bench, &first);
	assert_int_equal(first.status, MAUTH_OK);
	assert_int_equal(second.status, MAUTH_LOCKED);
}

static void a_lookup_is_answered_without_a_token(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { .bench = bench };

	mauth_client_lookup(bench->client, "u@example.com", MAUTH_SERVICE_POP3, 1000, answered, &answer);
	hear(bench, "1:LOOKUP\t1\tuser=u@example.com\tservice=pop3\n");
	say(bench, 1, "OK\t1\ttoken=must-not-be-here\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
	assert_string_equal(answer.token, "(null)");
}

static struct mauth_client_request *check(struct bench *bench, struct answer *answer)
{
	struct mauth_secret *password = mauth_secret_new("s3cret\t", 7);
	struct mauth_client_request *req;

	*answer = (struct answer){ .bench = bench };
	req = mauth_client_login(bench->client, &(struct mauth_attempt){
		.user = "user@example.com", .password = password, .service = MAUTH_SERVICE_SUBMISSION, .check_only = true,
		.timeout_msecs = 20000,
	}, answered, answer);
	mauth_secret_free(&password);
	return req;
}

/* Whoever only asks whether a password is right is told nothing else, and "right" in so many words. */
static void a_check_is_answered_without_a_token(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	check(bench, &answer);
	hear(bench, "\tservice=submission\tcheck=yes");
	say(bench, 1, "OK\t1\tchecked=yes\ttoken=must-not-be-here\thost=h\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
	assert_string_equal(answer.token, "(null)");
	assert_string_equal(answer.host, "(null)");
	check(bench, &answer);
	hear(bench, "LOGIN\t2\t");
	say(bench, 1, "OK\t2\t" GRANT "\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_PROTOCOL);
	check(bench, &answer);
	hear(bench, "LOGIN\t3\t");
	say(bench, 1, "OK\t3\tbasic=yes\thost=h\tport=993\ttls=implicit\tmailbox=m\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_PROTOCOL);
	/* And nobody who wants to log in. */
	answer = (struct answer){ 0 };
	login(bench, "user@example.com", &answer);
	hear(bench, "LOGIN\t4\t");
	say(bench, 1, "OK\t4\tchecked=yes\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_PROTOCOL);
}

static const struct {
	const char *reply;
	enum mauth_status status;
	const char *reason;
} refusals[] = {
	{ "FAIL\t%u\tcode=bad_credentials\treason=\n", MAUTH_BAD_CREDENTIALS, "" },
	{ "FAIL\t%u\tcode=interaction\treason=open\001t\001nhttps://example.com\n", MAUTH_INTERACTION,
	  "open??https://example.com" },
	{ "FAIL\t%u\tcode=not_ours\n", MAUTH_NOT_OURS, "" },
	{ "FAIL\t%u\tcode=ok\n", MAUTH_PROTOCOL, "" },
	{ "FAIL\t%u\tcode=unheard_of\n", MAUTH_PROTOCOL, "" },
	{ "FAIL\t%u\n", MAUTH_PROTOCOL, "" },
	{ "BAD\t%u\treason=what?\n", MAUTH_PROTOCOL, "" },
	{ "DONE\t%u\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=993\ttls=implicit\tmailbox=m\ttoken=\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=993\ttls=implicit\tmailbox=m\ttoken=a b\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=993\ttls=implicit\tmailbox=m\ttoken=a\0011b\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=993\ttls=implicit\tmailbox=a\0011b\ttoken=t\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=993\ttls=implicit\tmailbox=\ttoken=t\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=0\ttls=implicit\tmailbox=m\ttoken=t\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=65536\ttls=implicit\tmailbox=m\ttoken=t\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=993\ttls=none\tmailbox=m\ttoken=t\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\thost=h\tport=993\tmailbox=m\ttoken=t\n", MAUTH_PROTOCOL, "" },
	{ "OK\t%u\tport=993\ttls=implicit\tmailbox=m\ttoken=t\n", MAUTH_PROTOCOL, "" },
};

static void every_refusal_and_every_unusable_grant_has_its_status(void **state)
{
	struct bench *bench = *state;

	for (unsigned int i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct answer answer = { 0 };
		char reply[256], asked[32];
		const char *mark = strstr(refusals[i].reply, "%u");

		login(bench, "u@example.com", &answer);
		snprintf(asked, sizeof(asked), "1:LOGIN\t%u\t", i + 1);
		hear(bench, asked);
		snprintf(reply, sizeof(reply), "%.*s%u%s", (int)(mark - refusals[i].reply), refusals[i].reply,
			 i + 1, mark + 2);
		say(bench, 1, reply);
		await(bench, &answer);
		if (answer.status != refusals[i].status || strcmp(answer.reason, refusals[i].reason) != 0)
			fail_msg("%s gave %s \"%s\"", reply, mauth_status_name(answer.status), answer.reason);
	}
}

static void a_token_that_dovecot_could_not_carry_is_refused(void **state)
{
	struct bench *bench = *state;
	struct answer fits = { 0 }, too_big = { 0 };
	struct mauth_buf buf = { 0 };

	login(bench, "a@example.com", &fits);
	login(bench, "b@example.com", &too_big);
	hear(bench, "1:LOGIN\t2\t");
	for (unsigned int id = 1; id <= 2; id++) {
		mauth_buf_clear(&buf);
		mauth_buf_printf(&buf, "OK\t%u\thost=h\tport=993\ttls=implicit\tmailbox=m\ttoken=", id);
		for (unsigned int i = 0; i < MAUTH_TOKEN_MAX + id - 1; i++)
			mauth_buf_putc(&buf, 'x');
		mauth_buf_putc(&buf, '\n');
		say(bench, 1, buf.data);
	}
	await(bench, &too_big);
	assert_int_equal(fits.status, MAUTH_OK);
	assert_int_equal(too_big.status, MAUTH_PROTOCOL);
	mauth_buf_free(&buf);
}

static void what_entra_cannot_have_is_refused_later_and_without_the_broker(void **state)
{
	struct bench *bench = *state;
	struct answer user = { .bench = bench }, password = { .bench = bench };
	char name[MAUTH_USER_MAX + 2], octets[MAUTH_PASSWORD_MAX + 1];
	struct mauth_secret *secret;

	memset(name, 'u', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	memset(octets, 'p', sizeof(octets));
	secret = mauth_secret_new(octets, sizeof(octets));
	login(bench, name, &user);
	mauth_client_login(bench->client, &(struct mauth_attempt){ .user = "u", .password = secret }, answered,
			   &password);
	mauth_secret_free(&secret);
	assert_int_equal(user.calls + password.calls, 0);
	await(bench, &user);
	await(bench, &password);
	assert_int_equal(user.status, MAUTH_BAD_CREDENTIALS);
	assert_int_equal(password.status, MAUTH_BAD_CREDENTIALS);
	run(bench, 20);
	assert_false(heard(bench, "LOGIN"));
}

static void one_open_request_too_many_is_refused(void **state)
{
	struct bench *bench = *state;
	struct answer answers[3] = { { 0 } };

	for (unsigned int i = 0; i < 3; i++)
		login(bench, "u@example.com", &answers[i]);
	await(bench, &answers[2]);
	assert_int_equal(answers[2].status, MAUTH_TEMPORARY);
	assert_int_equal(answers[0].calls + answers[1].calls, 0);
	mauth_client_free(&bench->client);
}

static void a_login_waits_for_a_broker_that_is_not_there_yet(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	broker_down(bench);
	login(bench, "u@example.com", &answer);
	run(bench, 150);
	assert_int_equal(answer.calls, 0);
	assert_non_null(strstr(bench->sinks.lines, "error cannot connect to the broker at "));
	broker_up(bench);
	hear(bench, "1:LOGIN\t1\t");
	say(bench, 1, "OK\t1\t" GRANT "\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
}

static void a_dying_broker_fails_what_it_was_asked_and_is_found_again(void **state)
{
	struct bench *bench = *state;
	struct answer lost = { 0 }, next = { 0 };

	login(bench, "u@example.com", &lost);
	hear(bench, "1:LOGIN\t1\t");
	session_close(&bench->sessions[0]);
	await(bench, &lost);
	assert_int_equal(lost.status, MAUTH_TEMPORARY);
	login(bench, "u@example.com", &next);
	hear(bench, "2:LOGIN\t2\t");
	assert_false(heard(bench, "2:LOGIN\t1\t"));
	say(bench, 2, "OK\t2\t" GRANT "\n");
	await(bench, &next);
	assert_int_equal(next.status, MAUTH_OK);
}

static void a_broker_that_says_bye_is_followed_by_its_successor(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	login(bench, "u@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	say(bench, 1, "BYE\n");
	hear(bench, "2:LOGIN\t1\t");
	hear(bench, "1:EOF\n");
	assert_int_equal(answer.calls, 0);
	say(bench, 2, "OK\t1\t" GRANT "\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
	assert_int_equal(answer.calls, 1);
}

static void a_successor_may_be_late_and_the_old_one_may_leave_before(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	login(bench, "u@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	broker_down(bench);
	say(bench, 1, "BYE\n");
	run(bench, 20);
	session_close(&bench->sessions[0]);
	run(bench, 100);
	assert_int_equal(answer.calls, 0);
	broker_up(bench);
	hear(bench, "2:LOGIN\t1\t");
	say(bench, 2, "OK\t1\t" GRANT "\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
}

static void an_answer_after_bye_still_counts(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	login(bench, "u@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	broker_down(bench);
	say(bench, 1, "BYE\nOK\t1\t" GRANT "\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
}

/* The number after the last "timeout=" that session was told. */
static unsigned int told_timeout(const struct bench *bench, const char *session)
{
	const char *line = strstr(bench->heard.data, session);

	assert_non_null(line);
	line = strstr(line, "\ttimeout=");
	assert_non_null(line);
	return (unsigned int)strtoul(line + 9, NULL, 10);
}

static void a_request_that_is_sent_again_has_less_time(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };
	unsigned int first;

	login_within(bench, "u@example.com", 3000, &answer);
	hear(bench, "1:LOGIN\t1\t");
	first = told_timeout(bench, "1:LOGIN");
	assert_true(first <= 3000 && first > 2000);
	run(bench, 100);
	say(bench, 1, "BYE\n");
	hear(bench, "2:LOGIN\t1\t");
	assert_true(told_timeout(bench, "2:LOGIN") <= first - 50);
	mauth_client_free(&bench->client);
}

static void a_deadline_is_kept_and_the_broker_told(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	login_within(bench, "u@example.com", 60, &answer);
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_TIMEOUT);
	hear(bench, "1:CANCEL\t1\n");
	say(bench, 1, "OK\t1\t" GRANT "\n");
	run(bench, 30);
	assert_int_equal(answer.calls, 1);
}

static void a_cancelled_request_never_calls_back(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 }, queued = { 0 };
	struct mauth_client_request *req = login(bench, "u@example.com", &answer), *other;

	hear(bench, "1:LOGIN\t1\t");
	mauth_client_cancel(&req);
	assert_null(req);
	hear(bench, "1:CANCEL\t1\n");
	say(bench, 1, "OK\t1\t" GRANT "\n");
	broker_down(bench);
	session_close(&bench->sessions[0]);
	run(bench, 30);
	other = login(bench, "u@example.com", &queued);
	mauth_client_cancel(&other);
	run(bench, 30);
	assert_int_equal(answer.calls + queued.calls, 0);
}

static void a_callback_may_cancel_the_others_that_are_about_to_fail(void **state)
{
	struct bench *bench = *state;
	struct answer first = { 0 }, second = { 0 }, third = { 0 }, next = { 0 };

	login(bench, "1@example.com", &first);
	first.cancels = login(bench, "2@example.com", &second);
	login(bench, "3@example.com", &third);
	first.starts = &next;
	hear(bench, "1:LOGIN\t3\t");
	session_close(&bench->sessions[0]);
	await(bench, &third);
	assert_int_equal(first.calls, 1);
	assert_int_equal(second.calls, 0);
	hear(bench, "2:LOGIN\t4\t");
	say(bench, 2, "OK\t4\t" GRANT "\n");
	await(bench, &next);
	assert_int_equal(next.status, MAUTH_OK);
}

static void a_callback_may_free_the_client(void **state)
{
	struct bench *bench = *state;
	struct answer first = { .frees = true }, second = { 0 };

	login(bench, "1@example.com", &first);
	login(bench, "2@example.com", &second);
	hear(bench, "1:LOGIN\t2\t");
	say(bench, 1, "OK\t1\t" GRANT "\nOK\t2\t" GRANT "\n");
	await(bench, &first);
	assert_null(bench->client);
	assert_int_equal(first.calls, 1);
	assert_int_equal(second.calls, 1);
	assert_int_equal(second.status, MAUTH_TEMPORARY);
}

static void a_callback_may_free_the_client_when_the_broker_dies(void **state)
{
	struct bench *bench = *state;
	struct answer first = { .frees = true }, second = { 0 };

	login(bench, "1@example.com", &first);
	login(bench, "2@example.com", &second);
	hear(bench, "1:LOGIN\t2\t");
	session_close(&bench->sessions[0]);
	await(bench, &first);
	assert_null(bench->client);
	assert_int_equal(first.calls + second.calls, 2);
}

static void freeing_answers_everything(void **state)
{
	struct bench *bench = *state;
	struct answer sent = { 0 }, queued = { 0 };

	login(bench, "u@example.com", &sent);
	hear(bench, "1:LOGIN\t1\t");
	broker_down(bench);
	session_close(&bench->sessions[0]);
	await(bench, &sent);
	login(bench, "u@example.com", &queued);
	mauth_client_free(&bench->client);
	assert_null(bench->client);
	assert_int_equal(queued.calls, 1);
	assert_int_equal(queued.status, MAUTH_TEMPORARY);
}

static void another_protocol_is_not_talked_to(void **state)
{
	static const char *const hellos[] = { "VERSION\tauth\t1\t0\n", "VERSION\tmodernauth\t2\t0\n",
					      "* OK IMAP\n", "OK\t1\t" GRANT "\n" };
	struct bench *bench = *state;

	bench->silent = true;
	for (unsigned int i = 0; i < sizeof(hellos) / sizeof(hellos[0]); i++) {
		struct answer answer = { 0 };

		login(bench, "u@example.com", &answer);
		while (bench->sessions_count <= i)
			run(bench, 5);
		run(bench, 20);
		say(bench, i + 1, hellos[i]);
		await(bench, &answer);
		assert_int_equal(answer.status, MAUTH_TEMPORARY);
	}
}

static void a_later_minor_version_is_accepted(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	bench->silent = true;
	login(bench, "u@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	say(bench, 1, "VERSION\tmodernauth\t1\t9\nREADY\trole=auth\tnew=x\nNEWS\tfoo\nOK\t1\t" GRANT "\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_OK);
}

static void a_broken_line_ends_the_connection(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	login(bench, "u@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	say(bench, 1, "OK\t1\thost=\001x\n");
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_TEMPORARY);
	hear(bench, "1:EOF\n");
}

static void a_line_without_end_ends_the_connection(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };
	char octets[MAUTH_LINE_MAX + 2];

	login(bench, "u@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	memset(octets, 'x', sizeof(octets) - 1);
	octets[sizeof(octets) - 1] = '\0';
	say(bench, 1, octets);
	await(bench, &answer);
	assert_int_equal(answer.status, MAUTH_TEMPORARY);
}

static void a_report_is_sent_again_until_it_is_confirmed(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	report(bench, "r@example.com");
	hear(bench, "1:UPSTREAM\t1\tuser=r@example.com\tmailbox=box@example.com\tservice=pop3\t"
	     "token_id=cafe\thost=outlook.example\tport=995\tresult=refused\treply=-ERR no??\n");
	session_close(&bench->sessions[0]);
	hear(bench, "2:UPSTREAM\t1\t");
	say(bench, 2, "BYE\n");
	hear(bench, "3:UPSTREAM\t1\t");
	say(bench, 3, "DONE\t1\n");
	run(bench, 20);
	session_close(&bench->sessions[2]);
	run(bench, 20);
	login(bench, "u@example.com", &answer);
	hear(bench, "4:LOGIN\t2\t");
	assert_false(heard(bench, "4:UPSTREAM"));
	mauth_client_free(&bench->client);
}

static void a_report_that_makes_no_sense_to_the_broker_is_dropped(void **state)
{
	struct bench *bench = *state;

	report(bench, "r@example.com");
	hear(bench, "1:UPSTREAM\t1\t");
	say(bench, 1, "FAIL\t1\tcode=protocol\n");
	run(bench, 20);
	assert_non_null(strstr(bench->sinks.lines, "error the broker refused a report"));
	session_close(&bench->sessions[0]);
	report(bench, "s@example.com");
	hear(bench, "2:UPSTREAM\t2\t");
	assert_false(heard(bench, "2:UPSTREAM\t1\t"));
}

static void the_oldest_report_goes_when_there_are_too_many(void **state)
{
	struct bench *bench = *state;

	broker_down(bench);
	report(bench, "a@example.com");
	report(bench, "b@example.com");
	report(bench, "c@example.com");
	broker_up(bench);
	hear(bench, "user=c@example.com");
	assert_true(heard(bench, "user=b@example.com"));
	assert_false(heard(bench, "user=a@example.com"));
	assert_non_null(strstr(bench->sinks.lines, "1 reports of the upstream's answers are lost"));
}

static void accepted_tokens_are_reported_together(void **state)
{
	struct bench *bench = *state;
	unsigned int reads;

	connect_for_reports(bench);
	reads = bench->reads;
	report_accepted(bench, "a@example.com");
	report_accepted(bench, "b@example.com");
	assert_false(was_sent(bench));
	hear(bench, "1:UPSTREAM\t3\tuser=b@example.com");
	assert_true(heard(bench, "1:UPSTREAM\t2\tuser=a@example.com"));
	assert_int_equal(bench->reads, reads + 1);
	say(bench, 1, "DONE\t2\nDONE\t3\n");
	run(bench, 20);
}

static void a_refused_token_is_reported_at_once(void **state)
{
	struct bench *bench = *state;
	unsigned int reads;

	connect_for_reports(bench);
	reads = bench->reads;
	report_accepted(bench, "a@example.com");
	report(bench, "b@example.com");
	assert_true(was_sent(bench));
	hear(bench, "1:UPSTREAM\t3\t");
	assert_true(heard(bench, "1:UPSTREAM\t2\t"));
	assert_int_equal(bench->reads, reads + 1);
	say(bench, 1, "DONE\t2\nDONE\t3\n");
	run(bench, 20);
}

static void ends_of_sessions_are_reported_together_and_until_they_are_confirmed(void **state)
{
	const struct mauth_upstream_report about = { .user = "a@example.com", .service = MAUTH_SERVICE_IMAP, .session = "s" };
	const struct mauth_session_end end = {
		.by = MAUTH_ENDED_BY_SERVER, .at_usecs = 1700000000000000, .duration_usecs = 12, .bytes_in = 5000000000, .bytes_out = 1,
		.reason = "", .said = "* BYE\r\n",
	};
	struct bench *bench = *state;
	unsigned int reads;

	connect_for_reports(bench);
	reads = bench->reads;
	mauth_client_report_end(bench->client, &about, &end);
	assert_false(was_sent(bench));
	report_accepted(bench, "b@example.com");
	hear(bench, "1:ENDED\t2\tuser=a@example.com\tservice=imap\tsession=s\tby=server\tat=1700000000000000\tduration=12\t"
	     "in=5000000000\tout=1\treason=\tsaid=* BYE??\n");
	hear(bench, "1:UPSTREAM\t3\t");
	assert_int_equal(bench->reads, reads + 1);
	session_close(&bench->sessions[0]);
	hear(bench, "2:ENDED\t2\t");
	hear(bench, "2:UPSTREAM\t3\t");
	say(bench, 2, "DONE\t2\nDONE\t3\n");
	run(bench, 20);
}

static void a_mailbox_that_is_not_there_is_reported_at_once(void **state)
{
	const struct mauth_upstream_report about = { .user = "a@example.com", .service = MAUTH_SERVICE_IMAP, .reply = "a BAD no" };
	struct bench *bench = *state;

	connect_for_reports(bench);
	mauth_client_report_unconnected(bench->client, &about);
	assert_true(was_sent(bench));
	hear(bench, "1:UNCONNECTED\t2\tuser=a@example.com\tservice=imap\treply=a BAD no\n");
	say(bench, 1, "DONE\t2\n");
	run(bench, 20);
}

static void a_login_does_not_wait_for_reports_but_takes_them_along(void **state)
{
	struct bench *bench = *state;
	struct answer first = { 0 }, second = { 0 };
	unsigned int reads;

	connect_for_reports(bench);
	report_accepted(bench, "a@example.com");
	login(bench, "u@example.com", &first);
	assert_true(was_sent(bench));
	hear(bench, "1:LOGIN\t3\t");
	assert_true(heard(bench, "1:UPSTREAM\t2\t"));
	/* The same while the broker is busy: then it waits for the end of this turn, not for the reports' time. */
	reads = bench->reads;
	report_accepted(bench, "b@example.com");
	login(bench, "u@example.com", &second);
	run(bench, 1);
	assert_true(was_sent(bench) || bench->reads > reads);
	hear(bench, "1:LOGIN\t5\t");
	assert_true(heard(bench, "1:UPSTREAM\t4\t"));
	mauth_client_free(&bench->client);
}

static void logins_of_one_turn_go_together_while_the_broker_is_busy(void **state)
{
	struct bench *bench = *state;
	struct answer answers[4] = { { 0 } }, next = { 0 };
	unsigned int reads;

	login(bench, "alone@example.com", &answers[0]);
	hear(bench, "1:LOGIN\t1\t");
	reads = bench->reads;
	for (unsigned int i = 1; i < 4; i++)
		login(bench, "u@example.com", &answers[i]);
	assert_false(was_sent(bench));
	hear(bench, "1:LOGIN\t4\t");
	assert_int_equal(bench->reads, reads + 1);
	say(bench, 1, "FAIL\t1\tcode=locked\nFAIL\t2\tcode=locked\nFAIL\t3\tcode=locked\nFAIL\t4\tcode=locked\n");
	await(bench, &answers[3]);
	/* Alone again, the next one goes at once. */
	login(bench, "alone@example.com", &next);
	assert_true(was_sent(bench));
	mauth_client_free(&bench->client);
}

static void many_logins_of_one_turn_keep_the_broker_at_work(void **state)
{
	struct bench *bench = *state;
	struct answer answers[20] = { { 0 } };

	login(bench, "first@example.com", &answers[0]);
	hear(bench, "1:LOGIN\t1\t");
	for (unsigned int i = 1; i < 20; i++)
		login(bench, "u@example.com", &answers[i]);
	assert_true(was_sent(bench));
	hear(bench, "1:LOGIN\t20\t");
	mauth_client_free(&bench->client);
}

static void reports_that_were_held_back_arrive_when_the_process_ends(void **state)
{
	struct bench *bench = *state;

	connect_for_reports(bench);
	report_accepted(bench, "a@example.com");
	report_accepted(bench, "b@example.com");
	mauth_client_free(&bench->client);
	hear(bench, "1:UPSTREAM\t3\tuser=b@example.com");
	assert_true(heard(bench, "1:UPSTREAM\t2\tuser=a@example.com"));
}

static void reports_that_were_held_back_survive_the_connection(void **state)
{
	struct bench *bench = *state;

	connect_for_reports(bench);
	report_accepted(bench, "a@example.com");
	session_close(&bench->sessions[0]);
	hear(bench, "2:UPSTREAM\t2\tuser=a@example.com");
	say(bench, 2, "DONE\t2\n");
	run(bench, 20);
}

static void the_report_of_a_process_that_ends_at_once_arrives(void **state)
{
	struct bench *bench = *state;

	report(bench, "r@example.com");
	mauth_client_free(&bench->client);
	bench->silent = true;
	hear(bench, "1:UPSTREAM\t1\tuser=r@example.com");
}

static void a_report_gets_a_last_chance_when_the_process_ends(void **state)
{
	struct bench *bench = *state;

	broker_down(bench);
	report(bench, "r@example.com");
	broker_up(bench);
	bench->silent = true;
	mauth_client_free(&bench->client);
	hear(bench, "1:UPSTREAM\t1\tuser=r@example.com");
}

static void a_slow_broker_gets_everything_in_the_end(void **state)
{
	enum { LOGINS = 5000 };
	struct bench *bench = *state;
	struct answer *answers = calloc(LOGINS, sizeof(*answers));
	char last[32];

	assert_non_null(answers);
	for (unsigned int i = 0; i < LOGINS; i++)
		login(bench, "somebody-with-a-long-name@example.com", &answers[i]);
	snprintf(last, sizeof(last), "1:LOGIN\t%d\t", LOGINS);
	hear(bench, last);
	mauth_client_free(&bench->client);
	for (unsigned int i = 0; i < LOGINS; i++)
		assert_int_equal(answers[i].calls, 1);
	free(answers);
}

static void no_password_is_logged(void **state)
{
	struct bench *bench = *state;
	struct answer answer = { 0 };

	bench->sinks.log.debug = true;
	login(bench, "u@example.com", &answer);
	hear(bench, "1:LOGIN\t1\t");
	session_close(&bench->sessions[0]);
	await(bench, &answer);
	assert_non_null(bench->sinks.lines);
	assert_null(strstr(bench->sinks.lines, "s3cret"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_SMALL(name) cmocka_unit_test_setup_teardown(name, setup_small, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_login_is_answered_with_its_grant),
		T(replies_may_come_in_any_order),
		T(a_lookup_is_answered_without_a_token),
		T(a_check_is_answered_without_a_token),
		T(every_refusal_and_every_unusable_grant_has_its_status),
		T(a_token_that_dovecot_could_not_carry_is_refused),
		T(what_entra_cannot_have_is_refused_later_and_without_the_broker),
		T_SMALL(one_open_request_too_many_is_refused),
		T(a_login_waits_for_a_broker_that_is_not_there_yet),
		T(a_dying_broker_fails_what_it_was_asked_and_is_found_again),
		T(a_broker_that_says_bye_is_followed_by_its_successor),
		T(a_successor_may_be_late_and_the_old_one_may_leave_before),
		T(an_answer_after_bye_still_counts),
		T(a_request_that_is_sent_again_has_less_time),
		T(a_deadline_is_kept_and_the_broker_told),
		T(a_cancelled_request_never_calls_back),
		T(a_callback_may_cancel_the_others_that_are_about_to_fail),
		T(a_callback_may_free_the_client),
		T(a_callback_may_free_the_client_when_the_broker_dies),
		T(freeing_answers_everything),
		T(another_protocol_is_not_talked_to),
		T(a_later_minor_version_is_accepted),
		T(a_broken_line_ends_the_connection),
		T(a_line_without_end_ends_the_connection),
		T(a_report_is_sent_again_until_it_is_confirmed),
		T(a_report_that_makes_no_sense_to_the_broker_is_dropped),
		T_SMALL(the_oldest_report_goes_when_there_are_too_many),
		T(accepted_tokens_are_reported_together),
		T(a_refused_token_is_reported_at_once),
		T(ends_of_sessions_are_reported_together_and_until_they_are_confirmed),
		T(a_mailbox_that_is_not_there_is_reported_at_once),
		T(a_login_does_not_wait_for_reports_but_takes_them_along),
		T(logins_of_one_turn_go_together_while_the_broker_is_busy),
		T(many_logins_of_one_turn_keep_the_broker_at_work),
		T(reports_that_were_held_back_arrive_when_the_process_ends),
		T(reports_that_were_held_back_survive_the_connection),
		T(the_report_of_a_process_that_ends_at_once_arrives),
		T(a_report_gets_a_last_chance_when_the_process_ends),
		T(a_slow_broker_gets_everything_in_the_end),
		T(no_password_is_logged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
