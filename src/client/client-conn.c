/* SPDX-License-Identifier: MIT */
#include "client/client-private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Before jitter, which takes up to a half. */
#define BACKOFF_MIN_MSECS 100u
#define BACKOFF_MAX_MSECS 5000u
#define HELLO_MSECS 10000u
/* After a failed write the rest of what the broker said is read first; then this ends the wait. */
#define BROKEN_MSECS 100u
/* A request that has waited this long for a broker that cannot be reached is answered: its user waits too. */
#define DOWN_GRACE_MSECS 5000u
/* Login processes live as long as the sessions they proxy; they need no connection for that. */
#define IDLE_MSECS 60000u
#define REPORT_RETRY_MSECS 5000u
/* How long the end of a process may be held up for the sake of its reports. */
#define DRAIN_MSECS 1000
/* No more than this is put between us and the socket; the rest waits in the queue. */
#define OUT_HIGH (64u * 1024u)
/* Connections in a row that may be lost before the hello without failing what was asked on them */
#define UNHEARD_MAX 3u
#define LOG_AGAIN_USECS (60 * 1000000LL)

void client_unref(struct mauth_client *client)
{
	if (--client->refs > 0)
		return;
	free(client->path);
	free(client->name);
	free(client->config_path);
	free(client);
}

static void conn_unref(struct client_conn *conn)
{
	if (--conn->refs > 0)
		return;
	mauth_wire_reader_free(&conn->reader);
	mauth_buf_free(&conn->out);
	free(conn);
}

void client_conn_close(struct client_conn **conn_p)
{
	struct client_conn *conn = *conn_p;

	*conn_p = NULL;
	if (conn == NULL)
		return;
	conn->dead = true;
	mauth_timer_remove(conn->client->loop, &conn->timer);
	mauth_watch_remove(conn->client->loop, &conn->watch);
	close(conn->fd);
	conn_unref(conn);
}

static void reconnect_fired(void *context);

static void client_schedule(struct mauth_client *client)
{
	unsigned int wait = client->backoff_msecs > 0 ? client->backoff_msecs : BACKOFF_MIN_MSECS;
	unsigned int jitter;

	client->backoff_msecs = wait * 2 < BACKOFF_MAX_MSECS ? wait * 2 : BACKOFF_MAX_MSECS;
	/* A hundred login processes must not come back in step. */
	mauth_random(&jitter, sizeof(jitter));
	wait = wait / 2 + jitter % (wait / 2 + 1);
	client->next_attempt_msecs = mauth_mono_msecs(client->loop) + wait;
	if (client->reconnect == NULL && !client->destroyed && (client->open > 0 || client->reports > 0))
		client->reconnect = mauth_timer_add(client->loop, wait, reconnect_fired, client);
}

static void conn_lost(struct client_conn *conn, const char *why);

static void conn_timeout(void *context)
{
	struct client_conn *conn = context;

	conn->timer = NULL;
	conn_lost(conn, conn->hello ? "write failed" : "no hello in time");
}

static void conn_fill(struct client_conn *conn)
{
	struct mauth_client *client = conn->client;
	struct mauth_client_request *req;

	while (conn->out.size < OUT_HIGH && (req = client->queue.first) != NULL) {
		if (req->kind == KIND_REPORT && client->report_retry != NULL)
			break;
		client_request_write(req, &conn->out);
		client_list_remove(req);
		client_list_append(&client->sent, req);
	}
}

void client_conn_pump(struct client_conn *conn)
{
	const struct mauth_loop *loop = conn->client->loop;
	ssize_t size;

	while (!conn->mute) {
		conn_fill(conn);
		if (conn->out.size == 0)
			break;
		size = send(conn->fd, conn->out.data, conn->out.size, MSG_NOSIGNAL);
		if (size >= 0) {
			mauth_buf_consume(&conn->out, (size_t)size);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR)
			break;
		conn->mute = true;
		mauth_buf_clear(&conn->out);
		mauth_timer_remove(loop, &conn->timer);
		conn->timer = mauth_timer_add(loop, BROKEN_MSECS, conn_timeout, conn);
	}
	mauth_watch_set(loop, conn->watch, true, !conn->mute && conn->out.size > 0);
}

