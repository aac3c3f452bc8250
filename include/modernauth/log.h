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

/* Events, and which of their fields are few enough to be labels. Others (user, session, ids) are for logs of events.
 *
 * modernauth_attempt_finished          service outcome status decision cached code tenant; duration
 * modernauth_token_request_finished    tenant grant status code http_status; duration
 * modernauth_upstream_finished         service result tenant
 * modernauth_account_locked            tenant by ("us": too many wrong passwords; "entra")
 * modernauth_breaker_opened            tenant cause ("failures", "asked_to_wait"); pause_secs
 * modernauth_breaker_closed            tenant
 * modernauth_audit_failed              what ("attempts", "reports") required ("yes", "no"): once per write that failed
 * modernauth_audit_recovered           what required: the first write after those
 * modernauth_heartbeat                 tenant breaker ("open", "closed") store ("open", "follows", "closed") audit ("ok",
 *                                      "failing"): once a minute for each tenant
 * modernauth_enrolment_died            tenant code
 * modernauth_enrolment_expiring        tenant; days_left: once a day each
 * modernauth_credential_expiring       tenant credential ("certificate", "client secret") days_left: once a day each
 * modernauth_notice                    kind rule action then; days_left, ends_at, users: once a day each */
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
