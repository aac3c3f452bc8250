/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CHAIN_NOTE_H
#define MAUTH_CHAIN_NOTE_H
/* Records about the audit itself: where a writer begins and ends, and what it has found there. */

#include "core/chain.h"

/* Half a line: a machine that died while it was written, or a disk that was full. */
struct mauth_chain_note_torn {
	size_t size;                         /* 0: none */
	unsigned char hash[MAUTH_CHAIN_HASH];        /* SHA-256 of its octets */
};
void mauth_chain_note_torn(const char *data, size_t size, struct mauth_chain_note_torn *torn_r);

enum mauth_chain_note_kind {
	MAUTH_CHAIN_NOTE_BEGUN,              /* a writer's first line */
	MAUTH_CHAIN_NOTE_CHECKPOINT,
	MAUTH_CHAIN_NOTE_ROTATED,            /* the last line of a file: the next one is elsewhere */
	MAUTH_CHAIN_NOTE_RESUMED,            /* the first line of the next file */
	MAUTH_CHAIN_NOTE_ENDED,              /* a writer's last line */
};
struct mauth_chain_note {
	bool ends;
	char previous[MAUTH_CHAIN_WRITER_SIZE];      /* the writer whose line was the last one, "" if there was none */
	uint64_t previous_number;
	struct mauth_chain_note_torn torn;
};
/* Appends the record (with LF). previous "" and torn.size 0 are left out. */
void mauth_chain_note_write(struct mauth_buf *buf, int64_t wall_usecs, enum mauth_chain_note_kind kind,
			    const struct mauth_chain_note *note);
/* false: it is no record about the audit. */
bool mauth_chain_note_read(const char *line, size_t size, struct mauth_chain_note *note_r);

#endif