static int socket_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, saved;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	/* A UNIX socket is connected at once or not at all. */
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static void conn_event(bool readable, bool writable, void *context);

static void conn_hello(struct client_conn *conn)
{
	struct mauth_client *client = conn->client;

	mauth_buf_puts(&conn->out, MAUTH_WIRE_VERSION_LINE);
	mauth_wire_begin(&conn->out, "CLIENT");
	mauth_wire_str(&conn->out, "name", client->name);
	mauth_wire_num(&conn->out, "pid", getpid());
	mauth_wire_str(&conn->out, "config", client->config_path);
	mauth_wire_end(&conn->out);
}

static void connect_failed(struct mauth_client *client, int error)
{
	int64_t now = mauth_mono_usecs(client->loop);

	/* At a reload Dovecot's master makes the socket anew: that it is missing once is no news. */
	if (client->backoff_msecs > 0 &&
	    (client->logged_usecs == 0 || now - client->logged_usecs >= LOG_AGAIN_USECS)) {
		client->logged_usecs = now;
		mauth_log(client->log, MAUTH_ERROR, "cannot connect to the broker at %s: %s; is its service "
			  "configured and running?", client->path, strerror(error));
	}
	client_schedule(client);
}

void client_connect(struct mauth_client *client)
{
	int fd = socket_connect(client->path);
	struct client_conn *conn;

	mauth_timer_remove(client->loop, &client->reconnect);
	if (fd < 0) {
		connect_failed(client, errno);
		return;
	}
	conn = mauth_new(sizeof(*conn));
	conn->client = client;
	conn->refs = 1;
	conn->fd = fd;
	conn->watch = mauth_watch_add(client->loop, fd, conn_event, conn);
	conn->timer = mauth_timer_add(client->loop, HELLO_MSECS, conn_timeout, conn);
	client->conn = conn;
	client_conn_close(&client->old);
	conn_hello(conn);
	client_conn_pump(conn);
}

/* Answers what was put aside. Each callback may free the client, cancel the others or start new ones. */
static void client_fail_doomed(struct mauth_client *client)
{
	client->refs++;
	while (client->doomed.first != NULL)
		client_request_fail(client->doomed.first, MAUTH_TEMPORARY);
	client_unref(client);
}

static void doom_if_waited(struct mauth_client *client, struct client_list *list, int64_t msecs)
{
	int64_t limit = mauth_mono_msecs(client->loop) - msecs;
	struct mauth_client_request *req, *next;

	for (req = list->first; req != NULL; req = next) {
		next = req->next;
		if (req->kind == KIND_REPORT || req->started_msecs > limit)
			continue;
		client_list_remove(req);
		client_list_append(&client->doomed, req);
	}
}

void client_requeue(struct mauth_client *client)
{
	struct mauth_client_request *req;

	while ((req = client->sent.last) != NULL) {
		client_list_remove(req);
		client_list_prepend(&client->queue, req);
	}
}

static void conn_lost(struct client_conn *conn, const char *why)
{
	struct mauth_client *client = conn->client;
	bool heard;

	if (conn == client->old) {
		client_conn_close(&client->old);
		return;
	}
	/* A broker that has not said a word has most likely not read them: at a reload the connection may have been to a
	   socket that the master has closed since. */
	heard = conn->spoken || ++client->unheard > UNHEARD_MAX;
	mauth_log(client->log, heard && (client->open > 0 || client->reports > 0) ? MAUTH_WARNING : MAUTH_DEBUG,
		  "lost the connection to the broker at %s: %s; %u open requests, %u unconfirmed reports",
		  client->path, why, client->open, client->reports);
	client_conn_close(&client->conn);
	if (heard)
		doom_if_waited(client, &client->sent, 0);
	client_requeue(client);
	client_schedule(client);
	client_fail_doomed(client);
}

static void reconnect_fired(void *context)
{
	struct mauth_client *client = context;

	client->reconnect = NULL;
	if (client->conn != NULL || (client->open == 0 && client->reports == 0))
		return;
	client_connect(client);
	if (client->conn != NULL)
		return;
	doom_if_waited(client, &client->queue, DOWN_GRACE_MSECS);
	client_fail_doomed(client);
}

