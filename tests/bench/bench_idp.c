/* SPDX-License-Identifier: MIT */
/* A token endpoint that answers at once, after a while, or never: HTTP/1.1 and HTTP/2 over TLS.
 *
 * usage: bench_idp CERT.PEM [latency=MSECS] [token=OCTETS] [streams=N] [alpn=h2|h1] [port=N]
 *
 * Commands on standard input: "latency MSECS", "hang 0|1", "stats" (prints and resets the counters). A form with
 * "password=wrong" in it is answered as Entra ID answers a wrong password. Ends with standard input. */
#include "server.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conn {                            /* peer->context */
	nghttp2_session *h2;             /* NULL: HTTP/1.1 */
};

struct stream {                          /* of HTTP/2 */
	struct mauth_buf form;
	bool realm;
};

enum answer { ANSWER_TOKEN, ANSWER_WRONG, ANSWER_REALM, ANSWER_COUNT };

struct due {
	struct due *next;
	struct peer *peer;
	int32_t stream_id;
	enum answer answer;
	int64_t at;
};

struct body {
	const char *data;
	size_t size;
};

static struct {
	unsigned int latency_msecs, streams, hang, port;
	size_t token_size;
	const char *cert, *alpn;
} options = { .token_size = 2000, .streams = 100, .alpn = "h2" };

static struct {
	unsigned long requests, tokens, wrong, connections, open, most_open, resets;
} stats;

static char lengths[ANSWER_COUNT][24];
static struct mauth_buf texts[ANSWER_COUNT], h1_replies[ANSWER_COUNT];
static struct due *due_first, **due_last = &due_first;

static void make_answers(void)
{
	mauth_buf_puts(&texts[ANSWER_TOKEN], "{\"token_type\":\"Bearer\",\"scope\":\"IMAP.AccessAsUser.All\","
					     "\"expires_in\":3599,\"ext_expires_in\":3599,\"access_token\":\"");
	for (size_t i = 0; i < options.token_size; i++)
		mauth_buf_putc(&texts[ANSWER_TOKEN], (char)('a' + i % 26));
	mauth_buf_puts(&texts[ANSWER_TOKEN], "\"}");
	mauth_buf_puts(&texts[ANSWER_WRONG],
		       "{\"error\":\"invalid_grant\",\"error_description\":\"AADSTS50126: Error validating "
		       "credentials due to invalid username or password.\",\"error_codes\":[50126],\"timestamp\":\"2026-01-01 00:00:00Z\","
		       "\"trace_id\":\"00000000-0000-0000-0000-000000000000\","
		       "\"correlation_id\":\"00000000-0000-0000-0000-000000000000\"}");
	mauth_buf_puts(&texts[ANSWER_REALM], "{\"account_type\":\"Managed\",\"NameSpaceType\":\"Managed\"}");
	for (int i = 0; i < ANSWER_COUNT; i++) {
		(void)snprintf(lengths[i], sizeof(lengths[i]), "%zu", texts[i].size);
		mauth_buf_printf(&h1_replies[i],
				 "HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\n"
				 "Content-Length: %zu\r\n\r\n%s",
				 i == ANSWER_WRONG ? "400 Bad Request" : "200 OK", texts[i].size, texts[i].data);
	}
}

static enum answer judge(const char *form, size_t size, bool realm)
{
	stats.requests++;
	if (realm)
		return ANSWER_REALM;
	if (memmem(form, size, "password=wrong", 14) != NULL) {
		stats.wrong++;
		return ANSWER_WRONG;
	}
	stats.tokens++;
	return ANSWER_TOKEN;
}

static void answer_later(struct peer *peer, int32_t stream_id, enum answer answer)
{
	struct due *due;

	if (++stats.open > stats.most_open)
		stats.most_open = stats.open;
	if (options.hang)
		return;
	due = mauth_new(sizeof(*due));
	due->peer = peer;
	due->stream_id = stream_id;
	due->answer = answer;
	due->at = now_usecs() + (int64_t)options.latency_msecs * 1000;
	peer_ref(peer);
	*due_last = due;
	due_last = &due->next;
}

