/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FORMAT_PRIVATE_H
#define MAUTH_FORMAT_PRIVATE_H
/* What the formats share. */

#include "core/format.h"

#define MAUTH_FORMAT_OWN "modernauth."

/* syslog's severities. */
int mauth_format_severity(const json_t *record);
/* The next character of text (UTF-8, not at its end). */
uint32_t mauth_format_char(const char **text);
/* C0, DEL, C1. */
bool mauth_format_is_control(uint32_t c);
/* "<U+001B>" */
void mauth_format_code(struct mauth_buf *buf, uint32_t c);
/* Appends value as JSON on one line, in which nothing is a control character. */
void mauth_format_json(struct mauth_buf *buf, const json_t *value);

/* Each without its LF. */
void mauth_format_ocsf(const json_t *record, struct mauth_buf *buf);
void mauth_format_cef(const json_t *record, const struct mauth_format_source *source, struct mauth_buf *buf);
void mauth_format_syslog(const json_t *record, const char *line, size_t size, const struct mauth_format_source *source,
			 struct mauth_buf *buf);

#endif
