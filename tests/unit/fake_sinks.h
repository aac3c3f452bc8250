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
	size_t lines_size, events_size, records_size;
	unsigned int records_count, appends;
	bool audit_broken;       /* appends fail */
	struct fake_commit *commits;   /* that wait, oldest first */
};
void fake_sinks_init(struct fake_sinks *sinks);
/* From now on the audit can commit: whoever waits does so until the next. */
void fake_sinks_group(struct fake_sinks *sinks);
/* All that wait are told that their records are on disk, or (code: an errno) that they are not. Returns how many there were. */
unsigned int fake_sinks_committed(struct fake_sinks *sinks, int code);
void fake_sinks_free(struct fake_sinks *sinks);

#endif
