/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_PAGE_H
#define MAUTH_DOVEADM_PAGE_H
/* The report as one HTML page that needs nothing else: no script, no other file, nothing from the network. */

#include "doveadm/report.h"

#include <stdio.h>

struct mauth_page_facts {
	int64_t now;                         /* wall clock, seconds */
	int64_t since;                       /* the report looks back so many seconds */
	const char *host, *by, *version;     /* where it was made, by whom, with what */
	const char *filter;                  /* what it is restricted to, as options of the command; NULL: nothing */
};

/* Before the first mauth_page_add(). */
void mauth_page_begin(struct mauth_report *report);
/* As mauth_report_add(), for the rows of REPORT about=yes, POLICY, LIST and DEVICE-LIST. */
enum mauth_status mauth_page_add(struct mauth_report *report, const struct mauth_admin_reply *reply,
				 struct mauth_error *error_r);
/* Was "store=open" among the rows? Without it nobody can be listed. */
bool mauth_page_has_store(struct mauth_report *report);
/* Writes the page. Errors of file are its own affair. */
enum mauth_status mauth_page_write(struct mauth_report *report, const struct mauth_page_facts *facts, FILE *file,
				   struct mauth_error *error_r);

#endif
