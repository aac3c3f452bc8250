/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_LOG_H
#define MODERNAUTH_LOG_H
/* The log and the event stream that the host lends. A line is for a person; an event is for machines (Dovecot's
 * stats "metric" blocks). Neither can take a struct mauth_secret: there is no way to format one. */

#include "modernauth/modernauth.h"

enum mauth_level { MAUTH_DEBUG, MAUTH_INFO, MAUTH_WARNING, MAUTH_ERROR };

struct mauth_field {
	const char *name;
	const char *str;        /* NULL: the field is the number */
	int64_t num;
};
#define MAUTH_FIELD_STR(name_, str_) { .name = (name_), .str = (str_) }
#define MAUTH_FIELD_NUM(name_, num_) { .name = (name_), .num = (num_) }

struct mauth_log {
	/* text is one line of valid UTF-8 without control characters or newline. */
	void (*line)(void *context, enum mauth_level level, const char *text);
	/* started_usecs: wall clock of the begin, for the event's duration; 0: now. May be NULL. */
	void (*event)(void *context, const char *name, int64_t started_usecs, const struct mauth_field *fields,
		      size_t count);
	void *context;
	bool debug;             /* whether MAUTH_DEBUG lines are wanted */
};

/* Formats, cleans (control characters become '?'), cuts at 1,024 octets and hands over. */
void mauth_log(const struct mauth_log *log, enum mauth_level level, const char *fmt, ...) MAUTH_PRINTF(3, 4);

#endif
