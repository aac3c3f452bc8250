/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/wire.h"
#include "modernauth/admin.h"

#define PATIENCE 20000u

/* A broker that follows a script, in a thread of its own. Each step is a string:
 * "<text" reads a line that begins with text, ">text" says text, "~" says a line that is too long, "!" closes the
 * connection and accepts another one. At the end everything is closed. */
struct broker {
	char dir[64], path[96];
	int listener;
	bool removes;                    /* the socket, when the first connection has been accepted */
	const char *const *script;
	pthread_t thread;
	char wrong[512];                 /* what did not go by the script */
};

#define HELLO_READ "<VERSION\tmodernauth\t1\t0", "<CLIENT\tname=test\tpid="
#define HELLO ">VERSION\tmodernauth\t1\t7\nREADY\trole=admin\n", HELLO_READ

static bool read_line(FILE *in, const char *expected, struct broker *broker)
{
	char line[MAUTH_LINE_MAX + 2];

	if (fgets(line, sizeof(line), in) == NULL)
		snprintf(line, sizeof(line), "(end)");
	if (strncmp(line, expected, strlen(expected)) == 0)
		return true;
	snprintf(broker->wrong, sizeof(broker->wrong), "read \"%.200s\" instead of \"%.200s\"", line, expected);
	return false;
}

static void say(int fd, const char *text, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		text += sent;
		size -= (size_t)sent;
	}
}

static void say_long(int fd)
{
	static char text[MAUTH_LINE_MAX + 2];

	memset(text, 'x', sizeof(text));
	say(fd, text, sizeof(text));
}

static FILE *accept_one(struct broker *broker)
{
	int fd = accept(broker->listener, NULL, NULL);

	if (broker->removes)
		unlink(broker->path);
	return fd < 0 ? NULL : fdopen(fd, "r");
}

static void *follow(void *context)
{
	struct broker *broker = context;
	FILE *in = accept_one(broker);
	bool good = in != NULL;

	for (const char *const *step = broker->script; good && *step != NULL; step++) {
		switch ((*step)[0]) {
		case '<':
			good = read_line(in, *step + 1, broker);
			break;
		case '>':
			say(fileno(in), *step + 1, strlen(*step + 1));
			break;
		case '~':
			say_long(fileno(in));
			break;
		default:
			fclose(in);
			in = accept_one(broker);
			good = in != NULL;
			break;
		}
	}
	if (in != NULL)
		fclose(in);
	return NULL;
}

static void start(struct broker *broker, const char *const *script)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(broker->dir, sizeof(broker->dir), "/tmp/modernauth-admin-XXXXXX");
	assert_non_null(mkdtemp(broker->dir));
	snprintf(broker->path, sizeof(broker->path), "%s/s", broker->dir);
	memcpy(addr.sun_path, broker->path, strlen(broker->path) + 1);
	broker->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(broker->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(broker->listener, 8), 0);
	broker->script = script;
	assert_int_equal(pthread_create(&broker->thread, NULL, follow, broker), 0);
}

static void join(struct broker *broker)
{
	/* Wakes a thread that waits for a connection that does not come. */
	shutdown(broker->listener, SHUT_RDWR);
	pthread_join(broker->thread, NULL);
	close(broker->listener);
	unlink(broker->path);
	rmdir(broker->dir);
}

static void end(struct broker *broker)
{
	join(broker);
	assert_string_equal(broker->wrong, "");
}

static enum mauth_status open_with(struct broker *broker, unsigned int timeout, unsigned int window,
				   struct mauth_admin **admin_r, struct mauth_error *error_r)
{
	return mauth_admin_open(&(struct mauth_admin_settings){
		.path = broker->path, .name = "test", .timeout_msecs = timeout, .window = window,
	}, admin_r, error_r);
}

static struct mauth_admin *opened(struct broker *broker)
{
	struct mauth_admin *admin = NULL;
	struct mauth_error error = { .text = "" };

	assert_int_equal(open_with(broker, PATIENCE, 0, &admin, &error), MAUTH_OK);
	return admin;
}

