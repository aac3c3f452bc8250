/* SPDX-License-Identifier: MIT */
#include "net/probe-curl.h"

#include "net/http-curl-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A probe is a call without HTTP: connections, sockets, deadline and errors are those of http-curl.c. What is sent is
 * curl's: AUTH XOAUTH2 in two steps (it sends initial responses only if CURLOPT_SASL_IR is set), as Exchange's POP3
 * needs it.
 *
 * libcurl 7.88 waits for the answer to its LOGOUT or QUIT without letting anybody else run. So the reading side of a
 * session that has nothing more to say is shut first: the farewell is still sent, and nobody waits. */

#define REPLY_SIZE 400u
#define SAID_MAX 65536u                  /* octets that a host may say */
#define TOKEN_PIECE 24u                  /* of a token that is looked for in what the host says */

struct mauth_prober_curl {
	struct mauth_prober prober;
	struct mauth_http_curl *http;
	const struct mauth_loop *loop;
};

struct mauth_probe {
	struct mauth_prober_curl *prober;
	struct mauth_http_call *call;
	enum mauth_service service;
	bool has_command;
	struct mauth_secret *token;
	curl_socket_t fd;
	bool logged_in, completed, refused;          /* refused: the last word was a no */
	size_t said;
	char reply[REPLY_SIZE], address[64], peer[NAME_SIZE];
	int64_t started_usecs;
	mauth_probe_fn *done;
	void *context;
};

/* -- what the host says ------------------------------------------------------------------------------------- */

static void keep_reply(struct mauth_probe *probe, const char *line, size_t size)
{
	char piece[TOKEN_PIECE + 1];

	while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == '\n'))
		size--;
	mauth_clean_copy(probe->reply, sizeof(probe->reply), line, size);
	if (probe->token == NULL || mauth_secret_size(probe->token) <= TOKEN_PIECE)
		return;
	/* A host that repeats what it was sent is not repeated by us. */
	memcpy(piece, mauth_secret_expose(probe->token), TOKEN_PIECE);
	piece[TOKEN_PIECE] = '\0';
	if (strstr(probe->reply, piece) != NULL)
		(void)snprintf(probe->reply, sizeof(probe->reply), "(it repeated the token)");
	mauth_wipe(piece, sizeof(piece));
}

/* Does line end a command? IMAP's are tagged by curl: a letter and three digits. */
static bool is_status(enum mauth_service service, const char *line, size_t size)
{
	switch (service) {
	case MAUTH_SERVICE_IMAP:
		return size > 5 && line[0] >= 'A' && line[0] <= 'Z' && line[1] >= '0' && line[1] <= '9' &&
		       line[4] == ' ';
	case MAUTH_SERVICE_POP3:
		return size >= 3 && (memcmp(line, "+OK", 3) == 0 || (size >= 4 && memcmp(line, "-ERR", 4) == 0));
	case MAUTH_SERVICE_SUBMISSION:
		/* Not one of several, and not a challenge. */
		return size > 4 && line[0] >= '2' && line[0] <= '5' && line[0] != '3' && line[3] == ' ';
	case MAUTH_SERVICE_COUNT:
		break;
	}
	return false;
}

static bool is_refusal(enum mauth_service service, const char *line, size_t size)
{
	if (!is_status(service, line, size))
		return false;
	switch (service) {
	case MAUTH_SERVICE_IMAP:
		return size < 7 || memcmp(line + 5, "OK", 2) != 0;
	case MAUTH_SERVICE_POP3:
		return line[0] == '-';
	case MAUTH_SERVICE_SUBMISSION:
		return line[0] == '4' || line[0] == '5';
	case MAUTH_SERVICE_COUNT:
		break;
	}
	return false;
}

static size_t on_line(char *data, size_t size, size_t count, void *context)
{
	struct mauth_probe *probe = context;
	const size_t octets = size * count;

	probe->said += octets;
	if (probe->said > SAID_MAX)
		return CURL_WRITEFUNC_ERROR;
	if (probe->reply[0] != '\0' && !is_status(probe->service, data, octets))
		return octets;
	keep_reply(probe, data, octets);
	probe->refused = is_refusal(probe->service, data, octets);
	if (!probe->logged_in || !probe->has_command || !is_status(probe->service, data, octets))
		return octets;
	probe->completed = !probe->refused;
	(void)shutdown(probe->fd, SHUT_RD);
	return octets;
}

