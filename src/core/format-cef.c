/* SPDX-License-Identifier: MIT */
/* ArcSight's Common Event Format (CEF:0), keys of its extension dictionary. */
#include "core/format-private.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum kind { TEXT, NUMBER, ADDRESS };
/* What the dictionary has a key for. ADDRESS: that key is for IPv4, "other" for IPv6. */
static const struct field {
	const char *path, *key, *label, *other;
	enum kind kind;
} fields[] = {
	{ "event.id", "externalId" },
	{ "event.category", "cat" },
	{ "event.outcome", "outcome" },
	{ "event.reason", "reason" },
	{ "event.code", "cn1", "aadsts", .kind = NUMBER },
	{ "event.duration", "cn3", "durationNanoseconds", .kind = NUMBER },
	{ "http.response.status_code", "cn2", "httpStatus", .kind = NUMBER },
	{ "modernauth.decision", "act" },
	{ "modernauth.session", "cs1", "session" },
	{ "modernauth.status", "cs2", "status" },
	{ "modernauth.rule", "cs3", "rule" },
	{ "modernauth.tenant", "cs4", "tenant" },
	{ "modernauth.mechanism", "cs5", "mechanism" },
	{ "modernauth.correlation_id", "cs6", "correlationId" },
	{ "user.name", "duser" },
	{ "source.ip", "src", "sourceIPv6", "c6a2", ADDRESS },
	{ "source.port", "spt", .kind = NUMBER },
	{ "source.bytes", "in", .kind = NUMBER },
	{ "destination.ip", "dst", "destinationIPv6", "c6a3", ADDRESS },
	{ "destination.port", "dpt", .kind = NUMBER },
	{ "destination.bytes", "out", .kind = NUMBER },
	{ "network.protocol", "app" },
	{ "network.transport", "proto" },
	{ "user_agent.name", "requestClientApplication" },
};

/* Header: "\" and "|"; extension: "\" and "=", and ends of lines as "\n" and "\r". Other control characters have no spelling. */
static void put_escaped(struct mauth_buf *buf, const char *text, bool header)
{
	while (*text != '\0') {
		const char *begin = text;
		uint32_t c = mauth_format_char(&text);

		if (!header && c == '\n') {
			mauth_buf_puts(buf, "\\n");
		} else if (!header && c == '\r') {
			mauth_buf_puts(buf, "\\r");
		} else if (mauth_format_is_control(c)) {
			mauth_format_code(buf, c);
		} else {
			if (c == '\\' || c == (header ? '|' : '='))
				mauth_buf_putc(buf, '\\');
			mauth_buf_append(buf, begin, (size_t)(text - begin));
		}
	}
}

static void put_pair(struct mauth_buf *buf, const char *key, const char *text)
{
	mauth_buf_printf(buf, " %s=", key);
	put_escaped(buf, text, false);
}

static bool fits(const struct field *field, const char *text)
{
	switch (field->kind) {
	case TEXT:
		return true;
	case NUMBER:
		return *text != '\0' && strlen(text) < 19 && text[strspn(text, "0123456789")] == '\0';
	case ADDRESS:
		return true;
	}
	return false;
}

/* "modernauth.token_id" is "modernauthTokenId": the dictionary wants the product's name before keys of its own. */
static void put_own(struct mauth_buf *buf, const char *path, const char *text)
{
	size_t prefix = sizeof(MAUTH_FORMAT_OWN) - 1;
	bool upper = true;

	if (strncmp(path, MAUTH_FORMAT_OWN, prefix) == 0)
		path += prefix;
	mauth_buf_puts(buf, " modernauth");
	for (; *path != '\0'; path++) {
		if (!isalnum((unsigned char)*path) || (unsigned char)*path >= 0x80) {
			upper = true;
			continue;
		}
		mauth_buf_putc(buf, upper ? (char)toupper((unsigned char)*path) : *path);
		upper = false;
	}
	mauth_buf_putc(buf, '=');
	put_escaped(buf, text, false);
}

static void put_field(void *context, const char *path, const char *text)
{
	struct mauth_buf *buf = context;
	const char *key;
	char label[16];

	/* They are "rt" and the header. */
	if (strcmp(path, "@timestamp") == 0 || strcmp(path, "event.action") == 0)
		return;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const struct field *field = &fields[i];

		if (strcmp(path, field->path) != 0 || !fits(field, text))
			continue;
		key = field->kind == ADDRESS && strchr(text, ':') != NULL ? field->other : field->key;
		put_pair(buf, key, text);
		if (field->label != NULL && (field->kind != ADDRESS || key == field->other)) {
			(void)stpcpy(stpcpy(label, key), "Label");
			put_pair(buf, label, field->label);
		}
		return;
	}
	put_own(buf, path, text);
}

/* "basic auth intercepted" */
static void put_title(struct mauth_buf *buf, const char *action)
{
	size_t begin = buf->size;

	put_escaped(buf, *action == '\0' ? "event" : action, true);
	for (size_t i = begin; i < buf->size; i++) {
		if (buf->data[i] == '-')
			buf->data[i] = ' ';
	}
}

void mauth_format_cef(const json_t *record, const struct mauth_format_source *source, struct mauth_buf *buf)
{
	const char *action = mauth_format_str(record, "event.action");
	struct mauth_buf message = { 0 };
	int64_t msecs = 0;

	mauth_buf_puts(buf, "CEF:0|dovecot-modernauth|dovecot-modernauth|" MAUTH_VERSION "|");
	put_escaped(buf, *action == '\0' ? "event" : action, true);
	mauth_buf_putc(buf, '|');
	put_title(buf, action);
	/* 0 to 3 is low, 4 to 6 medium. */
	mauth_buf_puts(buf, mauth_format_severity(record) == 4 ? "|5|" : "|3|");
	(void)mauth_format_time(mauth_format_str(record, "@timestamp"), &msecs);
	mauth_buf_printf(buf, "rt=%" PRId64, msecs);
	if (source->host != NULL)
		put_pair(buf, "dvchost", source->host);
	if (source->pid > 0)
		mauth_buf_printf(buf, " dvcpid=%" PRId64, source->pid);
	mauth_format_summary(record, &message);
	put_pair(buf, "msg", message.data);
	mauth_buf_free(&message);
	mauth_format_each(record, put_field, buf);
}
