/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_NOTICES_H
#define MAUTH_NOTICES_H
/* What ends soon is announced once a day: rules of the configuration, and whatever else has an end. Which notices are due and
 * what they say is pure; mauth_notices_tend() says them, once per day of the server's zone, also over restarts. */

#include "core/broker.h"
#include "core/mem.h"
#include "core/policy.h"

#define MAUTH_NOTICE_USERS_DAYS 30u          /* how far back "used it" looks */
#define MAUTH_NOTICE_LINES_MAX 10000u        /* of affected users in a mail */

/* Something that ends. */
struct mauth_notice {
	const char *kind;                    /* "rule", "exception" */
	const char *name;                    /* printable, at most 64 octets */
	enum mauth_action action, then;
	int64_t until;                       /* wall clock, seconds: the first one at which "then" holds; 0: never */
	unsigned int notice_days;            /* 0: nobody wants to know */
	const void *subject;                 /* the struct mauth_rule of a "rule": for mauth_notice_usage */
};

typedef void mauth_notice_fn(const struct mauth_notice *notice, void *context);
/* More things that end, besides the rules of the configuration. */
struct mauth_notice_source {
	void (*each)(void *context, mauth_notice_fn *fn, void *fn_context);
	void *context;
};

/* One login that would be affected. Texts live during the call; client may be NULL. */
typedef void mauth_notice_user_fn(const char *user, const char *protocol, const char *client, void *context);
/* Who has used what ends, in the last MAUTH_NOTICE_USERS_DAYS days. */
struct mauth_notice_usage {
	/* Calls fn (NULL: only counts) for each of them, in any order; *users_r: how many users. false: not known. */
	bool (*affected)(void *context, const struct mauth_notice *notice, mauth_notice_user_fn *fn, void *fn_context,
			 size_t *users_r);
	void *context;
};

/* -- notices.c: pure -- */

/* "2026-11-26", of the server's zone. */
#define MAUTH_NOTICE_DAY_SIZE 40u
void mauth_notice_day(int64_t now, char text_r[static MAUTH_NOTICE_DAY_SIZE]);
/* Is it to be said at now? From notice_days before its end on, and on the day on which it has ended. */
bool mauth_notice_is_due(const struct mauth_notice *notice, int64_t now);
/* One line for the log. users: NULL if that is not known. */
void mauth_notice_text(const struct mauth_notice *notice, int64_t now, const size_t *users, char text_r[static MAUTH_TEXT_MAX]);
/* Its first words: "rule "scanners" ends in 12 days". */
void mauth_notice_title(const struct mauth_notice *notice, int64_t now, char text_r[static MAUTH_TEXT_MAX]);

/* -- notice-mail.c: pure -- */

/* Appends what mail and command are given: the line, and whom it affects, sorted. usage NULL: not known. *users_r and the
 * answer are those of usage. */
bool mauth_notice_body(const struct mauth_notice *notice, int64_t now, const struct mauth_notice_usage *usage,
		       struct mauth_buf *body, size_t *users_r);
/* Appends the head of the mail. random: makes its Message-ID another one each time. */
void mauth_notice_head(const struct mauth_notice *notice, int64_t now, const char *from, const char *to, uint64_t random,
		       struct mauth_buf *head);

/* -- notices-tend.c -- */

struct mauth_notices;
struct mauth_notices *mauth_notices_new(struct mauth_broker *broker);
void mauth_notices_free(struct mauth_notices **notices);
/* Also tells of these from now on. Both live on. */
void mauth_notices_add_source(struct mauth_notices *notices, const struct mauth_notice_source *source);
void mauth_notices_set_usage(struct mauth_notices *notices, const struct mauth_notice_usage *usage);
/* Says what is due and has not been said today. To be called every few seconds. */
void mauth_notices_tend(struct mauth_notices *notices);

#endif
