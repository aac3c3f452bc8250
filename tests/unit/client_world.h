/* SPDX-License-Identifier: MIT */
#ifndef CLIENT_WORLD_H
#define CLIENT_WORLD_H
/* A client of the broker's socket, and a broker that says what the test wants it to say, on one loop. For one program. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/wire.h"
#include "fake_sinks.h"
#include "modernauth/client.h"
#include "poll_loop.h"

#define SESSIONS_MAX 8
#define PATIENCE_MSECS 60000

/* A broker that remembers what it is told and says what the test wants it to say. It shares the loop. */
struct session {
	struct bench *bench;
	unsigned int number;             /* 1 for the first */
	int fd;                          /* -1: closed */
	struct mauth_watch *watch;
	struct mauth_wire_reader reader;
};

struct bench {
	char dir[64], path[96];
	struct poll_loop *poll;
	const struct mauth_loop *loop;
	struct fake_sinks sinks;
	struct mauth_client *client;
	int listener;
	struct mauth_watch *accept_watch;
	struct session sessions[SESSIONS_MAX];
	unsigned int sessions_count;
	bool silent;                     /* says no hello */
	unsigned int reads;              /* with something in them */
	struct mauth_buf heard;          /* "1:LOGIN\t1...\n": session, line */
};

/* What a request was answered with. */
struct answer {
	struct bench *bench;
	bool done;
	unsigned int calls;
	enum mauth_status status;
	char token[64], token_id[64], mailbox[64], host[64], reason[MAUTH_TEXT_MAX];
	unsigned int port;
	enum mauth_tls_mode tls;
	struct mauth_client_request *cancels;   /* cancelled by the callback */
	bool frees;                      /* the callback frees the client */
	struct answer *starts;           /* the callback starts this one */
};

static void copy(char *dest, size_t size, const char *src)
{
	snprintf(dest, size, "%s", src != NULL ? src : "(null)");
}

static struct mauth_client_request *login(struct bench *bench, const char *user, struct answer *answer);

static void answered(const struct mauth_client_reply *reply, void *context)
{
	struct answer *answer = context;

	answer->calls++;
	answer->done = true;
	answer->status = reply->status;
	copy(answer->token, sizeof(answer->token),
	     reply->token == NULL ? NULL : mauth_secret_expose(reply->token));
	copy(answer->token_id, sizeof(answer->token_id), reply->token_id);
	copy(answer->mailbox, sizeof(answer->mailbox), reply->mailbox);
	copy(answer->host, sizeof(answer->host), reply->host);
	copy(answer->reason, sizeof(answer->reason), reply->reason);
	answer->port = reply->port;
	answer->tls = reply->tls;
	mauth_client_cancel(&answer->cancels);
	if (answer->starts != NULL)
		login(answer->bench, "next@example.com", answer->starts);
	if (answer->frees)
		mauth_client_free(&answer->bench->client);
}

static void session_close(struct session *session)
{
	if (session->fd < 0)
		return;
	mauth_watch_remove(session->bench->loop, &session->watch);
	close(session->fd);
	session->fd = -1;
	mauth_wire_reader_free(&session->reader);
}

static void session_event(bool readable, bool writable, void *context)
{
	struct session *session = context;
	char data[4096], *text;
	bool overflow;
	size_t line_size;
	ssize_t size = recv(session->fd, data, sizeof(data), MSG_DONTWAIT);

	if (size <= 0) {
		mauth_buf_printf(&session->bench->heard, "%u:EOF\n", session->number);
		session_close(session);
		return;
	}
	session->bench->reads++;
	mauth_buf_append(&session->reader.in, data, (size_t)size);
	while (mauth_wire_next(&session->reader, &text, &line_size, &overflow))
		mauth_buf_printf(&session->bench->heard, "%u:%s\n", session->number, text);
}