static uint32_t ask(struct mauth_admin *admin, const char *verb, const char *user)
{
	const struct mauth_admin_field fields[] = { { "user", user }, { NULL, NULL } };
	uint32_t id = 0;

	assert_int_equal(mauth_admin_ask(admin, verb, fields, &id, NULL), MAUTH_OK);
	return id;
}

static const struct mauth_admin_reply *next(struct mauth_admin *admin)
{
	const struct mauth_admin_reply *reply = NULL;
	struct mauth_error error = { .text = "" };

	if (mauth_admin_next(admin, PATIENCE, &reply, &error) != MAUTH_OK)
		fail_msg("%s: %s", mauth_status_name(error.status), error.text);
	return reply;
}

/* How the next reply fails, with its text in error_r. */
static enum mauth_status next_fails(struct mauth_admin *admin, unsigned int timeout, struct mauth_error *error_r)
{
	const struct mauth_admin_reply *reply = NULL;

	return mauth_admin_next(admin, timeout, &reply, error_r);
}

static void rows_then_ok(void **state)
{
	static const char *const script[] = { HELLO, "<LIST\t1\tuser=a\001tb@example.com\n",
		">ROW\t1\tuser=a\tdevices=3\n", ">ROW\t1\tuser=\001ta\033[2Jb\302\205c\377\tdevices=-1\n",
		">OK\t1\trows=2\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;
	const struct mauth_admin_reply *reply;
	int64_t num = 7;

	start(&broker, script);
	admin = opened(&broker);
	assert_int_equal(ask(admin, "LIST", "a\tb@example.com"), 1);
	reply = next(admin);
	assert_int_equal(reply->id, 1);
	assert_int_equal(reply->kind, MAUTH_ADMIN_ROW);
	assert_string_equal(mauth_admin_get(reply, "user"), "a");
	assert_true(mauth_admin_num(reply, "devices", &num));
	assert_int_equal(num, 3);
	assert_null(mauth_admin_get(reply, "mailbox"));
	reply = next(admin);
	assert_string_equal(mauth_admin_get(reply, "user"), "?a?[2Jb?c?");
	assert_false(mauth_admin_num(reply, "devices", &num));
	assert_int_equal(num, 3);
	assert_int_equal(next(admin)->kind, MAUTH_ADMIN_OK);
	mauth_admin_close(&admin);
	end(&broker);
}

static void passwords_are_secrets(void **state)
{
	static const char *const script[] = { HELLO, "<ENROLL\t1",
		">OK\t1\tdevice_password=K7QM\001tX\tdevice_id=abc\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;
	const struct mauth_admin_reply *reply;
	struct mauth_secret *secret;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "ENROLL", "alice");
	reply = next(admin);
	assert_null(mauth_admin_get(reply, "device_password"));
	assert_int_equal(reply->count, 1);
	secret = mauth_admin_secret(admin, "device_password");
	assert_string_equal(mauth_secret_expose(secret), "K7QM\tX");
	mauth_secret_free(&secret);
	assert_null(mauth_admin_secret(admin, "password"));
	mauth_admin_close(&admin);
	end(&broker);
}

static void a_failure_has_status_text_and_advice(void **state)
{
	static const char *const script[] = { HELLO, "<SHOW\t1",
		">FAIL\t1\tcode=user_unknown\treason=no such\001n user\tadvice=look\n", "<SHOW\t2",
		">BAD\t2\treason=unknown verb\n", "<SHOW\t3", ">FAIL\t3\tcode=ok\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;
	const struct mauth_admin_reply *reply;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "SHOW", "a");
	reply = next(admin);
	assert_int_equal(reply->kind, MAUTH_ADMIN_FAIL);
	assert_int_equal(reply->error.status, MAUTH_USER_UNKNOWN);
	assert_string_equal(reply->error.text, "no such? user");
	assert_string_equal(reply->error.advice, "look");
	(void)ask(admin, "SHOW", "a");
	reply = next(admin);
	assert_int_equal(reply->error.status, MAUTH_PROTOCOL);
	assert_non_null(strstr(reply->error.text, "unknown verb"));
	(void)ask(admin, "SHOW", "a");
	assert_int_equal(next(admin)->error.status, MAUTH_PROTOCOL);
	mauth_admin_close(&admin);
	end(&broker);
}

static void several_may_be_open(void **state)
{
	static const char *const script[] = { HELLO, "<ENROLL\t1\tuser=a", "<ENROLL\t2\tuser=b", "<ENROLL\t3\tuser=c",
		">CODE\t2\tuser_code=B\n>OK\t3\n", ">CODE\t1\tuser_code=A\nOK\t1\nNOTE\t2\tpolls=1\nOK\t2\n", NULL };
	static const uint32_t ids[] = { 2, 1, 1, 2, 2 };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "ENROLL", "a");
	(void)ask(admin, "ENROLL", "b");
	(void)ask(admin, "ENROLL", "c");
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(next(admin)->id, ids[i]);
	mauth_admin_close(&admin);
	end(&broker);
}

