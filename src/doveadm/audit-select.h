/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AUDIT_SELECT_H
#define MAUTH_AUDIT_SELECT_H
/* Which records are wanted, and one of them on a line for people. Without Dovecot. */

#include "core/format.h"

/* What became of it: the words of "tail --outcome". */
enum mauth_audit_word {
	MAUTH_AUDIT_OK,
	MAUTH_AUDIT_REFUSED,                 /* wrong password, denied, disabled, ... */
	MAUTH_AUDIT_FAILED,                  /* an outage: ours, Microsoft's, the network's */
	MAUTH_AUDIT_PASSED,                  /* not ours: another passdb has decided */
	MAUTH_AUDIT_CHANGED,                 /* what an admin or a user has changed */
	MAUTH_AUDIT_NOTE,                    /* what the audit says of itself */
	MAUTH_AUDIT_WORD_COUNT
};
const char *mauth_audit_word_name(enum mauth_audit_word word);
bool mauth_audit_word_parse(const char *name, enum mauth_audit_word *word_r);
enum mauth_audit_word mauth_audit_word_of(const json_t *record);

/* NULL or 0: whatever it is. */
struct mauth_audit_filter {
	int64_t since, until;                /* milliseconds since 1970; the end is not in it */
	const char *user;                    /* pattern with * and ?, for login, account and mailbox, in any case */
	const char *protocol;                /* "imap", "pop3", "submission" */
	unsigned int words;                  /* bits 1 << word */
};
bool mauth_audit_select(const struct mauth_audit_filter *filter, const json_t *record);
/* Can it be told from the first octets of the line that it is not in the time that is wanted? */
bool mauth_audit_too_early(const struct mauth_audit_filter *filter, const char *line, size_t size);

/* Appends the record as a line with its LF. */
void mauth_audit_show(const json_t *record, bool colour, struct mauth_buf *buf);

#endif
