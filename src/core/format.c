/* SPDX-License-Identifier: MIT */
#include "core/format-private.h"

#include "core/record-json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PATH_MAX_OCTETS 128u
#define SUMMARY_MAX 1000u

static const char *const names[MAUTH_FORMAT_COUNT] = {
	[MAUTH_FORMAT_ECS] = "ecs",
	[MAUTH_FORMAT_OCSF] = "ocsf",
	[MAUTH_FORMAT_CEF] = "cef",
	[MAUTH_FORMAT_SYSLOG] = "syslog",
};

const char *mauth_format_name(enum mauth_format format)
{
	return names[format];
}

bool mauth_format_parse(const char *name, enum mauth_format *format_r)
{
	for (size_t i = 0; i < MAUTH_FORMAT_COUNT; i++) {
		if (strcmp(name, names[i]) == 0) {
			*format_r = (enum mauth_format)i;
			return true;
		}
	}
	return false;
}

json_t *mauth_format_read(const char *line, size_t size)
{
	json_t *record = mauth_json_object(line, size);
	int64_t msecs;

	if (mauth_format_time(mauth_json_str(record, "@timestamp"), &msecs) &&
	    json_is_object(json_object_get(record, "event")))
		return record;
	json_decref(record);
	return NULL;
}

void mauth_format_write(enum mauth_format format, const json_t *record, const char *line, size_t size,
			const struct mauth_format_source *source, struct mauth_buf *buf)
{
	switch (format) {
	case MAUTH_FORMAT_ECS:
		mauth_buf_append(buf, line, size);
		break;
	case MAUTH_FORMAT_OCSF:
		mauth_format_ocsf(record, buf);
		break;
	case MAUTH_FORMAT_CEF:
		mauth_format_cef(record, source, buf);
		break;
	case MAUTH_FORMAT_SYSLOG:
		mauth_format_syslog(record, line, size, source, buf);
		break;
	case MAUTH_FORMAT_COUNT:
		return;
	}
	mauth_buf_putc(buf, '\n');
}

/* -- fields ------------------------------------------------------------------------------------------------- */

json_t *mauth_format_get(const json_t *record, const char *path)
{
	const char *dot;

	while ((dot = strchr(path, '.')) != NULL) {
		record = json_object_getn(record, path, (size_t)(dot - path));
		path = dot + 1;
	}
	return json_object_get(record, path);
}

const char *mauth_format_str(const json_t *record, const char *path)
{
	const char *text = json_string_value(mauth_format_get(record, path));

	return text == NULL ? "" : text;
}

bool mauth_format_has(const json_t *record, const char *path, const char *text)
{
	const json_t *list = mauth_format_get(record, path), *value;
	size_t i;

	json_array_foreach(list, i, value) {
		if (json_is_string(value) && strcmp(json_string_value(value), text) == 0)
			return true;
	}
	return false;
}

/* A value that is no object. */
static void put_value(struct mauth_buf *buf, const json_t *value)
{
	const json_t *element;
	size_t i;

	if (json_is_string(value)) {
		mauth_buf_puts(buf, json_string_value(value));
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, element) {
			if (i > 0)
				mauth_buf_putc(buf, ',');
			put_value(buf, element);
		}
	} else {
		mauth_format_json(buf, value);
	}
}

/* jansson iterates over what it takes for changeable, and changes nothing. */
static json_t *iterated(const json_t *object)
{
	json_t *same;

	memcpy(&same, &object, sizeof(same));
	return same;
}

struct walk {
	mauth_format_field_fn *fn;
	void *context;
	struct mauth_buf text;
	char path[PATH_MAX_OCTETS];
};

/* length: of the path so far. mauth_json_object() has bounded the depth. */
static void walk(struct walk *w, const json_t *object, size_t length)
{
	const char *key;
	json_t *value;

	json_object_foreach(iterated(object), key, value) {
		int size = snprintf(w->path + length, sizeof(w->path) - length, "%s%s", length == 0 ? "" : ".", key);
		size_t end = length + (size_t)size;

		/* None of ours is so long. */
		if (end >= sizeof(w->path))
			continue;
		if (json_is_object(value)) {
			walk(w, value, end);
			continue;
		}
		mauth_buf_clear(&w->text);
		put_value(&w->text, value);
		w->fn(w->context, w->path, w->text.data == NULL ? "" : w->text.data);
	}
}