static size_t on_data(char *data, size_t size, size_t count, void *context)
{
	/* What stands between a command and its end is not wanted. */
	return size * count;
}

/* curl has a session that is logged in (or ready to be) and is about to give the command. */
static int on_session(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct mauth_probe *probe = context;

	probe->logged_in = true;
	(void)snprintf(probe->address, sizeof(probe->address), "%s", remote_ip);
	if (!probe->has_command) {
		probe->completed = true;
		(void)shutdown(probe->fd, SHUT_RD);
	}
	return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct mauth_probe *probe = context;

	probe->fd = mauth_http_socket_open(probe->prober->http, purpose, address);
	return probe->fd;
}

/* -- making one --------------------------------------------------------------------------------------------- */

static void set_login(struct mauth_probe *probe, const struct mauth_probe_request *request)
{
	static const char *const commands[MAUTH_SERVICE_COUNT] = {
		[MAUTH_SERVICE_IMAP] = "SELECT INBOX", [MAUTH_SERVICE_POP3] = "STAT",
	};
	CURL *easy = probe->call->easy;

	probe->has_command = request->mailbox != NULL && commands[request->service] != NULL;
	if (probe->has_command) {
		(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, commands[request->service]);
		/* POP3: one line is the whole answer. */
		(void)curl_easy_setopt(easy, CURLOPT_NOBODY, request->service == MAUTH_SERVICE_POP3 ? 1L : 0L);
	} else {
		(void)curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	}
	if (request->mailbox == NULL)
		return;
	(void)curl_easy_setopt(easy, CURLOPT_USERNAME, request->mailbox);
	(void)curl_easy_setopt(easy, CURLOPT_LOGIN_OPTIONS, "AUTH=XOAUTH2");
	(void)curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, mauth_secret_expose(request->token));
}

static void set_url(struct mauth_probe *probe, const struct mauth_endpoint *endpoint)
{
	static const char *const schemes[MAUTH_SERVICE_COUNT] = {
		[MAUTH_SERVICE_IMAP] = "imap", [MAUTH_SERVICE_POP3] = "pop3", [MAUTH_SERVICE_SUBMISSION] = "smtp",
	};
	const bool implicit = endpoint->tls == MAUTH_TLS_IMPLICIT;
	const bool numeric = strchr(endpoint->host, ':') != NULL && endpoint->host[0] != '[';
	char *url = mauth_printf("%s%s://%s%s%s:%u/", schemes[probe->service], implicit ? "s" : "", numeric ? "[" : "",
				 endpoint->host, numeric ? "]" : "", endpoint->port);

	(void)curl_easy_setopt(probe->call->easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(probe->call->easy, CURLOPT_USE_SSL, (long)CURLUSESSL_ALL);
	free(url);
}

static enum mauth_status setup_probe(struct mauth_http_call *call, const void *context, struct mauth_error *error_r)
{
	/* The call's context is the probe; it is not finished yet, and so not const. */
	struct mauth_probe *probe = call->context;
	const struct mauth_probe_request *request = context;
	CURL *easy = call->easy = curl_easy_init();

	if (easy == NULL)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "libcurl cannot be initialised");
	probe->call = call;
	(void)snprintf(call->peer, sizeof(call->peer), "%.250s:%u", request->endpoint.host, request->endpoint.port);
	(void)snprintf(probe->peer, sizeof(probe->peer), "%s", call->peer);
	(void)curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	(void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_text);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_line);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, probe);
	(void)curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_session);
	(void)curl_easy_setopt(easy, CURLOPT_PREREQDATA, probe);
#if LIBCURL_VERSION_NUM >= 0x075500
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "imap,imaps,pop3,pop3s,smtp,smtps");
#else
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_IMAP | CURLPROTO_IMAPS | CURLPROTO_POP3 |
							       CURLPROTO_POP3S | CURLPROTO_SMTP | CURLPROTO_SMTPS));
