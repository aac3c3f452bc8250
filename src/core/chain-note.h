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
/* Lines of one writer in a file that was deleted. */
struct mauth_chain_range {
	char writer[MAUTH_CHAIN_WRITER_SIZE];
	uint64_t from;
	struct mauth_chain_state last;       /* as after its last line, so that what follows can be told to follow */
	bool has_head;                       /* last.head is known */
};
/* A file that retention has deleted. Not a note of a writer about itself, but a record as any other. */
#define MAUTH_CHAIN_RANGES_MAX 200u          /* of one record, so that it is no longer than a line may be */
struct mauth_chain_deletion {
	const char *file, *reason;           /* its name; which setting */
	uint64_t octets;                     /* of the records in it */
	unsigned char hash[MAUTH_CHAIN_HASH];        /* SHA-256 of them */
	int64_t last_secs;                   /* wall clock of its last record; 0: unknown */
	bool verified;
	const struct mauth_chain_range *ranges;
	size_t ranges_count;
};
/* Appends the records, with LF; more than one if the file had more writers than fit into a line. */
void mauth_chain_deletion_write(struct mauth_buf *buf, int64_t wall_usecs, const struct mauth_chain_deletion *deletion);
/* Calls range for each writer of a record of a deletion; false: it is none. when: "2026-11-26T10:00:00.000000Z". */
typedef void mauth_chain_range_fn(const struct mauth_chain_range *range, const char *file, const char *when, void *context);
bool mauth_chain_deletion_read(const char *line, size_t size, mauth_chain_range_fn *range, void *context);

struct mauth_chain_note {
	bool ends, resumes;                  /* the writer's last line; its first in another file than the one before */
	char previous[MAUTH_CHAIN_WRITER_SIZE];      /* the writer whose line was the last one, "" if there was none */
	uint64_t previous_number;
	char known[MAUTH_CHAIN_WRITER_SIZE]; /* the last signature that this front end remembers, "" if it remembers none */
	uint64_t known_number;
	struct mauth_chain_note_torn torn;
};
/* Appends the record (with LF). previous "", known "" and torn.size 0 are left out. */
void mauth_chain_note_write(struct mauth_buf *buf, int64_t wall_usecs, enum mauth_chain_note_kind kind,
			    const struct mauth_chain_note *note);
/* false: it is no record about the audit. */
bool mauth_chain_note_read(const char *line, size_t size, struct mauth_chain_note *note_r);

#endif