static void idle_fired(void *context)
{
	struct mauth_client *client = context;

	client->idle = NULL;
	if (client->open > 0 || client->reports > 0)
		return;
	client_conn_close(&client->conn);
	client_conn_close(&client->old);
}

void client_wake(struct mauth_client *client)
{
	int64_t wait = client->next_attempt_msecs - mauth_mono_msecs(client->loop);

	mauth_timer_remove(client->loop, &client->idle);
	mauth_timer_remove(client->loop, &client->soon);
	client->gathered = 0;
	if (client->destroyed)
		return;
	if (client->conn != NULL)
		client_conn_pump(client->conn);
	else if (client->reconnect != NULL)
		return;
	else if (wait > 0 && wait <= BACKOFF_MAX_MSECS)
		client->reconnect = mauth_timer_add(client->loop, (unsigned int)wait, reconnect_fired, client);
	else
		client_connect(client);
}

static void soon_fired(void *context)
{
	struct mauth_client *client = context;

	client->soon = NULL;
	client_wake(client);
}

void client_wake_within(struct mauth_client *client, unsigned int msecs)
{
	/* A connection has to be made, and its hello wakes the broker anyway. */
	if (client->conn == NULL) {
		client_wake(client);
		return;
	}
	if (client->soon != NULL && client->soon_msecs <= msecs)
		return;
	mauth_timer_remove(client->loop, &client->soon);
	client->soon_msecs = msecs;
	client->soon = mauth_timer_add(client->loop, msecs, soon_fired, client);
}

void client_may_idle(struct mauth_client *client)
{
	if (client->open == 0 && client->reports == 0 && client->idle == NULL && !client->destroyed)
		client->idle = mauth_timer_add(client->loop, IDLE_MSECS, idle_fired, client);
}

void client_send_cancel(struct mauth_client *client, const struct mauth_client_request *req)
{
	if (req->list != &client->sent || client->conn == NULL || client->destroyed)
		return;
	mauth_wire_begin(&client->conn->out, "CANCEL");
	mauth_wire_id(&client->conn->out, req->id);
	mauth_wire_end(&client->conn->out);
	client_conn_pump(client->conn);
}

/* --- what the broker says ---------------------------------------------------------------------------------- */

static void conn_bye(struct client_conn *conn)
{
	struct mauth_client *client = conn->client;

	if (conn != client->conn)
		return;
	client_conn_close(&client->old);
	client->old = conn;
	client->conn = NULL;
	conn->mute = true;
	mauth_buf_clear(&conn->out);
	mauth_watch_set(client->loop, conn->watch, true, false);
	client_requeue(client);
	if (client->open == 0 && client->reports == 0)
		client_conn_close(&client->old);
	else
		client_connect(client);
}

static bool has_control(const char *str)
{
	while ((unsigned char)*str >= 0x20 && *str != 0x7f)
		str++;
	return *str != '\0';
}

/* RFC 6750's token, and nothing that could end a field, a line or a SASL response early. */
static struct mauth_secret *token_new(const struct mauth_wire_field *field)
{
	if (field == NULL || field->size == 0 || field->size > MAUTH_TOKEN_MAX)
		return NULL;
	for (size_t i = 0; i < field->size; i++) {
		if (field->value[i] <= 0x20 || field->value[i] >= 0x7f)
			return NULL;
	}
	return mauth_secret_new(field->value, field->size);
}

