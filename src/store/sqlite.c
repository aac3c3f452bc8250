/* SPDX-License-Identifier: MIT */
#include "store/sqlite-private.h"

#include "store/advise.h"

#include <stdlib.h>
#include <unistd.h>

struct mauth_sqlite {
	struct mauth_store store;
	char *path;
	int lock_fd;                    /* the directory, locked; -1: another process has it */
	const struct mauth_log *log;
	sqlite3 *reader;
	sqlite3_stmt *get, *all, *of_kind;
	struct sqlite_writes writes;
	bool closing;
};

/* -- reading -- */

/* Says why a statement ended; what it read stays locked until this. */
static enum mauth_status end_read(struct mauth_sqlite *sqlite, sqlite3_stmt *stmt, int rc, struct mauth_error *error_r)
{
	enum mauth_status status = MAUTH_OK;

	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		status = mauth_sqlite_fail(sqlite->reader, rc, sqlite->path, "read", error_r);
	(void)sqlite3_reset(stmt);
	(void)sqlite3_clear_bindings(stmt);
	return status;
}

static bool column_name(sqlite3_stmt *stmt, int column, const char **name_r)
{
	const char *name = (const char *)sqlite3_column_text(stmt, column);

	*name_r = name;
	return name != NULL && mauth_sqlite_name_ok(name, (size_t)sqlite3_column_bytes(stmt, column));
}

static bool column_value(sqlite3_stmt *stmt, int column, const char **value_r, size_t *size_r)
{
	const char *value = sqlite3_column_blob(stmt, column);
	int size = sqlite3_column_bytes(stmt, column);

	/* SQLite's pointer to nothing is NULL, which means "no row" to us. */
	*value_r = value != NULL ? value : "";
	*size_r = (size_t)size;
	return sqlite3_column_type(stmt, column) == SQLITE_BLOB && *size_r <= MAUTH_STORE_VALUE_MAX;
}

/* Somebody else has written to the database. */
static enum mauth_status not_our_row(struct mauth_sqlite *sqlite, struct mauth_error *error_r)
{
	return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "%.300s has a row that is not one of ours",
						sqlite->path), "find out who wrote it; restore a backup");
}

static enum mauth_status get(void *context, const char *kind, const char *name, struct mauth_secret **value_r,
			     struct mauth_error *error_r)
{
	struct mauth_sqlite *sqlite = context;
	struct mauth_secret *value = NULL;
	const char *data;
	size_t size;
	enum mauth_status status;
	int rc = sqlite3_bind_text(sqlite->get, 1, kind, -1, SQLITE_STATIC);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(sqlite->get, 2, name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(sqlite->get);
	if (rc == SQLITE_ROW && column_value(sqlite->get, 0, &data, &size))
		value = mauth_secret_new(data, size);
	status = end_read(sqlite, sqlite->get, rc, error_r);
	if (status != MAUTH_OK)
		return status;
	if (rc == SQLITE_DONE)
		return mauth_fail(error_r, MAUTH_USER_UNKNOWN, 0, "no such row");
	if (value == NULL)
		return not_our_row(sqlite, error_r);
	*value_r = value;
	return MAUTH_OK;
}

static enum mauth_status each_row(struct mauth_sqlite *sqlite, sqlite3_stmt *stmt, mauth_store_row_fn *fn,
				  void *context, struct mauth_error *error_r)
{
	struct mauth_store_row row;

	if (!column_name(stmt, 0, &row.kind) || !column_name(stmt, 1, &row.name) ||
	    !column_value(stmt, 2, &row.value, &row.size))
		return not_our_row(sqlite, error_r);
	return fn(&row, context, error_r);
}

static enum mauth_status each(void *context, const char *kind, mauth_store_row_fn *fn, void *fn_context,
			      struct mauth_error *error_r)
{
	struct mauth_sqlite *sqlite = context;
	sqlite3_stmt *stmt = kind == NULL ? sqlite->all : sqlite->of_kind;
	int rc = kind == NULL ? SQLITE_OK : sqlite3_bind_text(stmt, 1, kind, -1, SQLITE_STATIC);
	enum mauth_status status = MAUTH_OK, ended;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	while (rc == SQLITE_ROW && status == MAUTH_OK) {
		status = each_row(sqlite, stmt, fn, fn_context, error_r);
		if (status == MAUTH_OK)
			rc = sqlite3_step(stmt);
	}
	ended = end_read(sqlite, stmt, rc, error_r);
	return status != MAUTH_OK ? status : ended;
}

static void write_rows(void *context, const struct mauth_store_row *rows, size_t count, mauth_store_done_fn *done,
		       void *done_context)
{
	mauth_sqlite_write(&((struct mauth_sqlite *)context)->writes, rows, count, done, done_context);
}

/* -- opening and closing -- */

static const struct mauth_store_vfuncs vfuncs = { .get = get, .each = each, .write = write_rows };

static enum mauth_status prepare_reads(struct mauth_sqlite *sqlite, struct mauth_error *error_r)
{
	const struct {
		const char *sql;
		sqlite3_stmt **stmt;
	} reads[] = {
		{ "SELECT value FROM records WHERE kind = ?1 AND name = ?2", &sqlite->get },
		{ "SELECT kind, name, value FROM records ORDER BY kind, name", &sqlite->all },
		{ "SELECT kind, name, value FROM records WHERE kind = ?1 ORDER BY name", &sqlite->of_kind },
	};

