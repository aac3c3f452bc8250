/* SPDX-License-Identifier: MIT */
#include "client/wire.h"

#include <string.h>

/* Octets that have a meaning on the line travel as ESCAPE and a letter; the same letters as Dovecot's
 * str_tabescape(), so that its tools can read and write our lines. */
#define ESCAPE '\001'

/* The input is compacted when at least this much and half of it has been used: it stays small, and a long burst is
 * not moved for every line. */
#define COMPACT_AT MAUTH_LINE_MAX

static char escape_letter(char octet)
{
	switch (octet) {
	case '\000':
		return '0';
	case ESCAPE:
		return '1';
	case '\t':
		return 't';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	default:
		return '\0';
	}
}

static bool unescape_letter(char letter, char *octet_r)
{
	static const char octets[] = { '\000', ESCAPE, '\t', '\n', '\r' };

	for (size_t i = 0; i < sizeof(octets); i++) {
		if (escape_letter(octets[i]) == letter) {
			*octet_r = octets[i];
			return true;
		}
	}
	return false;
}

/* The first octet of value from i on that may need an escape (all that do are below 16), or size. Eight at a time: a token has
 * 2,000 and none of them does. */
static size_t next_low(const char *value, size_t i, size_t size)
{
	const uint64_t ones = 0x0101010101010101u;
	uint64_t word;

	for (; i + sizeof(word) <= size; i += sizeof(word)) {
		memcpy(&word, value + i, sizeof(word));
		if (((word - ones * 16) & ~word & ones * 128) != 0)
			break;
	}
	while (i < size && (unsigned char)value[i] >= 16)
		i++;
	return i;
}

static void append_escaped(struct mauth_buf *buf, const char *value, size_t size)
{
	size_t begin = 0;

	for (size_t i = next_low(value, 0, size); i < size; i = next_low(value, i + 1, size)) {
		char letter = escape_letter(value[i]);

		if (letter == '\0')
			continue;
		mauth_buf_append(buf, value + begin, i - begin);
		mauth_buf_putc(buf, ESCAPE);
		mauth_buf_putc(buf, letter);
		begin = i + 1;
	}
	mauth_buf_append(buf, value + begin, size - begin);
}

void mauth_wire_begin(struct mauth_buf *buf, const char *verb)
{
	mauth_buf_puts(buf, verb);
}

/* Without printf(): lines with several numbers are on the way of every login. */
static void append_num(struct mauth_buf *buf, uint64_t num)
{
	char digits[20], *at = digits + sizeof(digits);

	do {
		*--at = (char)('0' + num % 10);
		num /= 10;
	} while (num > 0);
	mauth_buf_append(buf, at, (size_t)(digits + sizeof(digits) - at));
}

void mauth_wire_id(struct mauth_buf *buf, uint32_t id)
{
	mauth_buf_putc(buf, '\t');
	append_num(buf, id);
}

void mauth_wire_data(struct mauth_buf *buf, const char *key, const void *value, size_t size)
{
	mauth_buf_putc(buf, '\t');
	mauth_buf_puts(buf, key);
	mauth_buf_putc(buf, '=');
	append_escaped(buf, value, size);
}

void mauth_wire_str(struct mauth_buf *buf, const char *key, const char *value)
{
	if (value != NULL)
		mauth_wire_data(buf, key, value, strlen(value));
}

