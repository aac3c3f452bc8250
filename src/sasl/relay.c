/* SPDX-License-Identifier: MIT */
#include "sasl/relay.h"

#include "client/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define QUESTION_ID 1u
#define HOST_MAX 255u
#define REPLY_TEXT_MAX 400u
/* A socket that is not there, or that nobody listens on, may be a Dovecot that is being restarted. */
#define RESTART_MSECS 2000
#define RETRY_MSECS 50
/* Connections that may end without an answer of ours: at a reload the old broker says BYE, or the master closes what nobody has accepted. */
#define UNANSWERED_MAX 4u
/* The broker gives up before we do, and can say on what. */
#define HEADWAY_MSECS 500u
#define HEADWAY_FROM 3000u

enum attempt { ANSWERED, ASK_AGAIN, GAVE_UP };

struct relay {
	const struct mauth_relay_question *question;
	struct mauth_relay_answer *answer;
	int64_t begun, deadline;
	int fd;
	bool down, heard;
};

static int64_t now_msecs(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum attempt MAUTH_PRINTF(3, 4) give_up(struct relay *relay, enum mauth_status status, const char *fmt, ...)
{
	char text[MAUTH_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	relay->answer->status = status;
	relay->answer->temporary = status != MAUTH_CONFIG;
	mauth_clean_copy(relay->answer->reason, sizeof(relay->answer->reason), text, strlen(text));
	return GAVE_UP;
}

static enum attempt timed_out(struct relay *relay)
{
	return give_up(relay, MAUTH_TIMEOUT, "the broker has not answered within %u s", relay->question->timeout_msecs / 1000);
}

/* Milliseconds that are left, 0 if none. */
static int left_msecs(const struct relay *relay)
{
	int64_t left = relay->deadline - now_msecs();

	return left < 0 ? 0 : (int)left;
}

/* Until the socket is ready for events; false: the time is over. */
static bool wait_for(struct relay *relay, short events)
{
	struct pollfd fd = { .fd = relay->fd, .events = events };
	int left = left_msecs(relay), ready;

	while (left > 0) {
		ready = poll(&fd, 1, left);
		if (ready > 0 || (ready < 0 && errno != EINTR))
			return true;
		left = left_msecs(relay);
	}
	return false;
}

static enum attempt connect_failed(struct relay *relay, int error)
{
	const char *path = relay->question->socket;

	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		relay->down = true;
		if (now_msecs() - relay->begun < RESTART_MSECS)
			return ASK_AGAIN;
		return give_up(relay, MAUTH_TEMPORARY, "the broker cannot be reached at %s (%s): is Dovecot running, and has it the relay listener?",
			       path, strerror(error));
	case EACCES:
	case EPERM:
		return give_up(relay, MAUTH_CONFIG, "the broker cannot be reached at %s (%s): this process must be of the socket's group",
			       path, strerror(error));
	default:
		return give_up(relay, MAUTH_TEMPORARY, "the broker cannot be reached at %s (%s)", path, strerror(error));
	}
}

static enum attempt relay_connect(struct relay *relay)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (strlen(relay->question->socket) >= sizeof(addr.sun_path))
		return connect_failed(relay, ENAMETOOLONG);
	memcpy(addr.sun_path, relay->question->socket, strlen(relay->question->socket) + 1);
	relay->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (relay->fd < 0)
		return connect_failed(relay, errno);
	while (connect(relay->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		/* EAGAIN: more wait to be accepted than the socket has room for; there is nothing to poll for. */
		if (errno == EAGAIN) {
			if (left_msecs(relay) == 0)
				return timed_out(relay);
			(void)poll(NULL, 0, RETRY_MSECS);
		} else if (errno != EINTR) {
			return connect_failed(relay, errno);
		}
	}
	relay->down = false;
	return ANSWERED;
}

static enum attempt lost(struct relay *relay)
{
	/* A broker that has not said a word has not seen the question. One that has may have died of it. */
	if (!relay->heard)
		return ASK_AGAIN;
	return give_up(relay, MAUTH_TEMPORARY, "the broker has ended before it answered");
}

static enum attempt relay_send(struct relay *relay, const struct mauth_buf *out)
{
	size_t sent = 0;

	while (sent < out->size) {
		ssize_t size = send(relay->fd, out->data + sent, out->size - sent, MSG_NOSIGNAL);

		if (size >= 0) {
			sent += (size_t)size;
		} else if (errno == EAGAIN) {
			if (!wait_for(relay, POLLOUT))
				return timed_out(relay);
		} else if (errno != EINTR) {
			/* It may have said why, BYE above all: that is read first. */
			return ANSWERED;
		}
	}
	return ANSWERED;
}

static enum attempt take_token(struct relay *relay, const struct mauth_wire_line *line)
{
	struct mauth_relay_answer *answer = relay->answer;
	const char *user = mauth_wire_get(line, "user"), *token = mauth_wire_get(line, "token");
	const char *token_id = mauth_wire_get(line, "token_id");

	if (user == NULL || token == NULL || *user == '\0' || strlen(user) > MAUTH_USER_MAX || *token == '\0')
		return give_up(relay, MAUTH_PROTOCOL, "the broker's answer has no token");
	for (const char *at = token; *at != '\0'; at++) {
		if (*at <= ' ' || *at > '~')
			return give_up(relay, MAUTH_PROTOCOL, "the broker's answer is no token");
	}
	mauth_clean_copy(answer->user, sizeof(answer->user), user, strlen(user));
	if (token_id != NULL)
		mauth_clean_copy(answer->token_id, sizeof(answer->token_id), token_id, strlen(token_id));
	answer->token_size = strlen(token);
	answer->token = mauth_strndup(token, answer->token_size);
	answer->status = MAUTH_OK;
	return ANSWERED;
}

static enum attempt take_refusal(struct relay *relay, const struct mauth_wire_line *line)
{
	struct mauth_relay_answer *answer = relay->answer;
	const char *code = mauth_wire_get(line, "code"), *reason = mauth_wire_get(line, "reason");
	const char *temporary = mauth_wire_get(line, "temporary");

	if (code == NULL || !mauth_status_parse(code, &answer->status) || answer->status == MAUTH_OK)
		answer->status = MAUTH_TEMPORARY;
	answer->temporary = temporary == NULL || strcmp(temporary, "yes") == 0;
	if (reason == NULL || *reason == '\0')
		reason = mauth_status_name(answer->status);
	mauth_clean_copy(answer->reason, sizeof(answer->reason), reason, strlen(reason));
	return ANSWERED;
}

static enum attempt take_reply(struct relay *relay, char *text, size_t size)
{
	struct mauth_wire_line line;
	const char *error, *reason;

	if (!mauth_wire_parse(text, size, true, &line, &error))
		return give_up(relay, MAUTH_PROTOCOL, "the broker's answer: %s", error);
	if (strcmp(line.verb, "BAD") == 0) {
		reason = mauth_wire_get(&line, "reason");
		return give_up(relay, MAUTH_PROTOCOL, "the broker does not understand us: %s", reason == NULL ? "it does not say why" : reason);
	}
	if (line.id != QUESTION_ID)
		return ASK_AGAIN;
	if (strcmp(line.verb, "OK") == 0)
		return take_token(relay, &line);
	if (strcmp(line.verb, "FAIL") == 0)
		return take_refusal(relay, &line);
	if (strcmp(line.verb, "DONE") == 0)
		return ANSWERED;
	return ASK_AGAIN;
}

/* One line of the broker. ASK_AGAIN: go on reading. */
static enum attempt take_line(struct relay *relay, char *text, size_t size, bool *bye_r)
{
	struct mauth_wire_line line;
	const char *error, *role;

	relay->heard = true;
	if (strcmp(text, "BYE") == 0 || strncmp(text, "BYE\t", 4) == 0) {
		*bye_r = true;
		return ASK_AGAIN;
	}
	if (strncmp(text, "VERSION\t", 8) == 0) {
		if (strncmp(text, "VERSION\tmodernauth\t1\t", 21) != 0)
			return give_up(relay, MAUTH_CONFIG, "the broker speaks another version of the protocol: install both from the same release");
		return ASK_AGAIN;
	}
	if (strncmp(text, "READY\t", 6) == 0) {
		if (!mauth_wire_parse(text, size, false, &line, &error))
			return give_up(relay, MAUTH_PROTOCOL, "the broker's greeting: %s", error);
		role = mauth_wire_get(&line, "role");
		if (role == NULL || strcmp(role, "relay") != 0)
			return give_up(relay, MAUTH_CONFIG, "%s is not the broker's relay listener", relay->question->socket);
		return ASK_AGAIN;
	}
	return take_reply(relay, text, size);
}

/* What has been read, line by line, into *result; false: more is needed. */
static bool take_lines(struct relay *relay, struct mauth_wire_reader *reader, enum attempt *result)
{
	bool overflow = false, bye = false;
	size_t size;
	char *text;

	while (mauth_wire_next(reader, &text, &size, &overflow)) {
		*result = take_line(relay, text, size, &bye);
		if (bye || *result != ASK_AGAIN)
			return true;
	}
	if (overflow) {
		*result = give_up(relay, MAUTH_PROTOCOL, "the broker's answer is longer than %u octets", MAUTH_LINE_MAX);
		return true;
	}
	return false;
}

static enum attempt relay_read(struct relay *relay)
{
	struct mauth_wire_reader reader = { 0 };
	char input[4096];
	enum attempt result = ASK_AGAIN;

	while (!take_lines(relay, &reader, &result)) {
		ssize_t size = recv(relay->fd, input, sizeof(input), 0);

		if (size > 0) {
			mauth_buf_append(&reader.in, input, (size_t)size);
		} else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
			result = lost(relay);
			break;
		} else if (errno == EAGAIN && !wait_for(relay, POLLIN)) {
			result = timed_out(relay);
			break;
		}
	}
	mauth_wipe(input, sizeof(input));
	mauth_wire_reader_free(&reader);
	return result;
}

