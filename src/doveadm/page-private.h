/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_PAGE_PRIVATE_H
#define MAUTH_DOVEADM_PAGE_PRIVATE_H
/* What the files of the page share. Each section is a function that writes it. */

#include "doveadm/html.h"
#include "doveadm/page.h"
#include "doveadm/page-chart.h"
#include "doveadm/report-db.h"

#define DAY_SECS INT64_C(86400)
#define PAGE_DAYS_MAX 400u
/* Rows of a table; the rest is counted, and in the CSV. */
#define PAGE_TOP 15u
#define PAGE_TOP_PROTOCOL 10u

enum page_protocol { PAGE_IMAP, PAGE_POP3, PAGE_SMTP, PAGE_MORE, PAGE_PROTOCOLS };
extern const char *const page_protocol_names[PAGE_PROTOCOLS];    /* "IMAP" */
extern const char *const page_protocol_keys[PAGE_PROTOCOLS];     /* "imap", as the broker says; "" of PAGE_MORE */
enum page_protocol page_protocol_of(const char *key);
/* "imap,submission" -> "IMAP, SMTP"; text_r is cut where it ends. */
void page_protocols_text(const char *list, char *text_r, size_t size);

/* What became of the last login of somebody who does get in; in order, the most urgent last. */
enum page_how { PAGE_NEVER, PAGE_DENIED, PAGE_ELSEWHERE, PAGE_UPGRADED, PAGE_WATCHED, PAGE_PASSED, PAGE_HOWS };
const char *page_how_text(int64_t how);

struct page_use {
	int64_t users, clients, logins, last_seen;
	int64_t hows[PAGE_HOWS];             /* users */
};

struct page {
	FILE *file;
	struct report_db *db;
	const struct mauth_page_facts *facts;
	int64_t hows[PAGE_HOWS];             /* accounts, by what is worst for them */
	int64_t accounts;                    /* that would lose something: of the last three of them */
	int64_t programs;                    /* different names of clients, or networks of those without */
	int64_t tokens;                      /* accounts that bring their own token, and are nobody's concern */
	int64_t quiet, fresh;                /* of accounts: not seen for a week; first seen within it */
	struct page_use uses[PAGE_PROTOCOLS];
	/* [0] is today */
	int64_t through[PAGE_DAYS_MAX + 1][PAGE_PROTOCOLS], stopped[PAGE_DAYS_MAX + 1][PAGE_PROTOCOLS];
	unsigned int known_days;             /* how many of them, before today, the inventory has seen */
	unsigned int window_days;            /* of the report, before today; never more than are known */
	int64_t week, week_before;           /* logins of the last seven full days */
};

/* page-data.c: everything above but file, db, facts. */
void page_load(struct page *page);
/* A text or a number of the rows of REPORT about=yes. */
int64_t page_about_num(struct page *page, const char *key);

/* page-words.c: texts; of those with size a buffer of 64 does for every date */
#define PAGE_DATE_SIZE 64u
const char *page_date(int64_t time, char text_r[static PAGE_DATE_SIZE]);         /* "26 November 2026" */
const char *page_date_short(int64_t time, char text_r[static PAGE_DATE_SIZE]);   /* "26 Nov" */
const char *page_date_iso(int64_t time, char text_r[static PAGE_DATE_SIZE]);     /* "2026-11-26"; "" for 0 */
/* "30 days", "12 hours" */
const char *page_span(int64_t secs, char text_r[static PAGE_DATE_SIZE]);
/* one or many, without the number */
const char *page_plural(int64_t count, const char *one, const char *many);
/* How far away an end is, with the class that fits: "soon", "12 days". */
void page_days_left(const struct page *page, int64_t ends_at);

/* page-table.c */
/* Begins a table, in something that scrolls where there is no room. columns ends with NULL; one that begins with '#' has
 * numbers, with '-' a picture. */
void page_table_begin(const struct page *page, const char *id, const char *caption, const char *const *columns);
void page_table_end(const struct page *page);
/* "and 12 more: `command`", if there are more than shown. */
void page_more(const struct page *page, int64_t total, int64_t shown, const char *command);
/* The first cell of a row: an account, which may be parted before its domain. */
void page_account_head(const struct page *page, const char *user);
/* A cell with a bar, for the eye only: the number stands beside it. */
void page_bar_cell(const struct page *page, int64_t value, int64_t max);

/* One each. */
void page_summary(struct page *page);        /* page-summary.c */
void page_next(struct page *page);           /* page-next.c */
void page_days(struct page *page);           /* page-sections.c */
void page_protocols(struct page *page);
void page_people(struct page *page);
void page_causes(struct page *page);         /* page-causes.c */
void page_endings(struct page *page);        /* page-endings.c */

/* page-style.c */
extern const char page_style[];

#endif