static void the_window_keeps_requests_back(void **state)
{
	/* The third is not sent before one of the first two has a line; the client would not wait otherwise. */
	static const char *const script[] = { HELLO, "<ENROLL\t1", "<ENROLL\t2", ">CODE\t2\n", "<ENROLL\t3",
		">OK\t3\n", ">OK\t1\nOK\t2\n", NULL };
	static const uint32_t ids[] = { 2, 3, 1, 2 };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;
	struct mauth_error error;

	start(&broker, script);
	assert_int_equal(open_with(&broker, PATIENCE, 2, &admin, &error), MAUTH_OK);
	(void)ask(admin, "ENROLL", "a");
	(void)ask(admin, "ENROLL", "b");
	(void)ask(admin, "ENROLL", "c");
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(next(admin)->id, ids[i]);
	mauth_admin_close(&admin);
	end(&broker);
}

static void enroll_survives_a_reload(void **state)
{
	static const char *const script[] = { HELLO, "<ENROLL\t1\tuser=a", "<REVOKE\t2\tuser=b",
		">CODE\t1\tuser_code=A\n", ">BYE\n", "!", HELLO, "<ENROLL\t1\tuser=a\n",
		">CODE\t1\tuser_code=A\nOK\t1\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;
	const struct mauth_admin_reply *reply;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "ENROLL", "a");
	(void)ask(admin, "REVOKE", "b");
	assert_int_equal(next(admin)->kind, MAUTH_ADMIN_CODE);
	reply = next(admin);
	assert_int_equal(reply->id, 2);
	assert_int_equal(reply->error.status, MAUTH_TEMPORARY);
	assert_string_equal(reply->error.text, "the broker was restarted before it answered");
	assert_string_equal(reply->error.advice, "run the command again");
	assert_int_equal(next(admin)->kind, MAUTH_ADMIN_CODE);
	assert_int_equal(next(admin)->kind, MAUTH_ADMIN_OK);
	mauth_admin_close(&admin);
	end(&broker);
}