static enum attempt attempt(struct relay *relay, const struct mauth_buf *out)
{
	enum attempt result;

	relay->heard = false;
	result = relay_connect(relay);
	if (result == ANSWERED)
		result = relay_send(relay, out);
	if (result == ANSWERED)
		result = relay_read(relay);
	if (relay->fd >= 0)
		close(relay->fd);
	relay->fd = -1;
	return result;
}

static void ask(struct relay *relay, struct mauth_buf *out)
{
	unsigned int unanswered = 0;

	relay->begun = now_msecs();
	relay->deadline = relay->begun + relay->question->timeout_msecs;
	relay->fd = -1;
	while (attempt(relay, out) == ASK_AGAIN) {
		if (left_msecs(relay) == 0) {
			(void)timed_out(relay);
			break;
		}
		if (!relay->down && ++unanswered == UNANSWERED_MAX) {
			(void)give_up(relay, MAUTH_TEMPORARY, "the broker ends our connections without an answer");
			break;
		}
		(void)poll(NULL, 0, RETRY_MSECS);
	}
	mauth_buf_free(out);
}

static void begin(struct mauth_buf *out, const char *verb)
{
	mauth_buf_puts(out, MAUTH_WIRE_VERSION_LINE);
	mauth_wire_begin(out, "CLIENT");
	mauth_wire_str(out, "name", "sasl");
	mauth_wire_num(out, "pid", getpid());
	mauth_wire_end(out);
	mauth_wire_begin(out, verb);
	mauth_wire_id(out, QUESTION_ID);
}