void mauth_format_each(const json_t *record, mauth_format_field_fn *fn, void *context)
{
	struct walk w = { .fn = fn, .context = context };

	walk(&w, record, 0);
	mauth_buf_free(&w.text);
}

int mauth_format_severity(const json_t *record)
{
	const char *outcome = mauth_format_str(record, "event.outcome");

	if (strcmp(outcome, "failure") == 0)
		return 4;               /* warning */
	return strcmp(outcome, "success") == 0 ? 6 : 5;       /* info, notice */
}

/* -- times -------------------------------------------------------------------------------------------------- */

static bool take_digits(const char **text, size_t count, int *number_r)
{
	*number_r = 0;
	for (size_t i = 0; i < count; i++) {
		if ((*text)[i] < '0' || (*text)[i] > '9')
			return false;
		*number_r = *number_r * 10 + ((*text)[i] - '0');
	}
	*text += count;
	return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar; months counted from March, so that the leap day is the last. */
static int64_t days_of(int year, int month, int day)
{
	int y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;

	return (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

bool mauth_format_time(const char *text, int64_t *msecs_r)
{
	int year, month, day, hour, minute, second, milli = 0, digit;

	if (!take_digits(&text, 4, &year) || *text++ != '-' || !take_digits(&text, 2, &month) || *text++ != '-' ||
	    !take_digits(&text, 2, &day) || *text++ != 'T' || !take_digits(&text, 2, &hour) || *text++ != ':' ||
	    !take_digits(&text, 2, &minute) || *text++ != ':' || !take_digits(&text, 2, &second))
		return false;
	if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59)
		return false;
	if (*text == '.') {
		text++;
		for (int weight = 100; take_digits(&text, 1, &digit); weight /= 10)
			milli += digit * weight;
	}
	if (strcmp(text, "Z") != 0)
		return false;
	*msecs_r = (((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli;
	return true;
}

/* -- texts -------------------------------------------------------------------------------------------------- */

uint32_t mauth_format_char(const char **text)
{
	const unsigned char *at = (const unsigned char *)*text;
	size_t size = sequence(*text);
	uint32_t c = size < 2 ? *at : *at & (0x7fu >> size);

	/* jansson lets no other texts through, but those of callers may be anything. */
	if (size == 0) {
		++*text;
		return 0xfffd;
	}
	for (size_t i = 1; i < size; i++)
		c = c << 6 | (at[i] & 0x3f);
	*text += size;
	return c;
}

bool mauth_format_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* Separators of lines, characters that turn the direction, and those without a shape, which hide things in a name. */
static bool is_hidden(uint32_t c)
{
	return mauth_format_is_control(c) || c == 0xad || c == 0x61c || c == 0x180e || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xe0000 && c <= 0xe007f);
}

void mauth_format_code(struct mauth_buf *buf, uint32_t c)
{
	mauth_buf_printf(buf, "<U+%04" PRIX32 ">", c);
}

void mauth_format_visible(struct mauth_buf *buf, const char *text)
{
	while (*text != '\0') {
		const char *begin = text;
		uint32_t c = mauth_format_char(&text);

		if (is_hidden(c) || (c == 0xfffd && text == begin + 1))
			mauth_format_code(buf, c);
		else
			mauth_buf_append(buf, begin, (size_t)(text - begin));
	}
}

static void put_json_object(struct mauth_buf *buf, const json_t *object)
{
	const char *key;
	json_t *value;
	bool first = true;

	mauth_buf_putc(buf, '{');
	json_object_foreach(iterated(object), key, value) {
		if (!first)
			mauth_buf_putc(buf, ',');
		first = false;
		put_string(buf, key, MAUTH_REPLY_MAX);
		mauth_buf_putc(buf, ':');
		mauth_format_json(buf, value);
	}
	mauth_buf_putc(buf, '}');
}

/* Not jansson's own: it leaves DEL and C1 as they are, which steer terminals. */
void mauth_format_json(struct mauth_buf *buf, const json_t *value)
{
	const json_t *element;
	char *text;
	size_t i;

	if (json_is_object(value)) {
		put_json_object(buf, value);
	} else if (json_is_array(value)) {
		mauth_buf_putc(buf, '[');
		json_array_foreach(value, i, element) {
			if (i > 0)
				mauth_buf_putc(buf, ',');
			mauth_format_json(buf, element);
		}
		mauth_buf_putc(buf, ']');
	} else if (json_is_string(value)) {
		put_string(buf, json_string_value(value), MAUTH_REPLY_MAX);
	} else if (json_is_integer(value)) {
		mauth_buf_printf(buf, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	} else if (json_is_real(value)) {
		text = mauth_printf("%.17g", json_real_value(value));
		mauth_buf_puts(buf, text);
		free(text);
	} else {
		mauth_buf_puts(buf, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
	}
}

static void put_named(struct mauth_buf *buf, const json_t *record, const char *name, const char *path)
{
	const char *text = mauth_format_str(record, path);

	if (*text == '\0')
		return;
	mauth_buf_printf(buf, " %s=", name);
	mauth_format_visible(buf, text);
}

void mauth_format_summary(const json_t *record, struct mauth_buf *buf)
{
	static const char *const fields[][2] = {
		{ "user", "user.name" }, { "protocol", "network.protocol" }, { "ip", "source.ip" },
		{ "decision", "modernauth.decision" }, { "status", "modernauth.status" }, { "device", "modernauth.device.name" },
		{ "exception", "modernauth.exception" }, { "by", "modernauth.by" },
	};
	const char *action = mauth_format_str(record, "event.action"), *outcome = mauth_format_str(record, "event.outcome");
	const char *reason = mauth_format_str(record, "event.reason");
	size_t begin = buf->size, end;

	mauth_format_visible(buf, *action == '\0' ? "event" : action);
	if (*outcome != '\0') {
		mauth_buf_puts(buf, ": ");
		mauth_format_visible(buf, outcome);
	}
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		put_named(buf, record, fields[i][0], fields[i][1]);
	if (*reason != '\0') {
		mauth_buf_puts(buf, ": ");
		mauth_format_visible(buf, reason);
	}
	if (buf->size - begin <= SUMMARY_MAX)
		return;
	end = begin + SUMMARY_MAX;
	while (end > begin && ((unsigned char)buf->data[end] & 0xc0) == 0x80)
		end--;
	buf->size = end;
	buf->data[end] = '\0';
}

void mauth_format_lost(struct mauth_buf *buf, int64_t wall_usecs, const char *to, uint64_t lost)
{
	char *reason = mauth_printf("%" PRIu64 " records were not forwarded to %s; the audit file has them", lost, to);
	size_t forwarding;

	put_char(buf, '{');
	put_time(buf, "@timestamp", wall_usecs / 1000000, wall_usecs % 1000000);
	put_raw(buf, "ecs", "{\"version\":\"9.0.0\"}");
	put_raw(buf, "event", "{\"kind\":\"event\",\"category\":[\"configuration\"],\"type\":[\"info\"]");
	put_raw(buf, "action", "\"forwarding-lost\",\"outcome\":\"failure\",\"provider\":\"dovecot-modernauth\"");
	put_raw(buf, "dataset", "\"dovecot.modernauth\"");
	put_str(buf, "reason", reason);
	put(buf, "}", 1);
	put_raw(buf, "modernauth", "{");
	forwarding = put_open(buf, "forwarding");
	put_str(buf, "to", to);
	put_num(buf, "lost", (int64_t)lost);
	put_close(buf, forwarding);
	put(buf, "}}\n", 3);
	free(reason);
}