/* False if a field that a grant needs is missing or unusable. */
static bool parse_grant(const struct mauth_wire_line *line, struct mauth_client_reply *reply)
{
	const char *tls = mauth_wire_get(line, "tls");

	reply->host = mauth_wire_get(line, "host");
	reply->mailbox = mauth_wire_get(line, "mailbox");
	reply->token_id = mauth_wire_get(line, "token_id");
	reply->port = mauth_wire_get_num(line, "port", 65535, 0);
	if (reply->host == NULL || *reply->host == '\0' || has_control(reply->host) || reply->port == 0)
		return false;
	if (reply->mailbox == NULL || *reply->mailbox == '\0' || strlen(reply->mailbox) > MAUTH_USER_MAX || has_control(reply->mailbox))
		return false;
	if (reply->token_id == NULL || has_control(reply->token_id))
		reply->token_id = "";
	if (tls != NULL && strcmp(tls, "implicit") == 0)
		reply->tls = MAUTH_TLS_IMPLICIT;
	else if (tls != NULL && strcmp(tls, "starttls") == 0)
		reply->tls = MAUTH_TLS_STARTTLS;
	else
		return false;
	return true;
}

static void request_ok(struct mauth_client_request *req, const struct mauth_wire_line *line)
{
	struct mauth_client_reply reply = { .status = MAUTH_OK, .reason = "" };
	struct mauth_secret *token = NULL;

	if (req->kind == KIND_LOGIN) {
		reply.checked = req->check_only && mauth_wire_is_yes(line, "checked");
		reply.basic = !req->check_only && mauth_wire_is_yes(line, "basic");
		token = req->check_only || reply.basic ? NULL : token_new(mauth_wire_find(line, "token"));
		if (!reply.checked && ((token == NULL && !reply.basic) || !parse_grant(line, &reply))) {
			mauth_secret_free(&token);
			mauth_log(req->client->log, MAUTH_ERROR,
				  "the broker's answer lacks what was asked for: a usable token, host, port, tls or mailbox, or checked");
			client_request_fail(req, MAUTH_PROTOCOL);
			return;
		}
		reply.token = token;
	}
	client_request_finish(req, &reply);
	mauth_secret_free(&token);
}

static void request_refused(struct mauth_client_request *req, const struct mauth_wire_line *line)
{
	const char *code = mauth_wire_get(line, "code"), *reason = mauth_wire_get(line, "reason");
	struct mauth_client_reply reply = { .status = MAUTH_PROTOCOL };
	char text[MAUTH_TEXT_MAX] = "";

	if (code == NULL || !mauth_status_parse(code, &reply.status) || reply.status == MAUTH_OK)
		reply.status = MAUTH_PROTOCOL;
	if (reason != NULL)
		mauth_clean_copy(text, sizeof(text), reason, strlen(reason));
	reply.reason = text;
	reply.reason_is_secret = mauth_wire_get(line, "secret") != NULL;
	reply.is_final = mauth_wire_get(line, "final") != NULL;
	client_request_finish(req, &reply);
}

static void report_retry_fired(void *context)
{
	struct mauth_client *client = context;

	client->report_retry = NULL;
	client_wake(client);
}

static void report_refused(struct mauth_client_request *req, const struct mauth_wire_line *line)
{
	struct mauth_client *client = req->client;
	const char *code = mauth_wire_get(line, "code");
	enum mauth_status status = MAUTH_PROTOCOL;

	if (code != NULL)
		mauth_status_parse(code, &status);
	if (status != MAUTH_TEMPORARY && status != MAUTH_TIMEOUT && status != MAUTH_AUDIT) {
		mauth_log(client->log, MAUTH_ERROR, "the broker refused a report of the upstream's answer: %s",
			  mauth_status_name(status));
		client_request_free(req);
		return;
	}
	client_list_remove(req);
	client_list_prepend(&client->queue, req);
	if (client->report_retry == NULL)
		client->report_retry = mauth_timer_add(client->loop, REPORT_RETRY_MSECS, report_retry_fired,
						       client);
}

/* A reply to a request that was cancelled, or answered by the predecessor, is late and means nothing. */
static void conn_reply(struct client_conn *conn, const struct mauth_wire_line *line)
{
	struct mauth_client_request *req = client_request_find(conn->client, line->id);

	if (req == NULL || req->early != MAUTH_OK)
		return;
	if (strcmp(line->verb, "OK") == 0 && req->kind != KIND_REPORT)
		request_ok(req, line);
	else if (strcmp(line->verb, "FAIL") == 0 && req->kind == KIND_REPORT)
		report_refused(req, line);
	else if (strcmp(line->verb, "FAIL") == 0)
		request_refused(req, line);
	else if (req->kind == KIND_REPORT)
		/* DONE; or BAD, which it would be again */
		client_request_free(req);
	else
		client_request_fail(req, MAUTH_PROTOCOL);
}

