/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AUDIT_FILE_H
#define MAUTH_AUDIT_FILE_H
/* Audit sink: an append-only file, 0600. */

#include "core/chain.h"
#include "modernauth/audit.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/worker.h"

struct mauth_audit_file;

/* Opens nothing yet: the first record does, and so does every record after the path names another file (rotation by
 * rename, looked at once a second) or none. O_APPEND|O_CREAT|O_NOFOLLOW, 0600; a torn line left by a full disk is cut off again, so that the
 * file always ends in a whole record. A file that is not regular or that others may write is refused.
 * Failures are logged at most once in 10 s, with what to do; the recovery is logged too. */
struct mauth_audit_file *mauth_audit_file_new(const char *path, const struct mauth_loop *loop,
					      const struct mauth_log *log);
/* From now on every record is sealed (store/audit-seal.h); before the first one. Half a line that is found goes to "PATH.torn". */
void mauth_audit_file_seal(struct mauth_audit_file *file, const struct mauth_chain_key *key, const char *head_path);
/* From now on the sink can commit (store/audit-sync.h); after mauth_audit_file_seal(), before the first record. worker has nothing
 * else to do that takes long, and must have done all its jobs before the file is freed. */
void mauth_audit_file_group(struct mauth_audit_file *file, const struct mauth_worker *worker);
/* Whoever waits for the disk is told how that ended, without the loop, in at most two seconds. */
void mauth_audit_file_settle(struct mauth_audit_file *file);
/* NULL: records are not sealed. */
const struct mauth_chain_writer *mauth_audit_file_writer(const struct mauth_audit_file *file);
const struct mauth_audit_sink *mauth_audit_file_sink(struct mauth_audit_file *file);
void mauth_audit_file_free(struct mauth_audit_file **file);

#endif
