/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_WIRE_H
#define MAUTH_WIRE_H
/* Codec of the wire protocol (PROTOCOL.md), used by the broker and by every client. Knows no sockets. */

#include "core/mem.h"

#define MAUTH_WIRE_VERSION_LINE "VERSION\tmodernauth\t1\t0\n"
#define MAUTH_WIRE_FIELDS_MAX 64u

/* Begins a line with its verb; then fields; then mauth_wire_end(). Values are escaped. */
void mauth_wire_begin(struct mauth_buf *buf, const char *verb);
void mauth_wire_id(struct mauth_buf *buf, uint32_t id);
void mauth_wire_str(struct mauth_buf *buf, const char *key, const char *value);   /* nothing if value is NULL */
void mauth_wire_data(struct mauth_buf *buf, const char *key, const void *value, size_t size);
void mauth_wire_num(struct mauth_buf *buf, const char *key, int64_t value);
void mauth_wire_end(struct mauth_buf *buf);

/* A parsed line. Points into the buffer that was parsed, which is changed in place (unescaped, NUL-terminated). */
struct mauth_wire_field {
	char *key;          /* "" for a field without '=' */
	char *value;
	size_t size;        /* of value, which may contain NUL */
};
struct mauth_wire_line {
	char *verb;
	uint32_t id;        /* 0: the line has none */
	struct mauth_wire_field fields[MAUTH_WIRE_FIELDS_MAX];
	size_t count;
};
/* Parses line of size octets without its LF. false: malformed (bad escape, too many fields, empty verb);
 * *error_r is then a constant text. with_id: the second field must be a number 1 .. 2^32-1. */
bool mauth_wire_parse(char *line, size_t size, bool with_id, struct mauth_wire_line *line_r, const char **error_r);
/* The value of key, or NULL; the last one wins. A value with NUL inside is NULL too. */
const char *mauth_wire_get(const struct mauth_wire_line *line, const char *key);
/* The same for octets that may contain NUL. */
const struct mauth_wire_field *mauth_wire_find(const struct mauth_wire_line *line, const char *key);
/* Is it there, and "yes"? */
bool mauth_wire_is_yes(const struct mauth_wire_line *line, const char *key);
/* The number of key in 0 .. max; fallback if absent or not such a number. */
unsigned int mauth_wire_get_num(const struct mauth_wire_line *line, const char *key, unsigned int max,
				unsigned int fallback);
/* The same for large numbers, up to INT64_MAX; 0 if absent or not such a number. */
int64_t mauth_wire_get_count(const struct mauth_wire_line *line, const char *key);

/* Cuts complete lines out of a stream. Feed into .in; each call gives the next line (without LF, at most
 * MAUTH_LINE_MAX octets) until false. The line lives until the next call. *overflow_r: a line is too long. */
struct mauth_wire_reader {
	struct mauth_buf in;
	size_t offset;
	struct mauth_buf line;
};
bool mauth_wire_next(struct mauth_wire_reader *reader, char **line_r, size_t *size_r, bool *overflow_r);
void mauth_wire_reader_free(struct mauth_wire_reader *reader);

#endif
