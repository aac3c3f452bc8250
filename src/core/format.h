/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FORMAT_H
#define MAUTH_FORMAT_H
/* Audit records in the words of others: a line of ours (ECS) in, a message of theirs out. Whatever a format has no place for
 * goes along under a name of its own, so that nothing is lost. Also for kinds of records that are not there yet: what decides
 * is in the fields, never the order or the action alone. */

#include "core/json.h"

enum mauth_format {
	MAUTH_FORMAT_ECS,                    /* the line itself */
	MAUTH_FORMAT_OCSF,                   /* Open Cybersecurity Schema Framework: a line of JSON */
	MAUTH_FORMAT_CEF,                    /* ArcSight's Common Event Format, version 0 */
	MAUTH_FORMAT_SYSLOG,                 /* RFC 5424, with structured data */
	MAUTH_FORMAT_COUNT
};
/* "ecs", "ocsf", "cef", "syslog". */
const char *mauth_format_name(enum mauth_format format);
bool mauth_format_parse(const char *name, enum mauth_format *format_r);

/* Who sends it. */
struct mauth_format_source {
	const char *host;                    /* NULL: unknown */
	int64_t pid;                         /* 0: unknown */
	enum mauth_format message;           /* what a syslog message says after its header: MAUTH_FORMAT_SYSLOG: a sentence, with all
						fields as structured data; else that format, without */
};

/* The record that a line (without "\n") is, for json_decref(). NULL: it is none. */
json_t *mauth_format_read(const char *line, size_t size);
/* Appends the record, which is line, in format, with an LF at the end. */
void mauth_format_write(enum mauth_format format, const json_t *record, const char *line, size_t size,
			const struct mauth_format_source *source, struct mauth_buf *buf);
/* Appends a datagram of journald's native protocol. */
void mauth_format_journal(const json_t *record, struct mauth_buf *buf);
/* Appends one sentence, without control characters, of at most 1,000 octets. */
void mauth_format_summary(const json_t *record, struct mauth_buf *buf);

/* Appends the record (ECS, with its LF) of lost records that could not be forwarded to. */
void mauth_format_lost(struct mauth_buf *buf, int64_t wall_usecs, const char *to, uint64_t lost);

/* -- fields ------------------------------------------------------------------------------------------------- */

/* The value at "user.name"; NULL: there is none. */
json_t *mauth_format_get(const json_t *record, const char *path);
/* The same of a string, "" if there is none. */
const char *mauth_format_str(const json_t *record, const char *path);
/* Is text one of the strings in the list at path? */
bool mauth_format_has(const json_t *record, const char *path, const char *text);
/* Calls fn for each value as a text, in the order of the record; lists are joined by commas. path and text live during the call. */
typedef void mauth_format_field_fn(void *context, const char *path, const char *text);
void mauth_format_each(const json_t *record, mauth_format_field_fn *fn, void *context);
/* "2026-11-26T10:00:00.123456Z" in milliseconds since 1970. */
bool mauth_format_time(const char *text, int64_t *msecs_r);

/* -- texts -------------------------------------------------------------------------------------------------- */

/* Appends text (UTF-8); control characters, and what turns the direction of others or shows nothing, as "<U+202E>". */
void mauth_format_visible(struct mauth_buf *buf, const char *text);

#endif
