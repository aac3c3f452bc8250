/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AUDIT_KEEP_H
#define MAUTH_AUDIT_KEEP_H
/* Retention: files of the audit that logrotate has set aside are deleted as a whole, the oldest first, when their last record is too old
 * or all of them together are too large. Each is read and verified before, in a thread of its own, and its deletion is a record, so
 * that whoever verifies the rest can tell it from a file that somebody has taken away. */

#include "core/chain.h"
#include "modernauth/audit.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/worker.h"

#define MAUTH_AUDIT_KEEP_FIRST_MSECS 60000u
#define MAUTH_AUDIT_KEEP_MSECS 3600000u

#define MAUTH_AUDIT_KEEP_SETTLED_SECS 600

struct mauth_audit_keep_settings {
	const char *path;                    /* of the audit; the file of that name is never touched */
	int64_t keep_secs;                   /* 0: whatever their age */
	uint64_t max_size;                   /* 0: whatever their size */
	int64_t settled_secs;                /* a file that was renamed less long ago is left: a broker may have it open still */
	const struct mauth_chain_key *key;   /* a secret one; NULL: records are not sealed, and nothing is verified */
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_worker *worker;
	const struct mauth_audit_sink *sink; /* for the records */
};

struct mauth_audit_keep;
/* Looks for the first time a minute later, then once an hour. What settings point to outlives it. */
struct mauth_audit_keep *mauth_audit_keep_new(const struct mauth_audit_keep_settings *settings);
/* A file that is just being read is left alone. */
void mauth_audit_keep_free(struct mauth_audit_keep **keep);

#endif