/* --- HTTP/2 */

static void h2_flush(struct peer *peer)
{
	struct conn *conn = peer->context;
	const uint8_t *data;
	ssize_t size;

	while ((size = nghttp2_session_mem_send(conn->h2, &data)) > 0)
		mauth_buf_append(&peer->out, data, (size_t)size);
	peer_flush(peer);
}

static ssize_t h2_read_body(nghttp2_session *session, int32_t stream_id, uint8_t *dest, size_t size, uint32_t *flags,
			    nghttp2_data_source *source, void *context)
{
	struct body *body = source->ptr;
	size_t count = size < body->size ? size : body->size;

	memcpy(dest, body->data, count);
	body->data += count;
	body->size -= count;
	if (body->size == 0) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		free(body);
	}
	return (ssize_t)count;
}

/* nghttp2 does not change what its pointers lead to. */
#define HEADER(name_, value_) \
	{ .name = (uint8_t *)(uintptr_t)(name_), .namelen = sizeof(name_) - 1, \
	  .value = (uint8_t *)(uintptr_t)(value_), .valuelen = strlen(value_) }

static void h2_answer(struct peer *peer, int32_t stream_id, enum answer answer)
{
	const struct conn *conn = peer->context;
	nghttp2_nv headers[] = { HEADER(":status", answer == ANSWER_WRONG ? "400" : "200"),
				 HEADER("content-type", "application/json; charset=utf-8"),
				 HEADER("content-length", lengths[answer]) };
	nghttp2_data_provider provider = { .read_callback = h2_read_body };
	struct body *body = mauth_new(sizeof(*body));

	body->data = texts[answer].data;
	body->size = texts[answer].size;
	provider.source.ptr = body;
	if (nghttp2_submit_response(conn->h2, stream_id, headers, 3, &provider) != 0)
		free(body);
}

static int h2_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, mauth_new(sizeof(struct stream)));
}

static int h2_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
		     const uint8_t *value, size_t size, uint8_t flags, void *context)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (stream != NULL && name_size == 5 && memcmp(name, ":path", 5) == 0)
		stream->realm = memmem(value, size, "userrealm", 9) != NULL;
	return 0;
}

static int h2_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t size,
		   void *context)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, stream_id);

	if (stream != NULL && stream->form.size + size <= MAUTH_REPLY_MAX)
		mauth_buf_append(&stream->form, data, size);
	return 0;
}

static int h2_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct stream *stream;

	if (frame->hd.type == NGHTTP2_RST_STREAM)
		stats.resets++;
	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
		return 0;
	stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (stream != NULL)
		answer_later(context, frame->hd.stream_id,
			     judge(stream->form.data == NULL ? "" : stream->form.data, stream->form.size,
				   stream->realm));
	return 0;
}

static int h2_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *context)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, stream_id);

	if (stream == NULL)
		return 0;
	nghttp2_session_set_stream_user_data(session, stream_id, NULL);
	mauth_buf_free(&stream->form);
	free(stream);
	return 0;
}

static void h2_begin(struct peer *peer)
{
	const nghttp2_settings_entry entries[] = { { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.streams } };
	struct conn *conn = peer->context;
	nghttp2_session_callbacks *callbacks;

	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, h2_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, h2_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, h2_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, h2_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, h2_closed);
	nghttp2_session_server_new(&conn->h2, callbacks, peer);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(conn->h2, NGHTTP2_FLAG_NONE, entries, 1);
	h2_flush(peer);
}

/* --- HTTP/1.1 */

static void h1_data(struct peer *peer)
{
	const char *end, *length;
	size_t head, size;

	/* The buffer is followed by a NUL. */
	while (peer->in.size > 0 && (end = strstr(peer->in.data, "\r\n\r\n")) != NULL) {
		head = (size_t)(end - peer->in.data) + 4;
		length = strcasestr(peer->in.data, "\r\ncontent-length:");
		size = length == NULL || length > end ? 0 : strtoul(length + 17, NULL, 10);
		if (size > MAUTH_REPLY_MAX) {
			peer_close(peer);
			return;
		}
		if (peer->in.size < head + size)
			return;
		answer_later(peer, 0, judge(peer->in.data + head, size,
					    memmem(peer->in.data, head, "userrealm", 9) != NULL));
		mauth_buf_consume(&peer->in, head + size);
	}
}

