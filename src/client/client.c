/* SPDX-License-Identifier: MIT */
#include "modernauth/client.h"

#include "client/client-private.h"

#include <inttypes.h>
#include <string.h>

/* For attempts without a deadline of their own: nothing waits for ever. */
#define TIMEOUT_DEFAULT_MSECS 60000u
#define MAX_OPEN_DEFAULT 20000u
/* Some 5 MB. Two for each session, so that a thousand at once are no loss while the broker has its hands full. */
#define MAX_REPORTS_DEFAULT 10000u
/* Requests of one turn of the loop in one write */
#define TOGETHER_MAX 8u
/* Long enough for a busy process to save the broker most wake-ups, and short enough that nobody misses a record. */
#define COLLECT_MSECS 20u

struct mauth_client *mauth_client_new(const struct mauth_client_settings *settings, const struct mauth_loop *loop,
				      const struct mauth_log *log)
{
	struct mauth_client *client = mauth_new(sizeof(*client));

	client->refs = 1;
	client->path = mauth_strdup(settings->path);
	client->name = mauth_strdup(settings->name);
	client->config_path = mauth_strdup(settings->config_path);
	client->max_open = settings->max_open > 0 ? settings->max_open : MAX_OPEN_DEFAULT;
	client->max_reports = settings->max_reports > 0 ? settings->max_reports : MAX_REPORTS_DEFAULT;
	client->loop = loop;
	client->log = log;
	return client;
}

static void request_timeout(void *context)
{
	struct mauth_client_request *req = context;

	req->timer = NULL;
	client_send_cancel(req->client, req);
	client_request_fail(req, MAUTH_TIMEOUT);
}

/* Decides early, or queues. */
static void request_start(struct mauth_client_request *req, enum mauth_status early, unsigned int timeout_msecs)
{
	struct mauth_client *client = req->client;

	if (client->open > client->max_open)
		early = MAUTH_TEMPORARY;
	req->early = early;
	req->timeout_msecs = timeout_msecs > 0 ? timeout_msecs : TIMEOUT_DEFAULT_MSECS;
	if (early != MAUTH_OK) {
		mauth_buf_free(&req->fields);
		client_list_remove(req);
		client_list_append(&client->doomed, req);
	}
	req->timer = mauth_timer_add(client->loop, early != MAUTH_OK ? 0 : req->timeout_msecs, request_timeout,
				     req);
	/* One that comes alone goes at once. While the broker has others to answer, those of one turn of the loop go together:
	   half of what asking costs is to send and to wake. But a few at a time, that both may work at once. */
	if (client->sent.first == NULL || ++client->gathered >= TOGETHER_MAX)
		client_wake(client);
	else
		client_wake_within(client, 0);
}

/* What describes an attempt but does not decide it may be cut and cleaned. */
static void put_text(struct mauth_buf *buf, const char *key, const char *value, size_t max)
{
	char text[MAUTH_TEXT_MAX];

	if (value == NULL)
		return;
	mauth_clean_copy(text, max < sizeof(text) ? max + 1 : sizeof(text), value, strlen(value));
	mauth_wire_str(buf, key, text);
}

static void put_ports(struct mauth_buf *buf, const char *client_ip, unsigned int client_port, const char *local_ip,
		      unsigned int local_port)
{
	put_text(buf, "rip", client_ip, 64);
	if (client_port > 0)
		mauth_wire_num(buf, "rport", client_port);
	put_text(buf, "lip", local_ip, 64);
	if (local_port > 0)
		mauth_wire_num(buf, "lport", local_port);
}

