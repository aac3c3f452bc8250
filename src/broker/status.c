/* SPDX-License-Identifier: MIT */
#include "broker/status.h"

#include "broker/relay.h"
#include "core/mem.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A netstring of a request; Postfix's statuses are replies of one line. */
#define REQUEST_MAX 4096u
/* More unread answers than a sane client leaves lying. */
#define OUT_MAX 65536u
/* Per turn of the loop. */
#define READ_MAX 16384u
/* Postfix closes what it does not use after 10 s; whoever says nothing for so long has forgotten it. */
#define IDLE_MSECS 300000u
#define NOT_FOUND "NOTFOUND "

struct mauth_status_session {
	struct mauth_status_session *next, **link;
	struct mauth_service_state *service;
	pid_t pid;
	int fd;
	struct mauth_watch *watch;
	struct mauth_timer *idle;
	struct mauth_buf in, out;
};

/* -- what a status says ------------------------------------------------------------------------------------- */

/* "4.7.8 " and the like; its size without the blank, 0: none. */
static size_t dsn_size(const char *status)
{
	size_t size = strcspn(status, " ");
	unsigned int dots = 0;

	if (strchr("245", status[0]) == NULL || status[0] == '\0' || status[1] != '.' || status[size] != ' ' || size > 9)
		return 0;
	for (size_t i = 1; i < size; i++) {
		dots += status[i] == '.';
		if (status[i] == '.' ? !isdigit((unsigned char)status[i + 1]) : !isdigit((unsigned char)status[i]))
			return 0;
	}
	return dots == 2 ? size : 0;
}

/* What smtp(8) says of a login; what comes after "said:" are the server's words. */
#define LOGIN_FAILED "SASL authentication failed; server "
/* What it says if the SASL plugin fails, with one of libsasl2's texts at the end: ours, which says why, does not get there. */
#define NO_TOKEN "SASL authentication failed; cannot authenticate to server "

/* Postfix names a server as "smtp.office365.com[192.0.2.1]". */
static void find_host(struct mauth_status_text *text)
{
	static const char *const before[] = {
		LOGIN_FAILED, NO_TOKEN, "host ", "lost connection with ",
		"connect to ", "conversation with ",
	};

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		size_t size = strlen(before[i]);

		if (strncmp(text->text, before[i], size) != 0)
			continue;
		text->host = text->text + size;
		text->host_size = strcspn(text->host, "[ :");
		return;
	}
}

bool mauth_status_is_of_another(const struct mauth_status_text *text, const char *host)
{
	return text->host != NULL && *host != '\0' &&
	       (strlen(host) != text->host_size || strncasecmp(host, text->host, text->host_size) != 0);
}

bool mauth_status_parse_text(const char *status, struct mauth_status_text *text_r)
{
	size_t size = dsn_size(status);
	const char *said;

	if (size == 0)
		return false;
	*text_r = (struct mauth_status_text){ .class = status[0], .text = status + size + 1 };
	memcpy(text_r->dsn, status, size);
	find_host(text_r);
	said = strncmp(text_r->text, LOGIN_FAILED, strlen(LOGIN_FAILED)) == 0 ? strstr(text_r->text, " said: ") : NULL;
	text_r->no_token = strncmp(text_r->text, NO_TOKEN, strlen(NO_TOKEN)) == 0;
	text_r->token_refused = said != NULL && strncmp(said, " said: 535", 10) == 0;
	return true;
}

static enum mauth_relay_result result_of(const struct mauth_status_text *text)
{
	if (text->class == '2')
		return MAUTH_RELAY_ACCEPTED;
	/* Not the mail was refused: it stays in the queue. */
	return text->class == '4' || text->token_refused ? MAUTH_RELAY_DEFERRED : MAUTH_RELAY_REFUSED;
}

/* -- answers ------------------------------------------------------------------------------------------------ */

static void put_netstring(struct mauth_buf *out, const char *text)
{
	mauth_buf_printf(out, "%zu:%s,", strlen(text), text);
}