#endif
	/* Dovecot's login processes go there directly, whatever the environment says of proxies. */
	(void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	mauth_http_call_set_socket(call);
	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, probe);
	mauth_http_call_set_tls(call, request->ca_file);
	set_url(probe, &request->endpoint);
	set_login(probe, request);
	return MAUTH_OK;
}

/* -- the end ------------------------------------------------------------------------------------------------ */

static void probe_free(struct mauth_probe *probe)
{
	mauth_secret_free(&probe->token);
	free(probe);
}

/* What curl takes for an error is an answer to us where the host has said no, or something that is no protocol. */
static bool has_answered(const struct mauth_probe *probe, const struct mauth_error *error)
{
	if (error->status == MAUTH_TIMEOUT || error->status == MAUTH_CONFIG)
		return false;
	return probe->completed || probe->refused || (error->status == MAUTH_PROTOCOL && probe->reply[0] != '\0');
}

/* The errors of http-curl-error.c are about HTTP. */
static void describe_failure(const struct mauth_probe *probe, struct mauth_error *error)
{
	size_t used;

	if (error->status == MAUTH_PROTOCOL)
		(void)snprintf(error->text, sizeof(error->text),
			       "%s: what came back is not the protocol that was expected", probe->peer);
	used = strlen(error->text);
	if (probe->reply[0] != '\0' && !probe->logged_in && error->status != MAUTH_CONFIG)
		(void)snprintf(error->text + used, sizeof(error->text) - used, "; it said: %s", probe->reply);
}

static void probe_ended(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct mauth_probe *probe = context;
	const struct mauth_probe_result result = {
		.logged_in = probe->logged_in,
		.completed = probe->completed,
		.reply = probe->reply,
		.address = probe->address,
		.duration_usecs = mauth_mono_usecs(probe->prober->loop) - probe->started_usecs,
	};
	struct mauth_error failure;

	(void)reply;
	probe->call = NULL;
	if (error == NULL || has_answered(probe, error)) {
		probe->done(&result, NULL, probe->context);
	} else {
		failure = *error;
		describe_failure(probe, &failure);
		probe->done(NULL, &failure, probe->context);
	}
	probe_free(probe);
}

static struct mauth_probe *probe_start(void *context, const struct mauth_probe_request *request, mauth_probe_fn *done,
				       void *done_context)
{
	struct mauth_prober_curl *prober = context;
	struct mauth_probe *probe = mauth_new(sizeof(*probe));

	probe->prober = prober;
	probe->service = request->service;
	probe->token = request->token == NULL ? NULL : mauth_secret_dup(request->token);
	probe->fd = CURL_SOCKET_BAD;
	probe->done = done;
	probe->context = done_context;
	probe->started_usecs = mauth_mono_usecs(prober->loop);
	probe->call =
		mauth_http_call_new(prober->http, setup_probe, request, request->timeout_msecs, probe_ended, probe);
	return probe;
}

static void probe_cancel(void *context, struct mauth_probe **probe_p)
{
	struct mauth_probe *probe = *probe_p;

	(void)context;
	*probe_p = NULL;
	/* From within its own callback there is nothing left to cancel. */
	if (probe->call == NULL)
		return;
	mauth_http_call_cancel(&probe->call);
	probe_free(probe);
}

static const struct mauth_prober_vfuncs prober_vfuncs = {
	.start = probe_start,
	.cancel = probe_cancel,
};

struct mauth_prober_curl *mauth_prober_curl_new(struct mauth_http_curl *http, const struct mauth_loop *loop)
{
	struct mauth_prober_curl *prober = mauth_new(sizeof(*prober));

	prober->prober.v = &prober_vfuncs;
	prober->prober.context = prober;
	prober->http = http;
	prober->loop = loop;
	return prober;
}

void mauth_prober_curl_free(struct mauth_prober_curl **prober)
{
	free(*prober);
	*prober = NULL;
}

const struct mauth_prober *mauth_prober_curl_prober(struct mauth_prober_curl *prober)
{
	return &prober->prober;
}
