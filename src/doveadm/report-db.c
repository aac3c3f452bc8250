/* SPDX-License-Identifier: MIT */
#include "doveadm/report-db.h"

#include "core/mem.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nothing here has to survive anything, and a transaction that never ends costs no flush. Sorting and grouping take as much
 * memory as the cache, each, and files beyond. */
#define SETTINGS \
	"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = FILE; " \
	"PRAGMA cache_size = -4096; BEGIN;"

struct report_db {
	sqlite3 *db;
	struct mauth_error error;            /* the first one */
};

struct report_query {
	struct report_db *db;
	sqlite3_stmt *stmt;
};

static void fail(struct report_db *db, int rc)
{
	const char *text = sqlite3_errstr(rc);

	if (db->error.status != MAUTH_OK)
		return;
	if (db->db != NULL && (sqlite3_errcode(db->db) & 0xff) == (rc & 0xff))
		text = sqlite3_errmsg(db->db);
	(void)mauth_fail(&db->error, MAUTH_TEMPORARY, 0, "the temporary database of the report failed: %.300s", text);
	(void)snprintf(db->error.advice, sizeof(db->error.advice),
		       "make room in /var/tmp: it takes about as much there as the same report as CSV, twice");
}

struct report_db *report_db_new(const char *schema)
{
	struct report_db *db = mauth_new(sizeof(*db));
	/* No name: SQLite makes a file of its own, once memory does not do, and deletes it at once. */
	int rc = sqlite3_open_v2("", &db->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc != SQLITE_OK)
		fail(db, rc);
	report_db_run(db, SETTINGS);
	report_db_run(db, schema);
	return db;
}

void report_db_free(struct report_db **db)
{
	if (*db == NULL)
		return;
	(void)sqlite3_close((*db)->db);
	free(*db);
	*db = NULL;
}

enum mauth_status report_db_status(const struct report_db *db, struct mauth_error *error_r)
{
	if (db->error.status != MAUTH_OK)
		*error_r = db->error;
	return db->error.status;
}

void report_db_run(struct report_db *db, const char *sql)
{
	int rc;

	if (db->error.status != MAUTH_OK)
		return;
	rc = sqlite3_exec(db->db, sql, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		fail(db, rc);
}

struct report_query *report_query_new(struct report_db *db, const char *sql)
{
	struct report_query *query;
	sqlite3_stmt *stmt;
	int rc;

	if (db->error.status != MAUTH_OK)
		return NULL;
	rc = sqlite3_prepare_v2(db->db, sql, -1, &stmt, NULL);
	if (rc != SQLITE_OK) {
		fail(db, rc);
		return NULL;
	}
	query = mauth_new(sizeof(*query));
	query->db = db;
	query->stmt = stmt;
	return query;
}

void report_query_text(struct report_query *query, unsigned int parameter, const char *text)
{
	if (query != NULL)
		(void)sqlite3_bind_text(query->stmt, (int)parameter + 1, text, -1, SQLITE_STATIC);
}

void report_query_num(struct report_query *query, unsigned int parameter, int64_t num)
{
	if (query != NULL)
		(void)sqlite3_bind_int64(query->stmt, (int)parameter + 1, num);
}

void report_query_run(struct report_query *query)
{
	int rc;

	if (query == NULL || query->db->error.status != MAUTH_OK)
		return;
	rc = sqlite3_step(query->stmt);
	if (rc != SQLITE_DONE)
		fail(query->db, rc);
	(void)sqlite3_reset(query->stmt);
	(void)sqlite3_clear_bindings(query->stmt);
}

bool report_query_next(struct report_query **query)
{
	int rc;

	if (*query == NULL)
		return false;
	rc = (*query)->db->error.status == MAUTH_OK ? sqlite3_step((*query)->stmt) : SQLITE_DONE;
	if (rc == SQLITE_ROW)
		return true;
	if (rc != SQLITE_DONE)
		fail((*query)->db, rc);
	report_query_free(query);
	return false;
}

void report_query_free(struct report_query **query)
{
	if (*query == NULL)
		return;
	(void)sqlite3_finalize((*query)->stmt);
	free(*query);
	*query = NULL;
}

const char *report_get_text(const struct report_query *query, unsigned int column)
{
	const char *text = (const char *)sqlite3_column_text(query->stmt, (int)column);

	return text == NULL ? "" : text;
}

int64_t report_get_num(const struct report_query *query, unsigned int column)
{
	return sqlite3_column_int64(query->stmt, (int)column);
}

int64_t report_db_num(struct report_db *db, const char *sql)
{
	struct report_query *query = report_query_new(db, sql);
	int64_t num = 0;

	if (report_query_next(&query))
		num = report_get_num(query, 0);
	report_query_free(&query);
	return num;
}
