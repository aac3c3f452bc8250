/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CHAIN_VERIFY_H
#define MAUTH_CHAIN_VERIFY_H
/* Reads an audit, file after file in the order in which they were written, and says what is wrong with it. Memory does not
 * depend on how long it is. */

#include "core/chain-note.h"

enum mauth_chain_fault {
	/* findings: somebody did this */
	MAUTH_CHAIN_EDITED,                  /* a line is not what was written, or was put in here */
	MAUTH_CHAIN_CHANGED,                 /* public key: something in from .. to is not what was written */
	MAUTH_CHAIN_MISSING,                 /* lines from .. to of the writer are not there */
	MAUTH_CHAIN_REPEATED,                /* a line comes again, or too late: files or lines in the wrong order, an old copy */
	MAUTH_CHAIN_FOREIGN,                 /* a line that no broker sealed */
	MAUTH_CHAIN_FORGED,                  /* a checkpoint whose signature is wrong */
	MAUTH_CHAIN_CUT,                     /* the end of a writer is missing: it had come to "to" */
	/* notes: as it may happen */
	MAUTH_CHAIN_TORN,                    /* half a line at the end: a crash of the machine, or a record just being written */
	MAUTH_CHAIN_DELETED,                 /* older files were deleted by retention, as recorded: see detail */
	MAUTH_CHAIN_LATER_START,             /* the files begin with line "from" of the writer: older ones were not given */
	MAUTH_CHAIN_OPEN_END,                /* the writer has not said that it ends: it runs, or was killed */
	MAUTH_CHAIN_FAULT_COUNT
};
/* The finding's or note's word, for lists: "edited", ... */
const char *mauth_chain_fault_name(enum mauth_chain_fault fault);
bool mauth_chain_fault_is_finding(enum mauth_chain_fault fault);

struct mauth_chain_report {
	enum mauth_chain_fault fault;
	const char *file;
	uint64_t line;                       /* of the file, the first is 1; 0: no one line */
	const char *writer;                  /* NULL: unknown */
	uint64_t from, to;                   /* numbers of the writer; 0: none */
	const char *detail;                  /* of a deletion: which file, when; NULL */
};
typedef void mauth_chain_report_fn(const struct mauth_chain_report *report, void *context);

struct mauth_chain_summary {
	uint64_t lines, octets, sealed, checkpoints, findings, notes;
	uint64_t unsigned_lines;             /* public key: after the last checkpoint of their writers, nobody can tell */
	char writer[MAUTH_CHAIN_WRITER_SIZE];        /* of the last line, and where it has come to */
	uint64_t number;
};

struct mauth_chain_verify;
struct mauth_chain_verify *mauth_chain_verify_new(const struct mauth_chain_key *key, mauth_chain_report_fn *report, void *context);
/* All files of a front end will be given: what was before them must have been deleted by retention, or it is missing. */
void mauth_chain_verify_all(struct mauth_chain_verify *verify);
/* What the files had of each writer. */
void mauth_chain_verify_ranges(const struct mauth_chain_verify *verify,
			       void (*range)(const struct mauth_chain_range *range, void *context), void *context);
void mauth_chain_verify_free(struct mauth_chain_verify **verify);
/* name lives until the next file or the end. */
void mauth_chain_verify_file(struct mauth_chain_verify *verify, const char *name);
void mauth_chain_verify_data(struct mauth_chain_verify *verify, const char *data, size_t size);
void mauth_chain_verify_end(struct mauth_chain_verify *verify, struct mauth_chain_summary *summary_r);

#endif