static void say(struct bench *bench, unsigned int number, const char *text)
{
	assert_true(number <= bench->sessions_count);
	assert_int_equal(send(bench->sessions[number - 1].fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void accept_event(bool readable, bool writable, void *context)
{
	struct bench *bench = context;
	struct session *session = &bench->sessions[bench->sessions_count];

	assert_true(bench->sessions_count < SESSIONS_MAX);
	session->fd = accept(bench->listener, NULL, NULL);
	assert_true(session->fd >= 0);
	session->bench = bench;
	session->number = ++bench->sessions_count;
	session->watch = mauth_watch_add(bench->loop, session->fd, session_event, session);
	mauth_watch_set(bench->loop, session->watch, true, false);
	if (!bench->silent)
		say(bench, session->number, MAUTH_WIRE_VERSION_LINE "READY\trole=auth\n");
}

static void broker_down(struct bench *bench)
{
	mauth_watch_remove(bench->loop, &bench->accept_watch);
	if (bench->listener >= 0)
		close(bench->listener);
	bench->listener = -1;
	unlink(bench->path);
}

static void broker_up(struct bench *bench)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	broker_down(bench);
	memcpy(addr.sun_path, bench->path, strlen(bench->path) + 1);
	bench->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(bench->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(bench->listener, 8), 0);
	bench->accept_watch = mauth_watch_add(bench->loop, bench->listener, accept_event, bench);
	mauth_watch_set(bench->loop, bench->accept_watch, true, false);
}

static int setup_with(void **state, unsigned int max_open, unsigned int max_reports)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	if (bench == NULL)
		return -1;
	snprintf(bench->dir, sizeof(bench->dir), "/tmp/modernauth-client-XXXXXX");
	if (mkdtemp(bench->dir) == NULL)
		return -1;
	snprintf(bench->path, sizeof(bench->path), "%s/broker", bench->dir);
	bench->poll = poll_loop_new();
	bench->loop = poll_loop_loop(bench->poll);
	bench->listener = -1;
	fake_sinks_init(&bench->sinks);
	broker_up(bench);
	bench->client = mauth_client_new(&(struct mauth_client_settings){
		.path = bench->path, .name = "test", .config_path = "/etc/modernauth.conf",
		.max_open = max_open, .max_reports = max_reports,
	}, bench->loop, &bench->sinks.log);
	*state = bench;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, 0, 0);
}

static int setup_small(void **state)
{
	return setup_with(state, 2, 2);
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	unsigned int left;

	mauth_client_free(&bench->client);
	broker_down(bench);
	for (unsigned int i = 0; i < bench->sessions_count; i++)
		session_close(&bench->sessions[i]);
	left = poll_loop_timers(bench->poll) + poll_loop_watches(bench->poll);
	poll_loop_free(&bench->poll);
	mauth_buf_free(&bench->heard);
	fake_sinks_free(&bench->sinks);
	rmdir(bench->dir);
	free(bench);
	return left == 0 ? 0 : -1;
}

static void run(struct bench *bench, unsigned int msecs)
{
	bool never = false;

	poll_loop_run_until(bench->poll, &never, msecs);
}

static bool heard(const struct bench *bench, const char *text)
{
	return bench->heard.data != NULL && strstr(bench->heard.data, text) != NULL;
}

/* Until the broker has heard text, which must happen. */
static void hear(struct bench *bench, const char *text)
{
	for (unsigned int i = 0; i < PATIENCE_MSECS / 5 && !heard(bench, text); i++)
		run(bench, 5);
	if (!heard(bench, text))
		fail_msg("never heard \"%s\" but:\n%s", text, bench->heard.data);
}

static void await(struct bench *bench, struct answer *answer)
{
	if (!poll_loop_run_until(bench->poll, &answer->done, PATIENCE_MSECS))
		fail_msg("no answer; heard:\n%s", bench->heard.data);
}

static struct mauth_client_request *login_within(struct bench *bench, const char *user, unsigned int msecs,
						 struct answer *answer)
{
	struct mauth_secret *password = mauth_secret_new("s3cret\t", 7);
	struct mauth_client_request *req;

	answer->bench = bench;
	req = mauth_client_login(bench->client, &(struct mauth_attempt){
		.user = user, .password = password, .service = MAUTH_SERVICE_IMAP, .mechanism = "PLAIN",
		.client_ip = "192.0.2.1", .client_port = 4711, .tls = true, .session = "sess+1",
		.timeout_msecs = msecs,
	}, answered, answer);
	mauth_secret_free(&password);
	assert_int_equal(answer->calls, 0);
	return req;
}

static struct mauth_client_request *login(struct bench *bench, const char *user, struct answer *answer)
{
	return login_within(bench, user, 20000, answer);
}

static void report_result(struct bench *bench, const char *user, enum mauth_upstream_result result)
{
	mauth_client_report(bench->client, &(struct mauth_upstream_report){
		.user = user, .mailbox = "box@example.com", .service = MAUTH_SERVICE_POP3,
		.result = result, .reply = "-ERR no\r\n", .token_id = "cafe",
		.host = "outlook.example", .port = 995,
	});
}

static void report(struct bench *bench, const char *user)
{
	report_result(bench, user, MAUTH_UPSTREAM_REFUSED);
}

static void report_accepted(struct bench *bench, const char *user)
{
	report_result(bench, user, MAUTH_UPSTREAM_ACCEPTED);
}

/* The first report opens the connection; later ones need not. */
static void connect_for_reports(struct bench *bench)
{
	report_accepted(bench, "first@example.com");
	hear(bench, "1:UPSTREAM\t1\t");
	say(bench, 1, "DONE\t1\n");
	run(bench, 20);
}

/* Is something in the socket for the broker, without the loop having been asked? */
static bool was_sent(const struct bench *bench)
{
	char octet;

	return recv(bench->sessions[0].fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

#endif
