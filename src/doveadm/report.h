/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_REPORT_H
#define MAUTH_DOVEADM_REPORT_H
/* The rows of the broker's inventory, sorted and put together for a person or a program. However many there are, they take
 * some MB of memory; the rest is on disk while this lives (report-db.h). */

#include "modernauth/admin.h"

enum mauth_report_group {
	MAUTH_REPORT_NONE,
	MAUTH_REPORT_USER,
	MAUTH_REPORT_PROTOCOL,
	MAUTH_REPORT_CLIENT,
	MAUTH_REPORT_NETWORK,
	MAUTH_REPORT_DAY,                /* of the rows that the broker sends for days=yes */
	MAUTH_REPORT_GROUPS
};
/* "none", "user", ... */
bool mauth_report_group_parse(const char *text, enum mauth_report_group *group_r);

enum mauth_report_kind { MAUTH_REPORT_TEXT, MAUTH_REPORT_TIME, MAUTH_REPORT_DATE, MAUTH_REPORT_COUNT };
struct mauth_report_column {
	const char *key;
	enum mauth_report_kind kind;
};
#define MAUTH_REPORT_COLUMNS_MAX 20u
/* Ends with a key of NULL. */
const struct mauth_report_column *mauth_report_columns(enum mauth_report_group group);

struct mauth_report_cell {
	const char *text;                /* "": not known; of MAUTH_REPORT_TEXT */
	int64_t num;                     /* of the others; a time of 0 is not known */
};

struct mauth_report;
/* What fails here is said by what follows. */
struct mauth_report *mauth_report_new(void);
void mauth_report_free(struct mauth_report **report);
/* Keeps a ROW of the broker: of the inventory, or of a day. MAUTH_PROTOCOL: it lacks something. MAUTH_TEMPORARY: there is
 * no room on disk. */
enum mauth_status mauth_report_add(struct mauth_report *report, const struct mauth_admin_reply *reply,
				   struct mauth_error *error_r);
/* One line of the report, with a cell for each column; they live during the call. */
typedef void mauth_report_fn(const struct mauth_report_cell *cells, void *context);
/* Rows: last seen first. Groups: most logins first. Days: in order. MAUTH_TEMPORARY: there is no room on disk, and lines may
 * be missing. */
enum mauth_status mauth_report_run(struct mauth_report *report, enum mauth_report_group group, mauth_report_fn *fn,
				   void *context, struct mauth_error *error_r);

/* The database with it: tables "seen" and "day" with columns named as in the broker's rows, for whoever puts it together
 * in other ways. */
struct report_db;
struct report_db *mauth_report_db(struct mauth_report *report);

#endif