	for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
		int rc = sqlite3_prepare_v3(sqlite->reader, reads[i].sql, -1, SQLITE_PREPARE_PERSISTENT, reads[i].stmt,
					    NULL);

		if (rc != SQLITE_OK)
			return mauth_sqlite_fail(sqlite->reader, rc, sqlite->path, "used", error_r);
	}
	return MAUTH_OK;
}

static void close_reader(struct mauth_sqlite *sqlite)
{
	(void)sqlite3_finalize(sqlite->get);
	(void)sqlite3_finalize(sqlite->all);
	(void)sqlite3_finalize(sqlite->of_kind);
	(void)sqlite3_close(sqlite->reader);
}

/* The last one to close: SQLite moves the log into the file then, and removes it. It is asked before because it would
 * not say that it could not. */
static void close_writer(struct mauth_sqlite *sqlite)
{
	struct mauth_error error;
	int rc;

	if (sqlite->writes.db == NULL)
		return;
	if (sqlite->lock_fd < 0) {
		(void)sqlite3_close(sqlite->writes.db);
		return;
	}
	rc = sqlite3_wal_checkpoint_v2(sqlite->writes.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	if (rc != SQLITE_OK) {
		(void)mauth_sqlite_fail(sqlite->writes.db, rc, sqlite->path, "completed at the end", &error);
		mauth_log(sqlite->log, MAUTH_WARNING,
			  "database %s (nothing is lost: the log beside it has the rest); to do: %s", error.text,
			  error.advice);
	}
	(void)sqlite3_close(sqlite->writes.db);
}

static struct mauth_sqlite *sqlite_new(const char *dir, int lock_fd, const char *shared, const struct mauth_worker *worker,
				       const struct mauth_log *log)
{
	struct mauth_sqlite *sqlite = mauth_new(sizeof(*sqlite));

	sqlite->lock_fd = lock_fd;
	sqlite->store = (struct mauth_store){ .v = &vfuncs, .context = sqlite, .follows = lock_fd < 0 };
	sqlite->path = mauth_printf("%s/modernauth.db", dir);
	sqlite->log = log;
	sqlite->writes = (struct sqlite_writes){ .worker = worker, .log = log, .path = sqlite->path, .shared = shared };
	return sqlite;
}

/* status: of the connections. */
static enum mauth_status use(struct mauth_sqlite *sqlite, enum mauth_status status, struct mauth_sqlite **r,
			     struct mauth_error *error_r)
{
	if (status == MAUTH_OK)
		status = prepare_reads(sqlite, error_r);
	if (status == MAUTH_OK)
		status = mauth_sqlite_writes_init(&sqlite->writes, error_r);
	if (status != MAUTH_OK) {
		mauth_sqlite_close(&sqlite);
		return status;
	}
	*r = sqlite;
	return MAUTH_OK;
}

enum mauth_status mauth_sqlite_open(const char *dir, const struct mauth_worker *worker, const struct mauth_log *log,
				    struct mauth_sqlite **r, struct mauth_error *error_r)
{
	int lock_fd;
	enum mauth_status status = mauth_sqlite_lock(dir, &lock_fd, error_r);
	struct mauth_sqlite *sqlite;

	if (status != MAUTH_OK)
		return status;
	sqlite = sqlite_new(dir, lock_fd, NULL, worker, log);
	status = mauth_sqlite_connect(sqlite->path, lock_fd, log, &sqlite->reader, &sqlite->writes.db, error_r);
	return use(sqlite, status, r, error_r);
}

enum mauth_status mauth_sqlite_open_shared(const char *dir, const char *shared, const struct mauth_worker *worker,
					   const struct mauth_log *log, struct mauth_sqlite **r,
					   struct mauth_error *error_r)
{
	struct mauth_sqlite *sqlite = sqlite_new(dir, -1, shared, worker, log);
	enum mauth_status status = mauth_sqlite_join(sqlite->path, &sqlite->reader, &sqlite->writes.db, error_r);

	return use(sqlite, status, r, error_r);
}

const struct mauth_store *mauth_sqlite_store(struct mauth_sqlite *sqlite)
{
	return &sqlite->store;
}

void mauth_sqlite_close(struct mauth_sqlite **sqlite_p)
{
	struct mauth_sqlite *sqlite = *sqlite_p;

	/* A done() that is called in here may ask for the same. */
	if (sqlite == NULL || sqlite->closing)
		return;
	sqlite->closing = true;
	mauth_sqlite_writes_deinit(&sqlite->writes);
	*sqlite_p = NULL;
	close_reader(sqlite);
	close_writer(sqlite);
	if (sqlite->lock_fd >= 0)
		close(sqlite->lock_fd);
	free(sqlite->path);
	free(sqlite);
}