void mauth_wire_num(struct mauth_buf *buf, const char *key, int64_t value)
{
	mauth_buf_putc(buf, '\t');
	mauth_buf_puts(buf, key);
	mauth_buf_putc(buf, '=');
	if (value < 0)
		mauth_buf_putc(buf, '-');
	append_num(buf, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void mauth_wire_end(struct mauth_buf *buf)
{
	mauth_buf_putc(buf, '\n');
}

/* Without sign, blanks and leading zeros: there is one way to write a number. */
static bool parse_count(const char *str, uint64_t max, uint64_t *num_r)
{
	uint64_t num = 0, digit;

	if (*str == '\0' || (str[0] == '0' && str[1] != '\0'))
		return false;
	for (; *str != '\0'; str++) {
		if (*str < '0' || *str > '9')
			return false;
		digit = (uint64_t)(*str - '0');
		if (digit > max || num > (max - digit) / 10)
			return false;
		num = num * 10 + digit;
	}
	*num_r = num;
	return true;
}

static bool parse_num(const char *str, uint32_t max, uint32_t *num_r)
{
	uint64_t num;

	if (!parse_count(str, max, &num))
		return false;
	*num_r = (uint32_t)num;
	return true;
}

/* Unescapes in place and terminates; false if an escape is not one of ours. */
static bool unescape(char *value, size_t size, size_t *size_r)
{
	char *first = memchr(value, ESCAPE, size);
	size_t in, out = first == NULL ? size : (size_t)(first - value);

	for (in = out; in < size; in++) {
		char octet = value[in];

		if (octet == ESCAPE) {
			if (++in == size || !unescape_letter(value[in], &octet))
				return false;
		}
		value[out++] = octet;
	}
	value[out] = '\0';
	*size_r = out;
	return true;
}

static bool parse_field(char *text, size_t size, struct mauth_wire_field *field_r, const char **error_r)
{
	char *equals = memchr(text, '=', size);

	if (equals == NULL) {
		/* An empty key is the end of the text: there is always a NUL to point to. */
		field_r->value = text;
	} else if (equals == text) {
		*error_r = "field with an empty key";
		return false;
	} else if (memchr(text, ESCAPE, (size_t)(equals - text)) != NULL) {
		*error_r = "key with an escape";
		return false;
	} else {
		*equals = '\0';
		field_r->value = equals + 1;
	}
	if (!unescape(field_r->value, size - (size_t)(field_r->value - text), &field_r->size)) {
		*error_r = "bad escape";
		return false;
	}
	field_r->key = equals != NULL ? text : field_r->value + field_r->size;
	return true;
}

static bool has_raw_control(const char *line, size_t size)
{
	return memchr(line, '\0', size) != NULL || memchr(line, '\n', size) != NULL ||
		memchr(line, '\r', size) != NULL;
}

/* Ends the text at *pos at its TAB and moves *pos behind it, or to NULL after the last one. */
static char *next_text(char **pos, char *end, size_t *size_r)
{
	char *text = *pos;
	char *tab = memchr(text, '\t', (size_t)(end - text));

	*pos = tab == NULL ? NULL : tab + 1;
	if (tab == NULL)
		tab = end;
	*tab = '\0';
	*size_r = (size_t)(tab - text);
	return text;
}

bool mauth_wire_parse(char *line, size_t size, bool with_id, struct mauth_wire_line *line_r, const char **error_r)
{
	char *pos = line, *end = line + size, *text;
	size_t text_size;

	line_r->id = 0;
	line_r->count = 0;
	if (has_raw_control(line, size)) {
		*error_r = "unescaped control character";
		return false;
	}
	line_r->verb = next_text(&pos, end, &text_size);
	if (text_size == 0 || strchr(line_r->verb, ESCAPE) != NULL) {
		*error_r = "no verb";
		return false;
	}
	if (with_id) {
		text = pos == NULL ? end : next_text(&pos, end, &text_size);
		if (!parse_num(text, UINT32_MAX, &line_r->id) || line_r->id == 0) {
			line_r->id = 0;
			*error_r = "no id";
			return false;
		}
	}
	while (pos != NULL) {
		text = next_text(&pos, end, &text_size);
		if (line_r->count == MAUTH_WIRE_FIELDS_MAX) {
			*error_r = "too many fields";
			return false;
		}
		if (!parse_field(text, text_size, &line_r->fields[line_r->count], error_r))
			return false;
		line_r->count++;
	}
	return true;
}

const struct mauth_wire_field *mauth_wire_find(const struct mauth_wire_line *line, const char *key)
{
	for (size_t i = line->count; i-- > 0;) {
		if (strcmp(line->fields[i].key, key) == 0)
			return &line->fields[i];
	}
	return NULL;
}

const char *mauth_wire_get(const struct mauth_wire_line *line, const char *key)
{
	const struct mauth_wire_field *field = mauth_wire_find(line, key);

	if (field == NULL || strlen(field->value) != field->size)
		return NULL;
	return field->value;
}

bool mauth_wire_is_yes(const struct mauth_wire_line *line, const char *key)
{
	const char *value = mauth_wire_get(line, key);

	return value != NULL && strcmp(value, "yes") == 0;
}

unsigned int mauth_wire_get_num(const struct mauth_wire_line *line, const char *key, unsigned int max,
				unsigned int fallback)
{
	const char *value = mauth_wire_get(line, key);
	uint32_t num;

	if (value == NULL || !parse_num(value, max, &num))
		return fallback;
	return num;
}

int64_t mauth_wire_get_count(const struct mauth_wire_line *line, const char *key)
{
	const char *value = mauth_wire_get(line, key);
	uint64_t num;

	return value != NULL && parse_count(value, INT64_MAX, &num) ? (int64_t)num : 0;
}

bool mauth_wire_next(struct mauth_wire_reader *reader, char **line_r, size_t *size_r, bool *overflow_r)
{
	size_t left = reader->in.size - reader->offset, size;
	char *begin, *lf;

	/* Lines carry passwords and tokens: neither the line nor its place in the input outlives its use. */
	mauth_buf_clear(&reader->line);
	*overflow_r = false;
	if (left == 0) {
		mauth_buf_clear(&reader->in);
		reader->offset = 0;
		return false;
	}

	begin = reader->in.data + reader->offset;
	lf = memchr(begin, '\n', left <= MAUTH_LINE_MAX ? left : MAUTH_LINE_MAX + 1);
	if (lf == NULL) {
		*overflow_r = left > MAUTH_LINE_MAX;
		mauth_buf_consume(&reader->in, reader->offset);
		reader->offset = 0;
		return false;
	}

	size = (size_t)(lf - begin);
	mauth_buf_append(&reader->line, begin, size);
	mauth_buf_putc(&reader->line, '\0');
	mauth_wipe(begin, size + 1);
	reader->offset += size + 1;
	if (reader->offset >= COMPACT_AT && reader->offset >= reader->in.size / 2) {
		mauth_buf_consume(&reader->in, reader->offset);
		reader->offset = 0;
	}
	*line_r = reader->line.data;
	*size_r = size;
	return true;
}

void mauth_wire_reader_free(struct mauth_wire_reader *reader)
{
	mauth_buf_free(&reader->in);
	mauth_buf_free(&reader->line);
	reader->offset = 0;
}
