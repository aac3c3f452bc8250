/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_DIAGNOSE_H
#define MAUTH_DOVEADM_DIAGNOSE_H
/* What the files of "diagnose" share: the report, and the checks of Dovecot's side, which need no broker. */

#include "doveadm/command.h"
#include "doveadm/term.h"

enum mauth_report_result {
	MAUTH_REPORT_PASS,
	MAUTH_REPORT_WARN,
	MAUTH_REPORT_FAIL,
	MAUTH_REPORT_SKIP,
	MAUTH_REPORT_COUNT
};

/* One line of it; texts are the caller's. NULL and "": there is none. */
struct mauth_report_row {
	enum mauth_report_result result;
	const char *check, *tenant, *subject, *seen, *fix;
};

struct mauth_report {
	struct mauth_command *cmd;
	struct mauth_live live;
	bool for_people;                 /* no format was asked for, and somebody looks */
	unsigned int counts[MAUTH_REPORT_COUNT];
	ARRAY(struct mauth_report_row) protocols;    /* come last for people */
	pool_t pool;
};
void mauth_report_init(struct mauth_report *report, struct mauth_command *cmd);
void mauth_report_add(struct mauth_report *report, const struct mauth_report_row *row);
/* fix may be NULL. */
void mauth_report_say(struct mauth_report *report, enum mauth_report_result result, const char *check, const char *fix,
		      const char *fmt, ...) ATTR_FORMAT(5, 6);
void mauth_report_progress(struct mauth_report *report, const char *what);
/* The rest, and doveadm's exit status: 0 passed, 1 warnings, 2 failures. */
void mauth_report_end(struct mauth_report *report);

/* Everything but the broker. *login_ca_r: the file of those whom login processes trust, NULL if it is not known. */
void mauth_diagnose_local(struct mauth_report *report, const char **login_ca_r);

#endif
