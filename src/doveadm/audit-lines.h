/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AUDIT_LINES_H
#define MAUTH_AUDIT_LINES_H
/* The lines of audit files, of those that are there and of the one that grows. Without Dovecot; memory does not depend on how
 * long files are. */

#include "core/mem.h"

/* Longer than any record. */
#define MAUTH_AUDIT_LINE_MAX 65536u

enum mauth_audit_line_end {
	MAUTH_AUDIT_LINE_WHOLE,
	MAUTH_AUDIT_LINE_LONG,               /* more than MAUTH_AUDIT_LINE_MAX: it is no record, and only its begin is handed over */
	MAUTH_AUDIT_LINE_CUT,                /* the file ends in the middle of it */
};
struct mauth_audit_line {
	const char *file;
	uint64_t number;                     /* the first is 1; 0: unknown, counted from somewhere in the middle */
	const char *data;
	size_t size;                         /* without its "\n" */
	enum mauth_audit_line_end end;
};
/* false: that is enough. */
typedef bool mauth_audit_line_fn(void *context, const struct mauth_audit_line *line);
struct mauth_audit_taker {
	mauth_audit_line_fn *line;
	void (*progress)(void *context, uint64_t octets);    /* of the file; may be NULL */
	void *context;
};

/* All lines of a file, which may be compressed. What came before an error has been handed over. */
enum mauth_status mauth_audit_lines(const char *path, const struct mauth_audit_taker *taker, struct mauth_error *error_r);

struct mauth_audit_follow;
/* Follows the file at path, which need not be there yet, by name: also into the files that come when it is rotated. Opens it now. */
struct mauth_audit_follow *mauth_audit_follow_new(const char *path);
/* Is path the file that is open now? */
bool mauth_audit_follow_has(const struct mauth_audit_follow *follow, const char *path);
/* What is read next begins octets before the end of the file, with a whole line. 0: only what comes from now on; UINT64_MAX: all of it. */
void mauth_audit_follow_back(struct mauth_audit_follow *follow, uint64_t octets);
/* Hands over all lines that are there by now. now: of a clock that never jumps. false: the taker has had enough. */
bool mauth_audit_follow_read(struct mauth_audit_follow *follow, const struct mauth_audit_taker *taker, int64_t now_msecs);
void mauth_audit_follow_free(struct mauth_audit_follow **follow);

#endif