static void what_was_not_sent_goes_to_the_successor(void **state)
{
	static const char *const script[] = { HELLO, ">BYE\n", "!", HELLO, "<STATUS\t1", ">OK\t1\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;

	start(&broker, script);
	admin = opened(&broker);
	/* So that the BYE is there when the request is asked. */
	usleep(100000);
	(void)ask(admin, "STATUS", NULL);
	assert_int_equal(next(admin)->kind, MAUTH_ADMIN_OK);
	mauth_admin_close(&admin);
	end(&broker);
}

static void a_connection_closed_unheard_is_no_answer(void **state)
{
	static const char *const script[] = { "!", "!", HELLO, "<STATUS\t1", ">OK\t1\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "STATUS", NULL);
	assert_int_equal(next(admin)->kind, MAUTH_ADMIN_OK);
	mauth_admin_close(&admin);
	end(&broker);
}

static void a_broker_that_closes_every_connection(void **state)
{
	static const char *const script[] = { "!", "!", "!", "!", "!", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin = NULL;
	struct mauth_error error;

	start(&broker, script);
	assert_int_equal(open_with(&broker, PATIENCE, 0, &admin, &error), MAUTH_TEMPORARY);
	assert_null(admin);
	end(&broker);
}

static void a_broker_that_dies_of_the_question(void **state)
{
	static const char *const script[] = { HELLO, "<ENROLL", "!", HELLO, "<ENROLL", "!", HELLO, "<ENROLL", "!",
		HELLO, "<ENROLL", "!", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;
	struct mauth_error error;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "ENROLL", "a");
	assert_int_equal(next_fails(admin, PATIENCE, &error), MAUTH_TEMPORARY);
	assert_non_null(strstr(error.text, "instead of answering"));
	assert_int_equal(next_fails(admin, PATIENCE, &error), MAUTH_TEMPORARY);
	mauth_admin_close(&admin);
	end(&broker);
}

static void a_broker_that_does_not_come_back(void **state)
{
	static const char *const script[] = { HELLO, "<ENROLL", NULL };
	struct broker broker = { .wrong = "", .removes = true };
	struct mauth_admin *admin;
	struct mauth_error error;

	start(&broker, script);
	assert_int_equal(open_with(&broker, 300, 0, &admin, &error), MAUTH_OK);
	(void)ask(admin, "ENROLL", "a");
	assert_int_equal(next_fails(admin, PATIENCE, &error), MAUTH_TEMPORARY);
	assert_non_null(strstr(error.text, "cannot connect"));
	mauth_admin_close(&admin);
	end(&broker);
}

static void silence_is_a_timeout_and_not_the_end(void **state)
{
	static const char *const script[] = { HELLO, "<STATUS\t1", "<STATUS\t2", ">OK\t1\nOK\t2\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;
	struct mauth_error error;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "STATUS", NULL);
	assert_int_equal(next_fails(admin, 50, &error), MAUTH_TIMEOUT);
	(void)ask(admin, "STATUS", NULL);
	assert_int_equal(next(admin)->id, 1);
	assert_int_equal(next(admin)->id, 2);
	mauth_admin_close(&admin);
	end(&broker);
}

static void no_hello_is_a_timeout(void **state)
{
	static const char *const script[] = { HELLO_READ, "<(end)", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin = NULL;
	struct mauth_error error;

	start(&broker, script);
	assert_int_equal(open_with(&broker, 200, 0, &admin, &error), MAUTH_TIMEOUT);
	assert_non_null(strstr(error.text, "does not say hello"));
	end(&broker);
}

static void nobody_there(void **state)
{
	struct broker broker = { .wrong = "", .path = "/tmp/modernauth-admin-nobody" };
	struct mauth_admin *admin = NULL;
	struct mauth_error error;

	assert_int_equal(open_with(&broker, PATIENCE, 0, &admin, &error), MAUTH_TEMPORARY);
	assert_int_equal(error.code, 2);
	assert_non_null(strstr(error.text, broker.path));
}

/* Whatever a stranger says instead of a hello or of an answer ends with MAUTH_PROTOCOL. */
static void strangers(void **state)
{
	static const char *const hellos[] = { ">HTTP/1.1 400 Bad Request\r\n", ">VERSION\tauth\t1\t2\n",
		">VERSION\tmodernauth\t2\t0\n", ">VERSION\tmodernauth\t1\t0\nREADY\trole=login\n",
		">VERSION\tmodernauth\t1\t0\nOK\t1\n", ">\n", "~" };
	static const char *const answers[] = { ">OK\n", ">OK\tone\n", ">\n", ">ROW\t1\ta=\001x\n", ">OK\t1\t=\n", "~",
		">BAD\t0\treason=malformed\n",
		">U\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\n"
		"U\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\nU\t1\n" };
	struct mauth_admin *admin = NULL;
	struct mauth_error error;

	for (size_t i = 0; i < sizeof(hellos) / sizeof(hellos[0]); i++) {
		const char *const script[] = { hellos[i], HELLO_READ, NULL };
		struct broker broker = { .wrong = "" };

		start(&broker, script);
		assert_int_equal(open_with(&broker, PATIENCE, 0, &admin, &error), MAUTH_PROTOCOL);
		/* Our hello may not have been sent any more. */
		join(&broker);
	}
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		const char *const script[] = { HELLO, "<ENROLL\t1", answers[i], "<(end)", NULL };
		struct broker broker = { .wrong = "" };

		start(&broker, script);
		admin = opened(&broker);
		(void)ask(admin, "ENROLL", "a");
		assert_int_equal(next_fails(admin, PATIENCE, &error), MAUTH_PROTOCOL);
		mauth_admin_close(&admin);
		end(&broker);
	}
}

static void answers_to_nobody_are_ignored(void **state)
{
	static const char *const script[] = { HELLO, "<STATUS\t1",
		">OK\t9\nROW\t4000000000\tx=y\nFOO\t1\nOK\t1\ta=b\n", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin;

	start(&broker, script);
	admin = opened(&broker);
	(void)ask(admin, "STATUS", NULL);
	assert_string_equal(mauth_admin_get(next(admin), "a"), "b");
	mauth_admin_close(&admin);
	end(&broker);
}

static void stop_ends_every_wait(void **state)
{
	static const char *const script[] = { HELLO, "<STATUS\t1", ">OK\t1\n", "<(end)", NULL };
	struct broker broker = { .wrong = "" };
	struct mauth_admin *admin = NULL;
	struct mauth_error error;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	start(&broker, script);
	assert_int_equal(mauth_admin_open(&(struct mauth_admin_settings){ .path = broker.path, .name = "test",
					  .stop_fd = &fds[0] }, &admin, &error), MAUTH_OK);
	(void)ask(admin, "STATUS", NULL);
	assert_int_equal(next(admin)->kind, MAUTH_ADMIN_OK);
	assert_int_equal(write(fds[1], "x", 1), 1);
	(void)ask(admin, "STATUS", NULL);
	assert_int_equal(next_fails(admin, PATIENCE, &error), MAUTH_CANCELLED);
	mauth_admin_close(&admin);
	close(fds[0]);
	close(fds[1]);
	end(&broker);
}

static void too_much_for_a_line(void **state)
{
	static const char *const script[] = { HELLO, "<(end)", NULL };
	struct broker broker = { .wrong = "" };
	char *data = calloc(1, MAUTH_LINE_MAX + 1);
	const struct mauth_admin_field fields[] = { { "data", data }, { NULL, NULL } };
	struct mauth_admin *admin;
	uint32_t id;

	assert_non_null(data);
	memset(data, 'x', MAUTH_LINE_MAX);
	start(&broker, script);
	admin = opened(&broker);
	assert_int_equal(mauth_admin_ask(admin, "IMPORT-LINE", fields, &id, NULL), MAUTH_CONFIG);
	mauth_admin_close(&admin);
	end(&broker);
	free(data);
}

#define TEST(name, fn) { name, fn, NULL, NULL, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("rows come one by one, as texts that may be shown", rows_then_ok),
		TEST("passwords are only given as secrets", passwords_are_secrets),
		TEST("a failure has status, text and advice", a_failure_has_status_text_and_advice),
		TEST("several requests may be open", several_may_be_open),
		TEST("the window keeps requests back until others have an answer", the_window_keeps_requests_back),
		TEST("ENROLL is asked again after a reload, REVOKE is not", enroll_survives_a_reload),
		TEST("what was not sent before BYE goes to the successor", what_was_not_sent_goes_to_the_successor),
		TEST("a connection closed before a word is tried again", a_connection_closed_unheard_is_no_answer),
		TEST("a broker that closes every connection is given up", a_broker_that_closes_every_connection),
		TEST("a broker that dies of the question is given up", a_broker_that_dies_of_the_question),
		TEST("a broker that does not come back is given up", a_broker_that_does_not_come_back),
		TEST("silence is a timeout and not the end", silence_is_a_timeout_and_not_the_end),
		TEST("no hello is a timeout", no_hello_is_a_timeout),
		TEST("nobody there: errno and path", nobody_there),
		TEST("strangers are told apart from brokers", strangers),
		TEST("answers to nobody are ignored", answers_to_nobody_are_ignored),
		TEST("stop ends every wait", stop_ends_every_wait),
		TEST("what does not fit into a line is refused", too_much_for_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
