/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_EXCEPTIONS_H
#define MAUTH_EXCEPTIONS_H
/* What an admin has allowed at run time, until a day and for a reason, although a rule denies it. Looked at before the
 * rules, but only for whom they deny: an exception makes an upgrade of that, and takes nothing away from anybody. Read
 * from the store at its start, kept in memory, every change on disk before it is said to be done. */

#include "core/mem.h"
#include "core/policy.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/store.h"

#define MAUTH_EXCEPTION_KIND "exception"     /* rows: the name is the id, the value JSON */
#define MAUTH_EXCEPTIONS_MAX 1000u
#define MAUTH_EXCEPTION_REASON_MAX 200u      /* octets */
#define MAUTH_EXCEPTION_BY_MAX 64u
#define MAUTH_EXCEPTION_DAYS_MAX 400u        /* ahead */
#define MAUTH_EXCEPTION_NOTICE_DAYS 14u      /* its end is announced */
#define MAUTH_EXCEPTION_LISTED_DAYS 30u      /* after its end */

struct mauth_exception {
	char id[MAUTH_EXCEPTION_ID_SIZE];
	unsigned int services;               /* bits 1 << enum mauth_service, never 0 */
	char *user;                          /* a pattern, lower case; NULL: everybody */
	struct mauth_network network;
	bool has_network;                    /* otherwise from everywhere */
	enum mauth_action action;            /* MAUTH_ACTION_UPGRADE or _BASIC */
	int64_t until;                       /* wall clock, seconds: the first one at which it does not hold any more */
	int64_t created_at;
	char *by;                            /* the admin, as doveadm says */
	int64_t uid;                         /* of the process that asked, as the kernel says */
	char *reason;
	bool ended;                          /* its end has been recorded */
};

/* One that is to be. */
struct mauth_exception_new {
	unsigned int services;
	const char *user;                    /* NULL: everybody */
	const struct mauth_network *network; /* NULL: from everywhere */
	enum mauth_action action;
	int64_t until;
	const char *by;                      /* NULL: unknown; cleaned and cut */
	int64_t uid;
	const char *reason;                  /* cleaned */
};

struct mauth_exceptions;
struct mauth_exceptions_deps {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_store *store;
};
struct mauth_exceptions *mauth_exceptions_new(const struct mauth_exceptions_deps *deps);
/* Writes under way go on, and what could not be deleted is tried once more. */
void mauth_exceptions_free(struct mauth_exceptions **exceptions);
/* Takes a row of the store into the picture. MAUTH_CONFIG: it cannot be read. */
enum mauth_status mauth_exceptions_load(struct mauth_exceptions *exceptions, const struct mauth_store_row *row,
					struct mauth_error *error_r);

/* Those that have ended included. */
size_t mauth_exceptions_count(const struct mauth_exceptions *exceptions);
/* In the order in which they are looked at: the newest first. exception NULL: the first; NULL: there is no more. */
const struct mauth_exception *mauth_exceptions_next(const struct mauth_exceptions *exceptions,
						    const struct mauth_exception *exception);
/* What holds for this login; NULL: nothing. */
const struct mauth_exception *mauth_exceptions_find(const struct mauth_exceptions *exceptions,
						    const struct mauth_policy_question *question);
/* Changes what the rules have said to question, if it was to deny it. exceptions NULL: nothing is allowed. */
void mauth_exceptions_apply(const struct mauth_exceptions *exceptions, const struct mauth_policy_question *question,
			    struct mauth_verdict *verdict);

/* -- exceptions-change.c -- */

/* exception lives during the call; error NULL: it is on disk. */
typedef void mauth_exception_change_fn(const struct mauth_exception *exception, const struct mauth_error *error,
				       void *context);
/* Is that one that may be added now? until and reason are looked at, too. MAUTH_CONFIG: no, and why. */
enum mauth_status mauth_exceptions_check(const struct mauth_exceptions *exceptions,
					 const struct mauth_exception_new *from, struct mauth_error *error_r);
/* In effect once it is on disk; then done is called, never before this returns. */
enum mauth_status mauth_exceptions_add(struct mauth_exceptions *exceptions, const struct mauth_exception_new *from,
				       mauth_exception_change_fn *done, void *context, struct mauth_error *error_r);
/* Out of effect when this returns. MAUTH_USER_UNKNOWN: there is none of that id. */
enum mauth_status mauth_exceptions_remove(struct mauth_exceptions *exceptions, const char *id,
					  mauth_exception_change_fn *done, void *context, struct mauth_error *error_r);
/* Another process has written this row, or deleted it (value NULL): it holds, or does no longer, when this returns. */
enum mauth_status mauth_exceptions_follow(struct mauth_exceptions *exceptions, const struct mauth_store_row *row,
					  struct mauth_error *error_r);
/* To be called every few seconds: calls ended (error NULL) once for each that has come to its end, deletes those of
 * long ago, and tries again what the store would not have. */
void mauth_exceptions_tend(struct mauth_exceptions *exceptions, mauth_exception_change_fn *ended, void *context);

/* -- exceptions-row.c -- */

void mauth_exception_encode(const struct mauth_exception *exception, struct mauth_buf *to);
/* Fills *exception_r but for its id, with strings that mauth_exception_clear() frees. false: cannot be read. */
bool mauth_exception_decode(const char *value, size_t size, struct mauth_exception *exception_r);
void mauth_exception_clear(struct mauth_exception *exception);
/* "pop3", "imap,pop3". */
#define MAUTH_SERVICES_TEXT_SIZE 32u
void mauth_services_text(unsigned int services, char text_r[static MAUTH_SERVICES_TEXT_SIZE]);
/* A pattern of user names as rules take them, lower case. */
bool mauth_exception_user_is_good(const char *pattern);

#endif
