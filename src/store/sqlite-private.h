/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SQLITE_PRIVATE_H
#define MAUTH_SQLITE_PRIVATE_H
/* Inside of the embedded store: sqlite.c opens, reads and closes, sqlite-file.c knows the file, sqlite-write.c
 * commits. */

#include "store/sqlite.h"

#include "core/mem.h"

#include <sqlite3.h>

#define MAUTH_SQLITE_APPLICATION_ID 0x6d617574  /* "maut" */

/* -- sqlite-file.c -- */

/* Fills *error_r from what SQLite says of db (NULL: only rc is known), with what to do. "PATH cannot be WHAT: ...". */
enum mauth_status mauth_sqlite_fail(sqlite3 *db, int rc, const char *path, const char *what,
				    struct mauth_error *error_r);

/* The steps from each schema version to the next; a step is SQL. user_version counts those that were taken. */
extern const char *const mauth_sqlite_schema[];
extern const int mauth_sqlite_schema_version;

/* Takes the steps that db lacks, each in a transaction of its own. */
enum mauth_status mauth_sqlite_migrate(sqlite3 *db, const char *path, const char *const *steps, int count,
				       struct mauth_error *error_r);

/* Checks dir and locks it, until *fd_r is closed. */
enum mauth_status mauth_sqlite_lock(const char *dir, int *fd_r, struct mauth_error *error_r);

/* A connection that reads. The last connection that closes moves the log into the file; this one is never to do that, least of
 * all with a file that is being refused. */
enum mauth_status mauth_sqlite_open_reader(const char *path, sqlite3 **reader_r, struct mauth_error *error_r);

/* Two connections to a database that another process has made, and keeps. */
enum mauth_status mauth_sqlite_join(const char *path, sqlite3 **reader_r, sqlite3 **writer_r, struct mauth_error *error_r);

/* Two connections to the database at path in the locked directory dir_fd, which is there, whole, and up to date. */
enum mauth_status mauth_sqlite_connect(const char *path, int dir_fd, const struct mauth_log *log, sqlite3 **reader_r,
				       sqlite3 **writer_r, struct mauth_error *error_r);

/* -- sqlite-write.c -- */

struct sqlite_write;
struct sqlite_job;

/* Writes that wait, and those under way. */
struct sqlite_writes {
	const struct mauth_worker *worker;
	const struct mauth_log *log;
	const char *path;
	const char *shared;             /* the only kind that may be written; NULL: all */
	sqlite3 *db;                    /* from the first write on only within jobs */
	sqlite3_stmt *put, *remove;
	struct sqlite_write *first, *last;
	struct sqlite_job *job;         /* NULL: none is under way */
	int64_t complain_at;            /* monotonic msecs */
	uint64_t failures;              /* commits, since the log last said that all is well */
	bool complained;                /* and said that it is not */
};

/* Prepares the statements. */
enum mauth_status mauth_sqlite_writes_init(struct sqlite_writes *writes, struct mauth_error *error_r);
void mauth_sqlite_write(struct sqlite_writes *writes, const struct mauth_store_row *rows, size_t count,
			mauth_store_done_fn *done, void *context);
/* Finishes all of them, calls every done(), and drops the statements. */
void mauth_sqlite_writes_deinit(struct sqlite_writes *writes);
/* Octets that may stand in a name: at most MAUTH_STORE_NAME_MAX, UTF-8 without control characters. */
bool mauth_sqlite_name_ok(const char *name, size_t size);

#endif
