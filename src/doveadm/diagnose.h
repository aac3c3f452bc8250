/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_DIAGNOSE_H
#define MAUTH_DOVEADM_DIAGNOSE_H
/* What the files of "diagnose" share: the report, and the checks of Dovecot's side, which need no broker. */

#include "doveadm/command.h"
#include "doveadm/term.h"

enum mauth_findings_result {
	MAUTH_FINDING_PASS,
	MAUTH_FINDING_WARN,
	MAUTH_FINDING_FAIL,
	MAUTH_FINDING_SKIP,
	MAUTH_FINDING_COUNT
};

/* One line of it; texts are the caller's. NULL and "": there is none. */
struct mauth_findings_row {
	enum mauth_findings_result result;
	const char *check, *tenant, *subject, *seen, *fix;
};

struct mauth_findings {
	struct mauth_command *cmd;
	struct mauth_live live;
	bool for_people;                 /* no format was asked for, and somebody looks */
	unsigned int counts[MAUTH_FINDING_COUNT];
	ARRAY(struct mauth_findings_row) protocols;    /* come last for people */
	pool_t pool;
};
void mauth_findings_init(struct mauth_findings *report, struct mauth_command *cmd);
void mauth_findings_add(struct mauth_findings *report, const struct mauth_findings_row *row);
/* fix may be NULL. */
void mauth_findings_say(struct mauth_findings *report, enum mauth_findings_result result, const char *check, const char *fix,
		      const char *fmt, ...) ATTR_FORMAT(5, 6);
void mauth_findings_progress(struct mauth_findings *report, const char *what);
/* The rest, and doveadm's exit status: 0 passed, 1 warnings, 2 failures. */
void mauth_findings_end(struct mauth_findings *report);

/* Everything but the broker. *login_ca_r: the file of those whom login processes trust, NULL if it is not known. */
void mauth_diagnose_local(struct mauth_findings *report, const char **login_ca_r);

#endif
