/* SPDX-License-Identifier: MIT */
#include "doveadm/audit-select.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
	const char *name, *colour;
} words[MAUTH_AUDIT_WORD_COUNT] = {
	[MAUTH_AUDIT_OK] = { "ok", "32" },           [MAUTH_AUDIT_REFUSED] = { "refused", "33" },
	[MAUTH_AUDIT_FAILED] = { "failed", "1;31" }, [MAUTH_AUDIT_PASSED] = { "passed", "2" },
	[MAUTH_AUDIT_CHANGED] = { "changed", "36" }, [MAUTH_AUDIT_NOTE] = { "note", "2" },
};

const char *mauth_audit_word_name(enum mauth_audit_word word)
{
	return words[word].name;
}

bool mauth_audit_word_parse(const char *name, enum mauth_audit_word *word_r)
{
	for (size_t i = 0; i < MAUTH_AUDIT_WORD_COUNT; i++) {
		if (strcmp(name, words[i].name) == 0) {
			*word_r = (enum mauth_audit_word)i;
			return true;
		}
	}
	return false;
}

/* Whom it is not the fault of: the same split as mauth_login_is_outage(), and the audit's own. */
static bool is_outage(const char *status)
{
	static const char *const outages[] = { "temporary", "timeout", "protocol", "config", "audit", "failed" };

	for (size_t i = 0; i < sizeof(outages) / sizeof(outages[0]); i++) {
		if (strcmp(status, outages[i]) == 0)
			return true;
	}
	return false;
}

enum mauth_audit_word mauth_audit_word_of(const json_t *record)
{
	const char *outcome = mauth_format_str(record, "event.outcome");
	bool failure = strcmp(outcome, "failure") == 0;

	if (mauth_format_has(record, "event.type", "change"))
		return failure ? MAUTH_AUDIT_FAILED : MAUTH_AUDIT_CHANGED;
	if (!mauth_format_has(record, "event.category", "authentication") && !mauth_format_has(record, "event.category", "session"))
		return MAUTH_AUDIT_NOTE;
	if (failure)
		return is_outage(mauth_format_str(record, "modernauth.status")) ? MAUTH_AUDIT_FAILED : MAUTH_AUDIT_REFUSED;
	return strcmp(outcome, "success") == 0 ? MAUTH_AUDIT_OK : MAUTH_AUDIT_PASSED;
}

/* -- which ones --------------------------------------------------------------------------------------------- */

static bool is_user(const char *pattern, const json_t *record)
{
	static const char *const paths[] = { "user.name", "user.email", "modernauth.account", "modernauth.mailbox" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const char *name = mauth_format_str(record, paths[i]);

		if (*name != '\0' && fnmatch(pattern, name, FNM_CASEFOLD) == 0)
			return true;
	}
	return false;
}

bool mauth_audit_select(const struct mauth_audit_filter *filter, const json_t *record)
{
	int64_t at;

	if (filter->since > 0 || filter->until > 0) {
		if (!mauth_format_time(mauth_format_str(record, "@timestamp"), &at) || at < filter->since ||
		    (filter->until > 0 && at >= filter->until))
			return false;
	}
	if (filter->user != NULL && !is_user(filter->user, record))
		return false;
	if (filter->protocol != NULL && strcmp(mauth_format_str(record, "service.name"), filter->protocol) != 0)
		return false;
	return filter->words == 0 || (filter->words & 1u << mauth_audit_word_of(record)) != 0;
}

bool mauth_audit_too_early(const struct mauth_audit_filter *filter, const char *line, size_t size)
{
	static const char begin[] = "{\"@timestamp\":\"";
	char time[40];
	int64_t at;
	size_t length = 0;

	if (filter->since == 0 || size < sizeof(begin) - 1 || memcmp(line, begin, sizeof(begin) - 1) != 0)
		return false;
	line += sizeof(begin) - 1;
	size -= sizeof(begin) - 1;
	while (length < size && length < sizeof(time) - 1 && line[length] != '"')
		length++;
	memcpy(time, line, length);
	time[length] = '\0';
	return mauth_format_time(time, &at) && at < filter->since;
}

/* -- for people --------------------------------------------------------------------------------------------- */

static void put_colour(struct mauth_buf *buf, bool colour, const char *code)
{
	if (colour)
		mauth_buf_printf(buf, "\033[%sm", code);
}