struct mauth_client_request *mauth_client_login(struct mauth_client *client, const struct mauth_attempt *attempt,
						mauth_client_login_fn *done, void *context)
{
	struct mauth_client_request *req = client_request_new(client, KIND_LOGIN);
	const size_t max = attempt->password_is_token ? MAUTH_TOKEN_MAX : MAUTH_PASSWORD_MAX;
	struct mauth_buf *buf = &req->fields;

	req->done = done;
	req->context = context;
	/* Entra has neither such users nor such passwords. */
	if (strlen(attempt->user) > MAUTH_USER_MAX ||
	    (attempt->password != NULL && mauth_secret_size(attempt->password) > max)) {
		request_start(req, MAUTH_BAD_CREDENTIALS, 0);
		return req;
	}
	mauth_wire_str(buf, "user", attempt->user);
	if (attempt->password != NULL)
		mauth_wire_data(buf, "pass", mauth_secret_expose(attempt->password),
				mauth_secret_size(attempt->password));
	mauth_wire_str(buf, "service", mauth_service_name(attempt->service));
	put_text(buf, "mech", attempt->mechanism, 64);
	put_ports(buf, attempt->client_ip, attempt->client_port, attempt->local_ip, attempt->local_port);
	if (attempt->tls)
		mauth_wire_str(buf, "tls", "yes");
	put_text(buf, "tls_protocol", attempt->tls_protocol, 32);
	put_text(buf, "session", attempt->session, 128);
	put_text(buf, "client_id", attempt->client_id, 256);
	if (attempt->verified_by_dovecot)
		mauth_wire_str(buf, "verified", "dovecot");
	if (attempt->check_only)
		mauth_wire_str(buf, "check", "yes");
	req->check_only = attempt->check_only;
	if (attempt->password_is_token)
		mauth_wire_str(buf, "token", "yes");
	put_text(buf, "side", attempt->mailbox_side, 64);
	request_start(req, MAUTH_OK, attempt->timeout_msecs);
	return req;
}

struct mauth_client_request *mauth_client_lookup(struct mauth_client *client, const char *user,
						 enum mauth_service service, unsigned int timeout_msecs,
						 mauth_client_login_fn *done, void *context)
{
	struct mauth_client_request *req = client_request_new(client, KIND_LOOKUP);

	req->done = done;
	req->context = context;
	if (strlen(user) > MAUTH_USER_MAX) {
		request_start(req, MAUTH_NOT_OURS, 0);
		return req;
	}
	mauth_wire_str(&req->fields, "user", user);
	mauth_wire_str(&req->fields, "service", mauth_service_name(service));
	request_start(req, MAUTH_OK, timeout_msecs);
	return req;
}

void mauth_client_cancel(struct mauth_client_request **request)
{
	struct mauth_client_request *req = *request;

	*request = NULL;
	if (req == NULL)
		return;
	client_send_cancel(req->client, req);
	client_request_free(req);
}

static struct mauth_client_request *first_report(const struct client_list *list)
{
	struct mauth_client_request *req = list->first;

	while (req != NULL && req->kind != KIND_REPORT)
		req = req->next;
	return req;
}

static void drop_oldest_report(struct mauth_client *client)
{
	struct mauth_client_request *req = first_report(&client->sent);

	if (req == NULL)
		req = first_report(&client->queue);
	if (req == NULL)
		return;
	client_request_free(req);
	client->reports_lost++;
	/* At every power of two: an outage must be seen, but not a thousand times. */
	if ((client->reports_lost & (client->reports_lost - 1)) == 0)
		mauth_log(client->log, MAUTH_ERROR, "the broker has been away too long: %" PRIu64 " reports of "
			  "the upstream's answers are lost", client->reports_lost);
}

/* A report whose verb is verb, with what all of them say about the session. */
static struct mauth_buf *begin_report(struct mauth_client *client, const char *verb, const struct mauth_upstream_report *about)
{
	struct mauth_client_request *req;
	struct mauth_buf *buf;

