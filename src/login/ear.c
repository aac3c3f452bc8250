/* SPDX-License-Identifier: MIT */
/* Some of what is said in the middle of a session is worth knowing: Exchange's, that there is no mailbox behind a token that it has
 * accepted, among the first octets; its farewell, and the client's, in the last. Dovecot has no place to put a filter between
 * these streams and the copying: they are private members of the proxy, with no way to set them. But a stream's own way to read
 * can be followed by a look at what it has read, where it is, without a copy and without another buffer. */
#include "login-common.h"
#include "array.h"
#include "client-common.h"
#include "istream-private.h"

#include "login/session.h"
#include "modernauth/client.h"

/* A client's first commands: capabilities, ID, namespaces, a list of folders, then a mailbox. */
#define LOOK_MAX 16384u
#define NOT_CONNECTED "authenticated but not connected"
/* Longer farewells are of no interest. */
#define TAIL_MAX 512u

/* "a4 BAD User is authenticated but not connected." or the like: the answer to a command. */
static bool is_refusal(const char *line)
{
	const char *answer = strchr(line, ' ');

	if (answer == NULL || answer == line || line[0] == '*' || line[0] == '+')
		return FALSE;
	return strncmp(answer, " NO ", 4) == 0 || strncmp(answer, " BAD ", 5) == 0;
}

static void line_ended(struct mauth_login_ear *ear)
{
	struct mauth_upstream_report about;

	ear->line[ear->line_used] = '\0';
	ear->line_used = 0;
	if (!is_refusal(ear->line) || strcasestr(ear->line, NOT_CONNECTED) == NULL)
		return;
	ear->left = 0;
	mauth_login_session_about(ear->client, &about);
	about.reply = ear->line;
	mauth_client_report_unconnected(mauth_login_broker(), &about);
}

/* "{123}" at the end of a line: as many octets of somebody's mail follow, whose words mean nothing here. */
static void look_for_literal(struct mauth_login_ear *ear, char c)
{
	if (c == '{') {
		ear->announcing = TRUE;
		ear->announced = 0;
	} else if (ear->announcing && i_isdigit(c) && ear->announced < LOOK_MAX) {
		ear->announced = ear->announced * 10 + (unsigned int)(c - '0');
	} else if (c != '}' && c != '+' && c != '\r') {
		ear->announcing = FALSE;
	}
}

static void look_at_octet(struct mauth_login_ear *ear, char c)
{
	ear->left--;
	if (ear->literal > 0) {
		ear->literal--;
	} else if (c == '\n') {
		ear->literal = ear->announcing ? ear->announced : 0;
		ear->announcing = FALSE;
		line_ended(ear);
	} else {
		look_for_literal(ear, c);
		if (c != '\r' && c != '\0' && ear->line_used < sizeof(ear->line) - 1)
			ear->line[ear->line_used++] = c;
	}
}

/* The last line of data, which must have an end, without its begin if that is too long. false: there is none. */
static bool last_line(const unsigned char *data, size_t size, const char **line_r, size_t *size_r)
{
	const unsigned char *begin;

	if (size == 0 || data[size - 1] != '\n')
		return FALSE;
	size -= size > 1 && data[size - 2] == '\r' ? 2 : 1;
	if (size > TAIL_MAX) {
		data += size - TAIL_MAX;
		size = TAIL_MAX;
	}
	begin = memrchr(data, '\n', size);
	if (begin != NULL) {
		size -= (size_t)(begin + 1 - data);
		data = begin + 1;
	}
	*line_r = (const char *)data;
	*size_r = size;
	return TRUE;
}

static const char *farewell(void)
{
	if (strcmp(login_binary->protocol, "imap") == 0)
		return "* BYE ";
	return strcmp(login_binary->protocol, "pop3") == 0 ? "-ERR " : "421 ";
}