/* The same status with what to do, as one for which the mail is tried again. Postfix takes a DSN of the same class or, for a
 * failure, of the other one. */
static void put_advice(struct mauth_buf *out, const struct mauth_status_text *text, const char *identity, const char *advice)
{
	char *answer = mauth_printf("OK 4%s %s; modernauth: token of %s refused%s%s", text->dsn + 1, text->text, identity,
				    advice == NULL ? "" : ": ", advice == NULL ? "" : advice);

	put_netstring(out, answer);
	free(answer);
}

/* Why there was no token, instead of "generic failure". */
static void put_reason(struct mauth_buf *out, const struct mauth_status_text *text, const struct mauth_relay_memory *memory)
{
	char *answer = mauth_printf("OK 4%s SASL authentication failed: modernauth: %s; identity %s", text->dsn + 1, memory->reason,
				    memory->identity);

	put_netstring(out, answer);
	free(answer);
}

static void answer(struct mauth_status_session *session, const char *status)
{
	struct mauth_service_state *service = session->service;
	const struct mauth_relay_memory *memory = mauth_relay_remembered(service, session->pid);
	struct mauth_relay_memory guess;
	struct mauth_relay_client client;
	struct mauth_status_text text;
	const char *advice;

	if (memory == NULL && mauth_relay_guess(service, session->pid, &guess))
		memory = &guess;
	/* A process of Postfix may deliver elsewhere, too. */
	if (service->broker == NULL || memory == NULL || !mauth_status_parse_text(status, &text) || mauth_status_is_of_another(&text, memory->host)) {
		put_netstring(&session->out, NOT_FOUND);
		return;
	}
	/* Whoever logs in has asked for a token himself. */
	text.token_refused = text.token_refused && memory != &guess;
	client = mauth_relay_client_of(memory);
	const struct mauth_relay_outcome outcome = {
		.client = &client, .identity = memory->identity, 
		.session = memory->session[0] == '\0' ? NULL : memory->session,
		.token_id = memory->token_id[0] == '\0' ? NULL : memory->token_id, .result = result_of(&text),
		.token_refused = text.token_refused, .dsn = text.dsn,
		.reply = text.no_token && memory->reason[0] != '\0' ? memory->reason : text.text,
	};
	advice = mauth_broker_relay_outcome(service->broker, &outcome);
	/* What has been delivered stays delivered, on record or not; that it is not is said by who writes it. */
	(void)mauth_broker_record_reports(service->broker, NULL);
	if (text.token_refused)
		put_advice(&session->out, &text, memory->identity, advice);
	else if (text.no_token && memory->reason[0] != '\0')
		put_reason(&session->out, &text, memory);
	else
		put_netstring(&session->out, NOT_FOUND);
}

/* "status 4.7.8 SASL ...": the name of the map is whatever the admin wrote. */
static void handle(struct mauth_status_session *session, const char *data, size_t size)
{
	char *request = mauth_strndup(data, size), *status = strchr(request, ' ');
	char clean[REQUEST_MAX + 1] = "";

	if (status != NULL)
		mauth_clean_copy(clean, sizeof(clean), status + 1, strlen(status + 1));
	answer(session, clean);
	free(request);
}

/* -- netstrings --------------------------------------------------------------------------------------------- */

enum cut { CUT_ONE, CUT_MORE, CUT_BAD };

/* The next netstring in the buffer: its octets and where the one after it begins. */
static enum cut cut(const struct mauth_buf *in, size_t at, size_t *data_r, size_t *size_r)
{
	size_t size = 0, digits = 0;

	while (at + digits < in->size && isdigit((unsigned char)in->data[at + digits])) {
		size = size * 10 + (size_t)(in->data[at + digits] - '0');
		if (++digits > 5 || size > REQUEST_MAX)
			return CUT_BAD;
	}
	if (at + digits == in->size)
		return CUT_MORE;
	if (digits == 0 || in->data[at + digits] != ':')
		return CUT_BAD;
	*data_r = at + digits + 1;
	*size_r = size;
	if (*data_r + size >= in->size)
		return CUT_MORE;
	return in->data[*data_r + size] == ',' ? CUT_ONE : CUT_BAD;
}

