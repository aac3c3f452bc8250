/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AUDIT_SYNC_H
#define MAUTH_AUDIT_SYNC_H
/* Group commit: one fdatasync() for all records that wait for the disk, in a thread beside the loop. What is appended meanwhile
 * waits for the next one. Belongs to the audit file (store/audit-file.c), which does the writing. */

#include "modernauth/audit.h"
#include "modernauth/loop.h"
#include "modernauth/worker.h"

/* Whoever waits longer is told that it has failed, and nothing more is taken until the disk answers. */
#define MAUTH_AUDIT_LATE_MSECS 5000u
/* Whoever leaves waits no longer than this for those: Dovecot's master kills after a few seconds. */
#define MAUTH_AUDIT_SETTLE_MSECS 2000u
/* Records that may be on their way to the disk: with more than these nothing is taken, either. */
#define MAUTH_AUDIT_UNSYNCED_MAX 50000u
/* What nobody waits for is on disk after this, too. */
#define MAUTH_AUDIT_IDLE_MSECS 1000u

enum mauth_audit_synced {
	MAUTH_AUDIT_ON_DISK,
	MAUTH_AUDIT_LATE,       /* the disk has not answered yet: whoever waited has been told so */
	MAUTH_AUDIT_LOST        /* what was appended since the last time may be lost: the file has to be opened anew */
};

struct mauth_audit_sync_deps {
	const struct mauth_loop *loop;
	const struct mauth_worker *worker;
	const char *path;               /* of the file; its directory is synced, too */
	/* How far the writer is when a sync begins; ended() is given it back. */
	uint64_t (*mark)(void *context);
	/* Before whoever waits is told. records: how many it is about; error: NULL when on disk. */
	void (*ended)(void *context, enum mauth_audit_synced how, uint64_t mark, uint64_t records,
		      const struct mauth_error *error);
	void *context;
};

struct mauth_audit_sync;
/* deps->path must outlive it. */
struct mauth_audit_sync *mauth_audit_sync_new(const struct mauth_audit_sync_deps *deps);
/* The worker must have done all its jobs. Whoever still waits is told that it has failed. */
void mauth_audit_sync_free(struct mauth_audit_sync **sync);

/* The file has been opened (anew): fd, which stays the caller's, is what is written to from now on. */
enum mauth_status mauth_audit_sync_opened(struct mauth_audit_sync *sync, int fd, struct mauth_error *error_r);
/* It has been closed: what was written to it is synced all the same. */
void mauth_audit_sync_closed(struct mauth_audit_sync *sync);
/* That many records have been written to it. */
void mauth_audit_sync_written(struct mauth_audit_sync *sync, unsigned int records);
/* May anything be written? */
enum mauth_status mauth_audit_sync_accepts(const struct mauth_audit_sync *sync, struct mauth_error *error_r);
/* struct mauth_audit_sink's commit */
void mauth_audit_sync_commit(struct mauth_audit_sync *sync, mauth_audit_commit_fn *done, void *done_context);
/* Before the host ends or hands over: waits, without the loop, until nobody waits any more. */
void mauth_audit_sync_settle(struct mauth_audit_sync *sync);

#endif