	if (client->reports >= client->max_reports)
		drop_oldest_report(client);
	req = client_request_new(client, KIND_REPORT);
	req->verb = verb;
	buf = &req->fields;
	put_text(buf, "user", about->user, MAUTH_USER_MAX);
	put_text(buf, "mailbox", about->mailbox, MAUTH_USER_MAX);
	mauth_wire_str(buf, "service", mauth_service_name(about->service));
	put_text(buf, "token_id", about->token_id, MAUTH_TOKEN_ID_SIZE);
	put_text(buf, "session", about->session, 128);
	put_ports(buf, about->client_ip, about->client_port, about->local_ip, about->local_port);
	put_text(buf, "host", about->host, 255);
	put_text(buf, "host_ip", about->host_ip, 64);
	if (about->port > 0)
		mauth_wire_num(buf, "port", about->port);
	put_text(buf, "tls_protocol", about->tls_protocol, 32);
	put_text(buf, "tls_cipher", about->tls_cipher, 64);
	return buf;
}

void mauth_client_report(struct mauth_client *client, const struct mauth_upstream_report *report)
{
	struct mauth_buf *buf = begin_report(client, "UPSTREAM", report);

	mauth_wire_str(buf, "result", mauth_upstream_result_name(report->result));
	put_text(buf, "reply", report->reply, MAUTH_TEXT_MAX - 1);
	/* A refused token must not be given to the next attempt; that one was accepted changes nothing. */
	if (report->result == MAUTH_UPSTREAM_ACCEPTED)
		client_wake_within(client, COLLECT_MSECS);
	else
		client_wake(client);
}

void mauth_client_report_end(struct mauth_client *client, const struct mauth_upstream_report *about,
			     const struct mauth_session_end *end)
{
	struct mauth_buf *buf = begin_report(client, "ENDED", about);

	mauth_wire_str(buf, "by", mauth_ended_by_name(end->by));
	if (end->at_usecs > 0)
		mauth_wire_num(buf, "at", end->at_usecs);
	mauth_wire_num(buf, "duration", end->duration_usecs);
	mauth_wire_num(buf, "in", (int64_t)end->bytes_in);
	mauth_wire_num(buf, "out", (int64_t)end->bytes_out);
	put_text(buf, "reason", end->reason, MAUTH_TEXT_MAX - 1);
	put_text(buf, "said", end->said, MAUTH_TEXT_MAX - 1);
	client_wake_within(client, COLLECT_MSECS);
}

void mauth_client_report_unconnected(struct mauth_client *client, const struct mauth_upstream_report *about)
{
	put_text(begin_report(client, "UNCONNECTED", about), "reply", about->reply, MAUTH_TEXT_MAX - 1);
	/* The next login of this user should already be told the right side. */
	client_wake(client);
}

/* The last chance of reports: a process that serves one login ends right after it. What is merely written might
 * still be lost with the connection. */
static void client_flush(struct mauth_client *client)
{
	mauth_timer_remove(client->loop, &client->report_retry);
	mauth_timer_remove(client->loop, &client->soon);
	for (unsigned int tries = 0; tries < 2 && client->reports > 0; tries++) {
		if (client->conn == NULL)
			client_connect(client);
		else
			client_conn_pump(client->conn);
		client_drain(client);
	}
	if (client->reports > 0)
		mauth_log(client->log, MAUTH_WARNING, "ending before the broker has confirmed %u reports of the "
			  "upstream's answers", client->reports);
}

void mauth_client_free(struct mauth_client **client_p)
{
	struct mauth_client *client = *client_p;
	struct mauth_client_request *req;

	*client_p = NULL;
	if (client == NULL || client->destroyed)
		return;
	client->destroyed = true;
	client_flush(client);
	mauth_timer_remove(client->loop, &client->reconnect);
	mauth_timer_remove(client->loop, &client->idle);
	mauth_timer_remove(client->loop, &client->report_retry);
	mauth_timer_remove(client->loop, &client->soon);
	client_conn_close(&client->conn);
	client_conn_close(&client->old);
	client_requeue(client);
	while ((req = client->queue.first != NULL ? client->queue.first : client->doomed.first) != NULL) {
		if (req->kind == KIND_REPORT)
			client_request_free(req);
		else
			client_request_fail(req, MAUTH_TEMPORARY);
	}
	client_unref(client);
}