/* --- both */

static void opened(struct peer *peer)
{
	const unsigned char *alpn = NULL;
	unsigned int size = 0;

	stats.connections++;
	peer->context = mauth_new(sizeof(struct conn));
	SSL_get0_alpn_selected(peer->ssl, &alpn, &size);
	if (size == 2)
		h2_begin(peer);
}

static void data(struct peer *peer)
{
	struct conn *conn = peer->context;

	if (conn->h2 == NULL) {
		h1_data(peer);
		return;
	}
	if (nghttp2_session_mem_recv(conn->h2, (const uint8_t *)peer->in.data, peer->in.size) < 0) {
		peer_close(peer);
		return;
	}
	peer->in.size = 0;
	h2_flush(peer);
}

static void freed(struct peer *peer)
{
	struct conn *conn = peer->context;

	if (conn == NULL)
		return;
	nghttp2_session_del(conn->h2);
	free(conn);
}

static int64_t tick(void)
{
	int64_t now = now_usecs();

	while (due_first != NULL && due_first->at <= now) {
		struct due *due = due_first;
		const struct conn *conn = due->peer->context;

		due_first = due->next;
		if (due_first == NULL)
			due_last = &due_first;
		stats.open--;
		if (due->peer->closed)
			;
		else if (conn->h2 != NULL) {
			h2_answer(due->peer, due->stream_id, due->answer);
			h2_flush(due->peer);
		} else {
			mauth_buf_append(&due->peer->out, h1_replies[due->answer].data, h1_replies[due->answer].size);
			peer_flush(due->peer);
		}
		peer_unref(due->peer);
		free(due);
	}
	return due_first == NULL ? -1 : due_first->at - now;
}

static void command(const char *line)
{
	if (sscanf(line, "latency %u", &options.latency_msecs) == 1 || sscanf(line, "hang %u", &options.hang) == 1)
		return;
	printf("{\"requests\": %lu, \"tokens\": %lu, \"wrong\": %lu, \"connections\": %lu, \"most_open\": %lu, "
	       "\"resets\": %lu}\n",
	       stats.requests, stats.tokens, stats.wrong, stats.connections, stats.most_open, stats.resets);
	stats.requests = stats.tokens = stats.wrong = stats.connections = stats.open = stats.most_open = 0;
	stats.resets = 0;
}

int main(int argc, char **argv)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1", only_h1[] = "\x08http/1.1";
	const struct server_handlers handlers = { opened, data, freed, command, tick };
	struct server_settings settings;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "alpn=", 5) == 0)
			options.alpn = argv[i] + 5;
		else if (sscanf(argv[i], "latency=%u", &options.latency_msecs) != 1 &&
			 sscanf(argv[i], "token=%zu", &options.token_size) != 1 &&
			 sscanf(argv[i], "streams=%u", &options.streams) != 1 &&
			 sscanf(argv[i], "port=%u", &options.port) != 1)
			options.cert = argv[i];
	}
	if (options.cert == NULL || options.token_size > MAUTH_TOKEN_MAX) {
		fprintf(stderr, "usage: bench_idp CERT.PEM [latency=MSECS] [token=OCTETS] [streams=N] [alpn=h2|h1] "
				"[port=N]\n");
		return 2;
	}
	make_answers();
	settings = (struct server_settings){
		.cert_file = options.cert,
		.alpn = strcmp(options.alpn, "h2") == 0 ? both : only_h1,
		.alpn_size = strcmp(options.alpn, "h2") == 0 ? sizeof(both) - 1 : sizeof(only_h1) - 1,
		.port = options.port,
	};
	server_run(&settings, &handlers);
}
