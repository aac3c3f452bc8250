/* SPDX-License-Identifier: MIT */
/* RFC 5424, and journald's native protocol: both take a record's fields one by one. */
#include "core/format-private.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define APP "dovecot-modernauth"
#define FACILITY_AUTHPRIV 10
/* RFC 5612 keeps 32473 for examples and documentation: we have no enterprise number, and nobody else's may be used. */
#define ENTERPRISE "32473"
/* SD-NAME and MSGID, RFC 5424 section 6. */
#define NAME_MAX_OCTETS 32u

/* What is printable and stands in no syntax; anything else becomes "_". "-" for nothing. */
static void put_name(struct mauth_buf *buf, const char *name, size_t max)
{
	if (*name == '\0')
		mauth_buf_putc(buf, '-');
	for (; *name != '\0' && max > 0; name++, max--)
		mauth_buf_putc(buf, *name <= ' ' || *name >= 0x7f || strchr("=]\"", *name) != NULL ? '_' : *name);
}

/* PARAM-VALUE, section 6.3.3. Control characters may be there by the letter, but a receiver may change them, and LF ends a line
 * in every file: so they are written out. */
static void put_param_value(struct mauth_buf *buf, const char *text)
{
	while (*text != '\0') {
		const char *begin = text;
		uint32_t c = mauth_format_char(&text);

		if (mauth_format_is_control(c)) {
			mauth_format_code(buf, c);
			continue;
		}
		if (c == '"' || c == '\\' || c == ']')
			mauth_buf_putc(buf, '\\');
		mauth_buf_append(buf, begin, (size_t)(text - begin));
	}
}

struct element {
	struct mauth_buf *buf;
	bool own;                            /* what is below "modernauth", else the rest */
};

static void put_param(void *context, const char *path, const char *text)
{
	struct element *element = context;
	size_t prefix = sizeof(MAUTH_FORMAT_OWN) - 1;
	bool own = strncmp(path, MAUTH_FORMAT_OWN, prefix) == 0;

	if (own != element->own)
		return;
	mauth_buf_putc(element->buf, ' ');
	put_name(element->buf, own ? path + prefix : path, NAME_MAX_OCTETS);
	mauth_buf_puts(element->buf, "=\"");
	put_param_value(element->buf, text);
	mauth_buf_putc(element->buf, '"');
}

static void put_structured_data(const json_t *record, struct mauth_buf *buf)
{
	mauth_buf_puts(buf, "[origin software=\"" APP "\" swVersion=\"" MAUTH_VERSION "\"][ecs@" ENTERPRISE);
	mauth_format_each(record, put_param, &(struct element){ .buf = buf });
	mauth_buf_puts(buf, "][modernauth@" ENTERPRISE);
	mauth_format_each(record, put_param, &(struct element){ .buf = buf, .own = true });
	mauth_buf_putc(buf, ']');
}

/* Whoever writes UTF-8 begins with the BOM (section 6.4); for ASCII it is not needed, and few readers like it. */
static void put_message(struct mauth_buf *buf, const struct mauth_buf *message)
{
	for (size_t i = 0; i < message->size; i++) {
		if ((unsigned char)message->data[i] >= 0x80) {
			mauth_buf_puts(buf, "\xef\xbb\xbf");
			break;
		}
	}
	mauth_buf_append(buf, message->data, message->size);
}

void mauth_format_syslog(const json_t *record, const char *line, size_t size, const struct mauth_format_source *source,
			 struct mauth_buf *buf)
{
	struct mauth_buf message = { 0 };

	/* mauth_format_read() has seen that the time is one; more than six digits of a second are not allowed, ours has six. */
	mauth_buf_printf(buf, "<%d>1 %s ", FACILITY_AUTHPRIV * 8 + mauth_format_severity(record), mauth_format_str(record, "@timestamp"));
	put_name(buf, source->host == NULL ? "" : source->host, 255);
	mauth_buf_puts(buf, " " APP " ");
	if (source->pid > 0)
		mauth_buf_printf(buf, "%" PRId64 " ", source->pid);
	else
		mauth_buf_puts(buf, "- ");
	put_name(buf, mauth_format_str(record, "event.action"), NAME_MAX_OCTETS);
	mauth_buf_putc(buf, ' ');
	if (source->message == MAUTH_FORMAT_SYSLOG) {
		put_structured_data(record, buf);
		mauth_format_summary(record, &message);
	} else {
		mauth_buf_putc(buf, '-');
		mauth_format_write(source->message, record, line, size, source, &message);
		message.size--;         /* its LF */
	}
	mauth_buf_putc(buf, ' ');
	put_message(buf, &message);
	mauth_buf_free(&message);
}

/* -- journald ----------------------------------------------------------------------------------------------- */

/* systemd.io/JOURNAL_NATIVE_PROTOCOL: values with a line's end go with their size, as 64 bits in little-endian. */
static void put_journal(struct mauth_buf *buf, const char *value)
{
	size_t size = strlen(value);

	if (strchr(value, '\n') == NULL) {
		mauth_buf_putc(buf, '=');
	} else {
		mauth_buf_putc(buf, '\n');
		for (unsigned int shift = 0; shift < 64; shift += 8)
			mauth_buf_putc(buf, (char)((uint64_t)size >> shift & 0xff));
	}
	mauth_buf_append(buf, value, size);
	mauth_buf_putc(buf, '\n');
}

static void put_journal_field(void *context, const char *path, const char *text)
{
	struct mauth_buf *buf = context;
	size_t prefix = sizeof(MAUTH_FORMAT_OWN) - 1;
	size_t left = 50;                       /* of the 64 that a name may have */
	bool own = strncmp(path, MAUTH_FORMAT_OWN, prefix) == 0;

	mauth_buf_puts(buf, own ? "MODERNAUTH_" : "ECS_");
	for (path += own ? prefix : *path == '@'; *path != '\0' && left > 0; path++, left--)
		mauth_buf_putc(buf, isalnum((unsigned char)*path) && (unsigned char)*path < 0x80 ?
			       (char)toupper((unsigned char)*path) : '_');
	put_journal(buf, text);
}

void mauth_format_journal(const json_t *record, struct mauth_buf *buf)
{
	struct mauth_buf message = { 0 };

	mauth_format_summary(record, &message);
	mauth_buf_puts(buf, "MESSAGE");
	put_journal(buf, message.data);
	mauth_buf_free(&message);
	mauth_buf_printf(buf, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=" APP "\n", mauth_format_severity(record),
			 FACILITY_AUTHPRIV);
	mauth_format_each(record, put_journal_field, buf);
}
