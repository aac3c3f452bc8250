/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SQLITE_H
#define MAUTH_SQLITE_H
/* The embedded store: one SQLite database, DIR/modernauth.db. Reads happen in the loop's thread; commits, each with its
 * fsync, in jobs of a worker. */

#include "modernauth/log.h"
#include "modernauth/store.h"
#include "modernauth/worker.h"

struct mauth_sqlite;

#define MAUTH_SQLITE_FOLLOWS_ADVICE "do it at the front end that owns the store: fuser -v of state_dir names its process"

/* Opens the database in dir, or creates it; checks the whole of it, and brings it to the schema of this version. dir
 * must exist, be the caller's and closed to others; it is locked, so that no second process takes its picture of the
 * same rows. Not to be carried over a fork. worker and log live longer than the store.
 *
 * MAUTH_TEMPORARY: another process has it, or the disk failed. MAUTH_CONFIG: dir or the file is not as it must be. A
 * file that is damaged, somebody else's or of a newer version is left exactly as it is. */
enum mauth_status mauth_sqlite_open(const char *dir, const struct mauth_worker *worker, const struct mauth_log *log,
				    struct mauth_sqlite **r, struct mauth_error *error_r);
/* The same for a database that another process has locked and keeps: nothing is created, upgraded or checked through. Only
 * rows of kind shared can be written: those that several processes may write, as each row of it is made by one of them and
 * then only deleted. */
enum mauth_status mauth_sqlite_open_shared(const char *dir, const char *shared, const struct mauth_worker *worker,
					   const struct mauth_log *log, struct mauth_sqlite **r,
					   struct mauth_error *error_r);
/* Is there nobody who has locked dir? */
bool mauth_sqlite_is_free(const char *dir);
/* The seam, which lives as long as sqlite. A write that fails takes those that were to be committed with it along; the
 * next one tries again. What may end by itself (no space, another process's lock, a failing disk) is
 * MAUTH_TEMPORARY. */
const struct mauth_store *mauth_sqlite_store(struct mauth_sqlite *sqlite);
/* Finishes every write in the caller's thread and calls its done() before it returns, even if the worker has not come
 * to it; moves all of the log (-wal) into the file. May be called from a done(). */
void mauth_sqlite_close(struct mauth_sqlite **sqlite);

#endif