static void hear_server(struct mauth_login_ear *ear, const unsigned char *data, size_t size)
{
	const char *word = farewell(), *line;

	for (size_t i = 0; i < size && ear->left > 0; i++)
		look_at_octet(ear, (char)data[i]);
	/* Whatever was a farewell before is none if more has come. */
	ear->said[0] = '\0';
	if (!last_line(data, size, &line, &size) || size < strlen(word) || memcmp(line, word, strlen(word)) != 0)
		return;
	size = I_MIN(size, sizeof(ear->said) - 1);
	memcpy(ear->said, line, size);
	ear->said[size] = '\0';
}

static void hear_client(struct mauth_login_ear *ear, const unsigned char *data, size_t size)
{
	const char *word = strcmp(login_binary->protocol, "imap") == 0 ? " LOGOUT" : "QUIT", *line;
	const size_t length = strlen(word);

	ear->logged_out = last_line(data, size, &line, &size) && size >= length &&
			  strncasecmp(line + size - length, word, length) == 0 && (*word == ' ' || size == length);
}

/* A stream goes: with its connection. There are two of these functions, since what a stream is told to call says whose it is. */
static void server_gone(void *context)
{
	struct mauth_login_ear *ear = context;

	ear->from_server.stream = NULL;
}

static void client_gone(void *context)
{
	struct mauth_login_ear *ear = context;

	ear->from_client.stream = NULL;
}

static struct mauth_login_ear *ear_of(const struct istream_private *stream, void (*gone)(void *context))
{
	const struct iostream_destroy_callback *callback;

	array_foreach(&stream->iostream.destroy_callbacks, callback) {
		if (callback->callback == gone)
			return callback->context;
	}
	i_unreached();
}

static const unsigned char *fresh(const struct istream_private *stream, ssize_t size)
{
	return size > 0 && (size_t)size <= stream->pos ? stream->buffer + stream->pos - size : NULL;
}

static ssize_t read_server(struct istream_private *stream)
{
	struct mauth_login_ear *ear = ear_of(stream, server_gone);
	ssize_t size = ear->from_server.read(stream);
	const unsigned char *data = fresh(stream, size);

	if (data != NULL)
		hear_server(ear, data, (size_t)size);
	return size;
}

static ssize_t read_client(struct istream_private *stream)
{
	struct mauth_login_ear *ear = ear_of(stream, client_gone);
	ssize_t size = ear->from_client.read(stream);
	const unsigned char *data = fresh(stream, size);

	if (data != NULL)
		hear_client(ear, data, (size_t)size);
	return size;
}

static void listen_to(struct mauth_login_ear *ear, struct mauth_login_heard *heard, struct istream *input,
		      ssize_t (*read)(struct istream_private *stream), void (*gone)(void *context))
{
	struct istream_private *stream = input->real_stream;

	heard->stream = stream;
	heard->read = stream->read;
	io_stream_add_destroy_callback(&stream->iostream, gone, ear);
	stream->read = read;
}

static void stop_listening(struct mauth_login_heard *heard, void (*gone)(void *context))
{
	if (heard->stream == NULL)
		return;
	heard->stream->read = heard->read;
	io_stream_remove_destroy_callback(&heard->stream->iostream, gone);
	heard->stream = NULL;
}

void mauth_login_ear_begin(struct mauth_login_ear *ear, struct istream *from_server, struct istream *from_client)
{
	const unsigned char *data;
	size_t size;

	ear->left = strcmp(login_binary->protocol, "imap") == 0 ? LOOK_MAX : 0;
	listen_to(ear, &ear->from_server, from_server, read_server, server_gone);
	listen_to(ear, &ear->from_client, from_client, read_client, client_gone);
	/* What came together with the last lines of the login */
	data = i_stream_get_data(from_server, &size);
	hear_server(ear, data, size);
	data = i_stream_get_data(from_client, &size);
	hear_client(ear, data, size);
}

void mauth_login_ear_end(struct mauth_login_ear *ear)
{
	stop_listening(&ear->from_server, server_gone);
	stop_listening(&ear->from_client, client_gone);
}