static bool conn_version(struct client_conn *conn, const struct mauth_wire_line *line, const char **error_r)
{
	struct mauth_client *client = conn->client;

	if (strcmp(line->verb, "VERSION") != 0 || line->count < 3 ||
	    strcmp(line->fields[0].value, "modernauth") != 0 || strcmp(line->fields[1].value, "1") != 0) {
		*error_r = "not a broker of our version";
		return false;
	}
	conn->hello = true;
	client->unheard = 0;
	if (!conn->mute)
		mauth_timer_remove(client->loop, &conn->timer);
	client->backoff_msecs = 0;
	if (client->logged_usecs != 0)
		mauth_log(client->log, MAUTH_INFO, "connected to the broker at %s again", client->path);
	client->logged_usecs = 0;
	return true;
}

static bool has_verb(const char *text, const char *verb)
{
	size_t size = strlen(verb);

	return strncmp(text, verb, size) == 0 && text[size] == '\t';
}

static bool conn_line(struct client_conn *conn, char *text, size_t size, const char **error_r)
{
	bool is_bad = has_verb(text, "BAD");
	bool with_id = has_verb(text, "OK") || has_verb(text, "FAIL") || has_verb(text, "DONE") ||
		(is_bad && !has_verb(text, "BAD\t0"));
	struct mauth_wire_line line;

	if (!mauth_wire_parse(text, size, with_id, &line, error_r))
		return false;
	if (!conn->hello)
		return conn_version(conn, &line, error_r);
	if (is_bad)
		mauth_log(conn->client->log, MAUTH_ERROR, "the broker did not understand a request: %s",
			  mauth_wire_get(&line, "reason") != NULL ? mauth_wire_get(&line, "reason") : "");
	if (strcmp(line.verb, "BYE") == 0)
		conn_bye(conn);
	else if (with_id)
		conn_reply(conn, &line);
	/* READY, and what a later minor version adds, need no answer. */
	return true;
}

static void conn_lines(struct client_conn *conn)
{
	const char *error = "line too long";
	bool overflow = false;
	size_t size;
	char *text;

	while (!conn->dead && mauth_wire_next(&conn->reader, &text, &size, &overflow)) {
		if (!conn_line(conn, text, size, &error)) {
			if (!conn->dead)
				conn_lost(conn, error);
			return;
		}
	}
	if (overflow)
		conn_lost(conn, error);
}

static void conn_event(bool readable, bool writable, void *context)
{
	struct client_conn *conn = context;
	struct mauth_client *client = conn->client;
	char data[16 * 1024];
	ssize_t size;

	if (writable)
		client_conn_pump(conn);
	if (writable && !readable)
		return;
	/* Callbacks may free the client and close the connection under our hands. */
	client->refs++;
	conn->refs++;
	size = recv(conn->fd, data, sizeof(data), 0);
	if (size > 0) {
		conn->spoken = true;
		mauth_buf_append(&conn->reader.in, data, (size_t)size);
		mauth_wipe(data, (size_t)size);
		conn_lines(conn);
	} else if (size == 0) {
		conn_lost(conn, "closed by the broker");
	} else if (errno != EAGAIN && errno != EINTR) {
		conn_lost(conn, strerror(errno));
	}
	conn_unref(conn);
	client_unref(client);
}

void client_drain(struct mauth_client *client)
{
	int64_t end = mauth_mono_msecs(client->loop) + DRAIN_MSECS, left;

	while (client->conn != NULL && client->reports > 0 &&
	       (left = end - mauth_mono_msecs(client->loop)) > 0) {
		struct pollfd pfd = {
			.fd = client->conn->fd,
			.events = (short)(POLLIN | (client->conn->out.size > 0 ? POLLOUT : 0)),
		};

		if (poll(&pfd, 1, (int)left) > 0)
			conn_event((pfd.revents & ~POLLOUT) != 0, (pfd.revents & POLLOUT) != 0, client->conn);
	}
}
