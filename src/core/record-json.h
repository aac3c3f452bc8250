/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_RECORD_JSON_H
#define MAUTH_RECORD_JSON_H
/* JSON as records are written, by hand: a record is on the way of every login, and a tree of JSON objects would cost ten times
 * as much. In a header, so that the compiler sees all of it at once. */

#include "core/mem.h"

#include <string.h>
#include <time.h>

/* Octets of a text that has no limit of its own. */
#define OTHER_MAX 256u

/* mauth_buf_append() for the case that there is room, which a buffer that is used again always has. */
static inline void put(struct mauth_buf *buf, const void *data, size_t size)
{
	if (buf->alloc - buf->size <= size) {
		mauth_buf_append(buf, data, size);
		return;
	}
	memcpy(buf->data + buf->size, data, size);
	buf->size += size;
	buf->data[buf->size] = '\0';
}

static inline void put_char(struct mauth_buf *buf, char c)
{
	put(buf, &c, 1);
}

/* The size of the UTF-8 sequence at text, which ends with a NUL; 0 if it is not one. */
static inline size_t sequence(const char *text)
{
	unsigned char c = (unsigned char)*text;
	size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	return strnlen(text, size) == size && mauth_is_utf8(text, size) ? size : 0;
}

static inline bool is_plain(char c)
{
	unsigned char u = (unsigned char)c;

	return u >= 0x20 && u < 0x7f && u != '"' && u != '\\';
}

static inline void put_escape(struct mauth_buf *buf, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	char escape[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

	put(buf, escape, sizeof(escape));
}

/* A string of at most max octets of text, cut between characters. What is not UTF-8 becomes U+FFFD, control
 * characters are escaped: also C1, for those who read the file in a terminal. */
static inline void put_string(struct mauth_buf *buf, const char *text, size_t max)
{
	size_t length = strlen(text);
	const char *end = text + (length < max ? length : max);

	put_char(buf, '"');
	while (text < end) {
		const char *begin = text;
		size_t size;

		while (text < end && is_plain(*text))
			text++;
		put(buf, begin, (size_t)(text - begin));
		if (text == end)
			break;
		size = sequence(text);
		if (size > (size_t)(end - text))
			break;
		if (size == 0)
			put(buf, "\xef\xbf\xbd", 3);
		else if (*text == '"' || *text == '\\')
			put(buf, (char[]){ '\\', *text }, 2);
		else if (size == 1)
			put_escape(buf, (unsigned char)*text);
		else if ((unsigned char)text[0] == 0xc2 && (unsigned char)text[1] < 0xa0)
			put_escape(buf, (unsigned char)text[1]);
		else
			put(buf, text, size);
		text += size > 0 ? size : 1;
	}
	put_char(buf, '"');
}

#define KEY_MAX 24u

/* name: one of ours, shorter than KEY_MAX. */
static inline void put_key(struct mauth_buf *buf, const char *name)
{
	char key[KEY_MAX + 4], *at = key;

	if (buf->data[buf->size - 1] != '{')
		*at++ = ',';
	*at++ = '"';
	while (*name != '\0' && at < key + KEY_MAX)
		*at++ = *name++;
	*at++ = '"';
	*at++ = ':';
	put(buf, key, (size_t)(at - key));
}

/* Nothing is known about NULL and "". */
static inline void put_text(struct mauth_buf *buf, const char *name, const char *text, size_t max)
{
	if (text == NULL || *text == '\0')
		return;
	put_key(buf, name);
	put_string(buf, text, max);
}

static inline void put_str(struct mauth_buf *buf, const char *name, const char *text)
{
	put_text(buf, name, text, OTHER_MAX);
}

/* text: JSON already. */
static inline void put_raw(struct mauth_buf *buf, const char *name, const char *text)
{
	put_key(buf, name);
	put(buf, text, strlen(text));
}

/* The decimal digits of number, at least width of them, at the end of digits. */
#define DIGITS_SIZE 24u
static inline char *digits(char scratch[static DIGITS_SIZE], uint64_t number, unsigned int width)
{
	char *at = scratch + DIGITS_SIZE - 1;

	*at = '\0';
	while (number > 0 || width > 0) {
		*--at = (char)('0' + number % 10);
		number /= 10;
		width -= width > 0;
	}
	return at;
}

static inline void put_num(struct mauth_buf *buf, const char *name, int64_t number)
{
	char scratch[DIGITS_SIZE];

	put_raw(buf, name, digits(scratch, number < 0 ? 0 : (uint64_t)number, 1));
}

static inline void put_num_if(struct mauth_buf *buf, const char *name, int64_t number)
{
	if (number > 0)
		put_num(buf, name, number);
}

/* RFC 3339 in UTC; usecs < 0: without them. */
static inline void put_time(struct mauth_buf *buf, const char *name, int64_t secs, int64_t usecs)
{
	static const char separators[] = "--T::";
	char scratch[DIGITS_SIZE], text[40], *at = text;
	time_t when = (time_t)secs;
	struct tm tm = { 0 };
	int parts[6];

	/* A year that needs more than four digits is nobody's clock. */
	if (secs < 0 || secs > 253402300799 || gmtime_r(&when, &tm) == NULL)
		return;
	parts[0] = tm.tm_year + 1900;
	parts[1] = tm.tm_mon + 1;
	parts[2] = tm.tm_mday;
	parts[3] = tm.tm_hour;
	parts[4] = tm.tm_min;
	parts[5] = tm.tm_sec;
	for (size_t i = 0; i < 6; i++) {
		at = stpcpy(at, digits(scratch, (uint64_t)parts[i], i == 0 ? 4 : 2));
		if (i < 5)
			*at++ = separators[i];
	}
	if (usecs >= 0) {
		*at++ = '.';
		at = stpcpy(at, digits(scratch, (uint64_t)usecs, 6));
	}
	stpcpy(at, "Z");
	put_str(buf, name, text);
}

/* Opens an object; put_close() takes it back if nothing was put into it. */
static inline size_t put_open(struct mauth_buf *buf, const char *name)
{
	size_t mark = buf->size;

	put_key(buf, name);
	put_char(buf, '{');
	return mark;
}

static inline void put_close(struct mauth_buf *buf, size_t mark)
{
	if (buf->data[buf->size - 1] != '{') {
		put_char(buf, '}');
		return;
	}
	buf->size = mark;
	buf->data[mark] = '\0';
}

#endif
