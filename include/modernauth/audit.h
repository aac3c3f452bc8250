/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_AUDIT_H
#define MODERNAUTH_AUDIT_H
/* Where audit records go: one line of JSON each. src/store/audit-file.c is the real one. */

#include "modernauth/modernauth.h"

/* error NULL: what was appended is on disk. */
typedef void mauth_audit_commit_fn(const struct mauth_error *error, void *context);

struct mauth_audit_sink {
	/* Appends one or more lines (each ends in "\n") as a whole, or not at all. Anything but MAUTH_OK means that they
	   are not in the file; error_r (may be NULL) then says why and what to do. */
	enum mauth_status (*append)(void *context, const char *lines, size_t size, struct mauth_error *error_r);
	void *context;
	/* NULL: appended is as good as it gets. Otherwise calls done once, never before this has returned, when all that has
	   been appended so far is on disk, or when that has failed or takes too long. It cannot be cancelled. */
	void (*commit)(void *context, mauth_audit_commit_fn *done, void *done_context);
};

/* true: done will be called, once, when what has been appended is as safe as sink promises. false: it is already. */
static inline bool mauth_audit_commit(const struct mauth_audit_sink *sink, mauth_audit_commit_fn *done, void *done_context)
{
	if (sink->commit == 0)
		return false;
	sink->commit(sink->context, done, done_context);
	return true;
}

#endif
