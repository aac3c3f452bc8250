/* SPDX-License-Identifier: MIT */
#ifndef FAKE_SINKS_H
#define FAKE_SINKS_H
/* Log and audit sinks that remember. */

#include "modernauth/audit.h"
#include "modernauth/log.h"

struct fake_sinks {
	struct mauth_log log;
	struct mauth_audit_sink audit;
	char *lines;             /* everything logged, "LEVEL text\n" */
	char *events;            /* "name field=value ...\n" */
	char *records;           /* everything appended */
	unsigned int records_count, appends;
	bool audit_broken;       /* appends fail */
};
void fake_sinks_init(struct fake_sinks *sinks);
void fake_sinks_free(struct fake_sinks *sinks);

#endif