/* false: that is no netstring. */
static bool handle_all(struct mauth_status_session *session)
{
	size_t at = 0, data, size;
	enum cut found;

	while ((found = cut(&session->in, at, &data, &size)) == CUT_ONE) {
		handle(session, session->in.data + data, size);
		at = data + size + 1;
	}
	mauth_buf_consume(&session->in, at);
	return found == CUT_MORE;
}

/* -- the connection ----------------------------------------------------------------------------------------- */

static void end(struct mauth_status_session *session)
{
	struct mauth_service_state *service = session->service;

	service->mta_clients--;
	*session->link = session->next;
	if (session->next != NULL)
		session->next->link = session->link;
	mauth_timer_remove(service->loop, &session->idle);
	mauth_watch_remove(service->loop, &session->watch);
	(void)close(session->fd);
	mauth_buf_free(&session->in);
	mauth_buf_free(&session->out);
	free(session);
	service->settings.client_gone();
}

static void idle_too_long(void *context)
{
	struct mauth_status_session *session = context;

	session->idle = NULL;
	end(session);
}

static void rest(struct mauth_status_session *session)
{
	mauth_timer_remove(session->service->loop, &session->idle);
	session->idle = mauth_timer_add(session->service->loop, IDLE_MSECS, idle_too_long, session);
}

/* false: the peer is gone. */
static bool read_in(struct mauth_status_session *session)
{
	char chunk[READ_MAX];
	ssize_t got = recv(session->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	mauth_buf_append(&session->in, chunk, (size_t)got);
	return got > 0;
}

/* false: the peer is gone, or does not read. */
static bool write_out(struct mauth_status_session *session)
{
	ssize_t sent = session->out.size == 0 ? 0 :
		send(session->fd, session->out.data, session->out.size, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (sent > 0)
		mauth_buf_consume(&session->out, (size_t)sent);
	mauth_watch_set(session->service->loop, session->watch, true, session->out.size > 0);
	return session->out.size <= OUT_MAX;
}

static void session_io(bool readable, bool writable, void *context)
{
	struct mauth_status_session *session = context;
	bool alive = true, sane = true;

	(void)writable;
	if (readable) {
		alive = read_in(session);
		sane = handle_all(session);
	}
	if (!sane)
		mauth_log(session->service->log, MAUTH_ERROR, "a client on the status listener (pid %d) speaks no netstrings of at "
			  "most %u octets: disconnected", (int)session->pid, REQUEST_MAX);
	if (!write_out(session) || !alive || !sane) {
		end(session);
		return;
	}
	rest(session);
}

enum mauth_status mauth_status_session_new(struct mauth_service_state *service, int fd, struct mauth_error *error_r)
{
	struct mauth_status_session *session;
	struct ucred peer = { .uid = 0 };
	enum mauth_status status = mauth_session_check_peer(service, MAUTH_ROLE_STATUS, fd, &peer, error_r);

	if (status != MAUTH_OK) {
		(void)close(fd);
		service->settings.client_gone();
		return status;
	}
	session = mauth_new(sizeof(*session));
	session->service = service;
	session->pid = peer.pid;
	session->fd = fd;
	session->next = service->status_sessions;
	session->link = &service->status_sessions;
	if (session->next != NULL)
		session->next->link = &session->next;
	service->status_sessions = session;
	service->mta_clients++;
	session->watch = mauth_watch_add(service->loop, fd, session_io, session);
	mauth_watch_set(service->loop, session->watch, true, false);
	rest(session);
	/* Our successor listens on the same path. */
	if (service->phase == MAUTH_PHASE_LEAVING)
		end(session);
	return MAUTH_OK;
}

void mauth_status_end_all(struct mauth_service_state *service)
{
	while (service->status_sessions != NULL)
		end(service->status_sessions);
}