void mauth_relay_token(const struct mauth_relay_question *question, struct mauth_relay_answer *answer_r)
{
	struct relay relay = { .question = question, .answer = answer_r };
	struct mauth_buf out = { 0 };
	unsigned int timeout = question->timeout_msecs;

	if (strlen(question->identity) > MAUTH_USER_MAX || question->key_size > MAUTH_PASSWORD_MAX) {
		(void)give_up(&relay, MAUTH_CONFIG, "identity or relay key is too long: an entry of smtp_sasl_password_maps has the form identity:key");
		return;
	}
	begin(&out, "TOKEN");
	mauth_wire_str(&out, "identity", question->identity);
	mauth_wire_data(&out, "key", question->key, question->key_size);
	if (question->host != NULL && strlen(question->host) <= HOST_MAX)
		mauth_wire_str(&out, "host", question->host);
	mauth_wire_num(&out, "min_life", question->min_life_secs);
	mauth_wire_num(&out, "timeout", timeout >= HEADWAY_FROM ? timeout - HEADWAY_MSECS : timeout);
	mauth_wire_str(&out, "program", program_invocation_short_name);
	mauth_wire_end(&out);
	ask(&relay, &out);
}

void mauth_relay_refused(const struct mauth_relay_question *question, const char *token_id, const char *reply, size_t size)
{
	struct mauth_relay_answer answer = { 0 };
	struct relay relay = { .question = question, .answer = &answer };
	struct mauth_buf out = { 0 };
	char text[REPLY_TEXT_MAX];

	mauth_clean_copy(text, sizeof(text), reply, size);
	begin(&out, "REFUSED");
	mauth_wire_str(&out, "identity", question->identity);
	mauth_wire_str(&out, "token_id", token_id);
	mauth_wire_str(&out, "reply", text);
	mauth_wire_end(&out);
	ask(&relay, &out);
	mauth_relay_answer_clear(&answer);
}

void mauth_relay_answer_clear(struct mauth_relay_answer *answer)
{
	if (answer->token != NULL) {
		mauth_wipe(answer->token, answer->token_size);
		free(answer->token);
	}
	memset(answer, 0, sizeof(*answer));
}