/* text in a column of its own; "-" if there is none. */
static void put_column(struct mauth_buf *buf, const char *text, unsigned int width)
{
	size_t begin = buf->size, columns = 0;

	mauth_format_visible(buf, *text == '\0' ? "-" : text);
	for (size_t i = begin; i < buf->size; i++)
		columns += ((unsigned char)buf->data[i] & 0xc0) != 0x80;
	do
		mauth_buf_putc(buf, ' ');
	while (++columns < width + 1);
}

static void put_word(struct mauth_buf *buf, const char *text)
{
	if (*text == '\0')
		return;
	mauth_format_visible(buf, text);
	mauth_buf_putc(buf, ' ');
}

static void put_local_time(struct mauth_buf *buf, const json_t *record)
{
	const char *text = mauth_format_str(record, "@timestamp");
	int64_t msecs;
	char shown[32];
	struct tm tm;
	time_t t;

	if (!mauth_format_time(text, &msecs)) {
		put_word(buf, "-");
		return;
	}
	t = (time_t)(msecs / 1000);
	if (localtime_r(&t, &tm) != NULL && strftime(shown, sizeof(shown), "%m-%d %H:%M:%S ", &tm) > 0)
		mauth_buf_puts(buf, shown);
}

static void put_number(struct mauth_buf *buf, const json_t *record, const char *path, int64_t unit, const char *after)
{
	const json_t *value = mauth_format_get(record, path);

	if (json_is_integer(value))
		mauth_buf_printf(buf, "%" JSON_INTEGER_FORMAT "%s ", json_integer_value(value) / unit, after);
}

/* What was done, as the kinds of records say it. */
static void put_what(struct mauth_buf *buf, const json_t *record)
{
	const char *action = mauth_format_str(record, "event.action");
	const char *decision = mauth_format_str(record, "modernauth.decision");

	if (*decision != '\0') {
		put_word(buf, decision);
		put_word(buf, mauth_format_str(record, "modernauth.grant"));
		put_word(buf, mauth_format_str(record, "modernauth.token_source"));
		put_number(buf, record, "event.duration", 1000000, " ms");
	} else {
		put_word(buf, action);
		put_word(buf, mauth_format_str(record, "modernauth.upstream.host"));
		put_word(buf, mauth_format_str(record, "modernauth.device.name"));
		put_word(buf, mauth_format_str(record, "modernauth.exception"));
		put_word(buf, mauth_format_str(record, "modernauth.allowed.users"));
		if (mauth_format_get(record, "source.bytes") != NULL)
			put_number(buf, record, "event.duration", 1000000000, " s");
		put_number(buf, record, "source.bytes", 1, " octets in");
		put_number(buf, record, "destination.bytes", 1, " out");
	}
	if (*mauth_format_str(record, "modernauth.by") != '\0') {
		mauth_buf_puts(buf, "by ");
		put_word(buf, mauth_format_str(record, "modernauth.by"));
	}
}

static void put_why(struct mauth_buf *buf, const json_t *record, enum mauth_audit_word word)
{
	const char *status = mauth_format_str(record, "modernauth.status"), *reason = mauth_format_str(record, "event.reason");
	const char *code = mauth_format_str(record, "event.code");

	if (word != MAUTH_AUDIT_OK && word != MAUTH_AUDIT_NOTE)
		put_word(buf, status);
	if (*code != '\0') {
		mauth_buf_puts(buf, "AADSTS");
		put_word(buf, code);
	}
	mauth_format_visible(buf, reason);
}

void mauth_audit_show(const json_t *record, bool colour, struct mauth_buf *buf)
{
	enum mauth_audit_word word = mauth_audit_word_of(record);
	bool dim = word == MAUTH_AUDIT_NOTE || word == MAUTH_AUDIT_PASSED;

	put_colour(buf, colour, "2");
	put_local_time(buf, record);
	put_colour(buf, colour, "0");
	put_colour(buf, colour, words[word].colour);
	put_column(buf, words[word].name, 7);
	if (!dim)
		put_colour(buf, colour, "0");
	if (word != MAUTH_AUDIT_NOTE) {
		put_column(buf, mauth_format_str(record, "service.name"), 10);
		put_colour(buf, colour, dim ? "1;2" : "1");
		put_column(buf, mauth_format_str(record, "user.name"), 30);
		put_colour(buf, colour, "0");
		put_column(buf, mauth_format_str(record, "source.ip"), 15);
	}
	put_what(buf, record);
	put_why(buf, record, word);
	while (buf->data[buf->size - 1] == ' ')
		buf->data[--buf->size] = '\0';
	put_colour(buf, colour, "0");
	mauth_buf_putc(buf, '\n');
}
