/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_REPORT_DB_H
#define MAUTH_DOVEADM_REPORT_DB_H
/* Where a report is put together: a database of this process alone, without a name. What does not fit into a few MB of
 * memory is in files that are deleted as soon as they are open (/var/tmp, or $SQLITE_TMPDIR).
 *
 * The first thing that fails is remembered, and everything after it does nothing: ask report_db_status() at the end. */

#include "modernauth/modernauth.h"

struct report_db;
struct report_query;

struct report_db *report_db_new(const char *schema);
/* Queries must have been freed. */
void report_db_free(struct report_db **db);
enum mauth_status report_db_status(const struct report_db *db, struct mauth_error *error_r);
void report_db_run(struct report_db *db, const char *sql);

/* A statement with parameters, counted from 0. NULL once something has failed, which all of the following accept. */
struct report_query *report_query_new(struct report_db *db, const char *sql);
/* text lives until the statement has run. */
void report_query_text(struct report_query *query, unsigned int parameter, const char *text);
void report_query_num(struct report_query *query, unsigned int parameter, int64_t num);
/* For a statement without a result: runs it, and makes it ready for other values. */
void report_query_run(struct report_query *query);
/* The next row; after the last one, or when something has failed, *query is freed and the answer is false. */
bool report_query_next(struct report_query **query);
void report_query_free(struct report_query **query);
/* Columns of the row, counted from 0. Texts live until the next row, and are never NULL. */
const char *report_get_text(const struct report_query *query, unsigned int column);
int64_t report_get_num(const struct report_query *query, unsigned int column);

/* The number that sql comes down to; 0 if there is none. */
int64_t report_db_num(struct report_db *db, const char *sql);

#endif
