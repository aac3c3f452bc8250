/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_PROGRESS_H
#define MAUTH_DOVEADM_PROGRESS_H
/* How far reading some files has come, as a bar on stderr if that is a terminal. */

#include "doveadm/term.h"

struct mauth_progress {
	struct mauth_live live;
	uint64_t total, before;              /* octets: of all files, of those that are done */
	int64_t drawn_at;
};
/* total: octets of all files. */
void mauth_progress_begin(struct mauth_progress *progress, uint64_t total);
/* So many octets of the current file are read. */
void mauth_progress_draw(struct mauth_progress *progress, uint64_t octets);
/* A file of size octets is done. */
void mauth_progress_file(struct mauth_progress *progress, uint64_t size);
/* Takes the bar away, until it is drawn again. */
void mauth_progress_end(struct mauth_progress *progress);

#endif
