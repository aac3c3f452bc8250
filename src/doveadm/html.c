/* SPDX-License-Identifier: MIT */
#include "doveadm/html.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT 0xfffdu
/* More marks than any language puts on one letter, and they climb over the lines above. */
#define MARKS_MAX 3u

struct range {
	uint32_t first, last;
};

static bool is_in(uint32_t chr, const struct range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (chr >= ranges[i].first && chr <= ranges[i].last)
			return true;
	}
	return false;
}

/* Controls, what has no width, what turns directions, blanks that are none, tags, and code points that are no characters. */
static bool is_unseen(uint32_t chr)
{
	static const struct range ranges[] = {
		{ 0x00, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x61c, 0x61c }, { 0x115f, 0x1160 }, { 0x17b4, 0x17b5 },
		{ 0x180b, 0x180f }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0x2800, 0x2800 },
		{ 0x3164, 0x3164 }, { 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 }, { 0xfff0, 0xfffb },
		{ 0xe0000, 0xe0fff },
	};

	return (chr & 0xfffe) == 0xfffe || is_in(chr, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

static bool is_mark(uint32_t chr)
{
	static const struct range ranges[] = {
		{ 0x300, 0x36f }, { 0x483, 0x489 }, { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f },
		{ 0xfe20, 0xfe2f },
	};

	return is_in(chr, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

/* How many octets the character at text has; 0: it is none. */
static size_t decode(const unsigned char *text, uint32_t *chr_r)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t size = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0;
	uint32_t chr = size == 1 ? text[0] : size == 0 ? 0 : text[0] & (0x7fu >> size);

	for (size_t i = 1; i < size; i++) {
		/* NUL is no continuation: nothing behind the end is read. */
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		chr = chr << 6 | (text[i] & 0x3f);
	}
	if (size == 0 || chr < least[size] || chr > 0x10ffff || (chr >= 0xd800 && chr <= 0xdfff))
		return 0;
	*chr_r = chr;
	return size;
}

static const char *escaped(uint32_t chr)
{
	switch (chr) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	case '`':
		return "&#96;";
	default:
		return NULL;
	}
}

void html_text(FILE *file, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	unsigned int marks = 0;

	while (*at != '\0') {
		uint32_t chr = REPLACEMENT;
		size_t size = decode(at, &chr);

		marks = is_mark(chr) ? marks + 1 : 0;
		if (size == 0)
			fputs("\xef\xbf\xbd", file);
		else if (is_unseen(chr) || marks > MARKS_MAX)
			fprintf(file, "[U+%04" PRIX32 "]", chr);
		else if (escaped(chr) != NULL)
			fputs(escaped(chr), file);
		else
			(void)fwrite(at, 1, size, file);
		at += size == 0 ? 1 : size;
	}
}

const char *html_num(int64_t num, char text_r[static HTML_NUM_SIZE])
{
	char digits[24];
	int count = snprintf(digits, sizeof(digits), "%" PRIu64, num < 0 ? -(uint64_t)num : (uint64_t)num);
	char *to = text_r;

	if (num < 0)
		*to++ = '-';
	for (int i = 0; i < count; i++) {
		if (i > 0 && (count - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return text_r;
}

void html_put(FILE *file, const char *fmt, ...)
{
	char num[HTML_NUM_SIZE];
	va_list args;

	va_start(args, fmt);
	for (; *fmt != '\0'; fmt++) {
		if (*fmt != '%') {
			fputc(*fmt, file);
			continue;
		}
		fmt++;
		if (*fmt == '%') {
			fputc('%', file);
		} else if (*fmt == 's') {
			html_text(file, va_arg(args, const char *));
		} else if (*fmt == 'u') {
			fprintf(file, "%u", va_arg(args, unsigned int));
		} else if (*fmt == 'd') {
			fprintf(file, "%d", va_arg(args, int));
		} else if (strncmp(fmt, "lld", 3) == 0) {
			fputs(html_num(va_arg(args, long long), num), file);
			fmt += 2;
		} else if (strncmp(fmt, ".2f", 3) == 0) {
			fprintf(file, "%.2f", va_arg(args, double));
			fmt += 2;
		} else {
			abort();
		}
	}
	va_end(args);
}
